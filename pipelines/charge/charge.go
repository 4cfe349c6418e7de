// Package charge is what tenants are charged for steps of pipelines, and for calls that
// are answered later. It is a value alone: package pipelines/meter adds it up.
package charge

import (
	"net/http"

	"github.com/modelserveai/modelserve/problem"
)

// Took is what one step took of a function.
type Took struct {
	Tenant    string
	Function  string  // that the step names; "" where it is not known, and of calls
	Model     string  // that ran, by its name; "" where none is known to have
	Failed    bool    // it answered with an error
	Counted   bool    // its request was, when it was accepted: of calls that are answered later
	Rows      int64   // of the batch axis
	ComputeMS float64 // milliseconds of processors and GPU
}

// Free reports whether nobody is charged for a failure: as of calls at the gateway, of
// who may not do what they ask, and who has asked for too much.
func Free(code problem.Code) bool {
	switch code.Row().Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return true
	default:
		return false
	}
}
