// Package envelope is the data of a step's event: what a pipeline's execution was
// given, what its steps answered, what the steps to come do with it, and the records
// of those that are done. It also has the names that such events have: their types,
// ids and extensions, and where large values lie.
//
// It is values and their JSON alone: it fetches and stores nothing, signs nothing
// (eventing/ticket) and evaluates nothing (eventing/expr).
package envelope

import (
	"encoding/json"
	"strings"
	"time"
)

// Bounds of an envelope, in bytes of its JSON and in numbers.
const (
	// MaxInline is the most bytes of one value that is in the envelope itself, in the
	// form that Compact gives it. A larger one is a claim check.
	MaxInline = 64 << 10

	// MaxEnvelope is the most bytes of a whole envelope.
	MaxEnvelope = 256 << 10

	// MaxDepth is how deep a value may nest.
	MaxDepth = 64

	// MaxSteps is how many steps, plans, claim checks and records there may be at
	// most, each.
	MaxSteps = 256
)

// Value is a JSON value, or where it lies. One of the two is set.
type Value struct {
	JSON  json.RawMessage // nil where it is a claim check
	Claim *Claim
}

// Claim is a claim check: where a JSON value lies that is too large for an envelope.
type Claim struct {
	Ref         string `json:"ref"`    // s3://BUCKET/payloads/TENANT/EXECUTION/…, or a tenant's inputs/
	SHA256      string `json:"sha256"` // of its bytes, in lower-case hexadecimal
	Size        int64  `json:"size"`   // in bytes
	ContentType string `json:"content_type"`
}

// Envelope is the data of a step's event. Its values are shared, not copied: do not
// change their bytes.
type Envelope struct {
	Input   Value                      // of the execution
	Event   json.RawMessage            // attributes of the event that began the execution; nil where none did
	Steps   map[string]Value           // outputs of steps, by their names: those that a plan in Plans reads, and those of the chain itself
	Item    *Value                     // of a forEach; nil outside one
	Index   int                        // of the item, from 0
	Plans   map[string]json.RawMessage // the plans of the steps to come, by their hashes (eventing/ticket)
	Records []Record                   // of the chain's steps that are done, in their order
}

// Record is what a function stamps of a step that it answered. It is not signed: its
// reader believes a function that has a ticket.
type Record struct {
	Step       string    `json:"step"`
	Epoch      int       `json:"epoch"`
	StartedAt  time.Time `json:"started_at"` // UTC, by the function's clock
	FinishedAt time.Time `json:"finished_at"`
	Model      string    `json:"model"` // name@version;digest=sha256:…, as in Modelserve-Model; "" where none ran
	Device     string    `json:"device"`
	ComputeMS  float64   `json:"compute_ms"` // of processors and GPU, not of waiting
	Rows       int64     `json:"rows"`
	Size       int64     `json:"size"` // of the output, in bytes of JSON
}

// The names of values that an envelope lists as claim checks.
const (
	inputName = "input"
	itemName  = "item"
	stepsName = "steps."
)

// IsStep reports whether a text may be a step's name: 1 to 63 letters, digits, '-' and
// '_', a letter or '_' first.
func IsStep(name string) bool {
	if name == "" || len(name) > 63 || strings.IndexByte("0123456789-", name[0]) >= 0 {
		return false
	}
	return isPlain(name)
}

// IsExecution reports whether a text may be an execution's id, which is part of keys
// and event ids: 1 to 64 letters, digits, '-' and '_'.
func IsExecution(id string) bool { return id != "" && len(id) <= 64 && isPlain(id) }

func isPlain(text string) bool {
	for i := range len(text) {
		c := text[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// IsTenant reports whether a text may be a tenant's name: a DNS label.
func IsTenant(name string) bool {
	ok := name != "" && len(name) <= 63 && name[0] != '-' && name[len(name)-1] != '-'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	return ok
}
