// Package definition is what a pipeline's text says: its form, every fault by path and
// line, the defaults, the canonical form whose digest names a version, and whether it
// fits the functions that its steps call.
//
// It runs nothing and stores nothing. What is made of a definition is for packages plan
// and compile.
package definition

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/modelserveai/modelserve/internal/document"
)

// The bounds of a definition.
const (
	MaxText   = 256 << 10 // bytes
	MaxSteps  = 100
	MaxNeeds  = 20
	MaxLabels = 20
	MaxItems  = 1000 // of a forEach
	MaxAtOnce = 64
	MaxTries  = 10
)

// Definition is a pipeline, with every default in place.
type Definition struct {
	Name        string // a DNS label
	Labels      map[string]string
	Steps       []Step // in the order of the text
	Output      string // CEL over input, event and steps
	Triggers    []Trigger
	Headers     []string // carried from the start to every step, in canonical form
	Webhooks    []string // ids
	Timeout     time.Duration
	Concurrency int           // executions that run at once; others wait
	Priority    int           // -10 to 10
	Retention   time.Duration // of an execution that has ended

	document *document.Document // the text it was read of, for lines
}

// Step is one step. Exactly one of Function and URI is set.
type Step struct {
	Name     string   // a DNS label
	Function string   // a function, or a published model
	URI      string   // http or https, called by the pipelines service
	Needs    []string // the steps before it; never nil
	When     string   // CEL, a boolean; "" is always
	ForEach  *ForEach // nil is once
	Input    string   // CEL; never ""
	Retry    Retry
	Timeout  time.Duration
}

// ForEach runs a step for every item of a list.
type ForEach struct {
	Items  string // CEL, a list
	Max    int    // items; more are a failure
	AtOnce int
	Join   Join
}

// Join is when a forEach ends, and what its output is.
type Join string

// The joins.
const (
	All        Join = "all"         // when all succeeded, or at the first that is dead; the list of the outputs
	Any        Join = "any"         // at the first that succeeded; its output
	BestEffort Join = "best-effort" // when all ended; the list, null for those that failed
)

// Retry is how often a step is tried, and the pause before the second try.
type Retry struct {
	Attempts int           // 1 to 10, the first included
	Backoff  time.Duration // doubled at each, with jitter, to at most 30 s
}

// Trigger starts the pipeline for events.
type Trigger struct {
	Type   string  // of the event, exactly
	Source string  // of the event, exactly; "" is any
	Filter *Filter // nil is none
}

// Filter is a filter of Knative's subscriptions API: exactly one of its fields is set.
type Filter struct {
	All    []Filter          `json:"all,omitempty"`
	Any    []Filter          `json:"any,omitempty"`
	Not    *Filter           `json:"not,omitempty"`
	Exact  map[string]string `json:"exact,omitempty"`
	Prefix map[string]string `json:"prefix,omitempty"`
	Suffix map[string]string `json:"suffix,omitempty"`
	CESQL  string            `json:"cesql,omitempty"`
}

// Function is what is known of a function, or of a published model.
type Function struct {
	Input, Output []byte        // JSON Schemas of its JSON; nil is any value
	Model         bool          // a published model, which takes and answers V2 JSON
	Timeout       time.Duration // its own; 0 is not known
}

// ErrNoFunction is what Functions returns for a name that there is not, or that whoever
// asks may not call.
var ErrNoFunction = errors.New("no such function")

// Functions finds functions for a tenant. Errors other than ErrNoFunction mean that it
// could not be found out.
type Functions interface {
	Function(ctx context.Context, name string) (Function, error)
}

// Equal reports whether two definitions are the same, wherever they were read.
func (d *Definition) Equal(other *Definition) bool {
	if d == nil || other == nil {
		return d == other
	}
	return bytes.Equal(d.Canonical(), other.Canonical())
}

// Step is the step of a name; nil is none.
func (d *Definition) Step(name string) *Step {
	for i := range d.Steps {
		if d.Steps[i].Name == name {
			return &d.Steps[i]
		}
	}
	return nil
}
