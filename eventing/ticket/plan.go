package ticket

import (
	"bytes"
	"encoding/json"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/problem"
)

// Bounds of a plan.
const (
	MaxPlan      = 4 << 10        // bytes of its canonical JSON
	maxTimeoutMS = 24 * 3_600_000 // of one step
)

// Plan is what a step does with the envelope.
type Plan struct {
	Function  string `json:"function"`        // that answers: a function's name, or a published model's
	Input     string `json:"input"`           // CEL; of a step that has none it is "input", or the step before: "steps.NAME"
	Model     string `json:"model,omitempty"` // the same as Function where that is a published model, which gets and answers V2 JSON; else ""
	Step      string `json:"step"`
	TimeoutMS int64  `json:"timeout_ms,omitempty"` // of one run, from when the model is there; 0 is none but the ticket's deadline
}

// check holds a plan to its rules. Errors are problems that name the field.
func (p *Plan) check() error {
	switch {
	case !envelope.IsTenant(p.Function):
		return problem.Invalid("function", "expected a function's or a model's name, a DNS label")
	case p.Model != "" && p.Model != p.Function:
		return problem.Invalid("model", "expected the function's name, or none")
	case !envelope.IsStep(p.Step):
		return problem.Invalid("step", "expected a step's name, 1 to 63 letters, digits, '-' and '_'")
	case p.Input == "":
		return problem.Invalid("input", "expected a CEL expression: of a step without one, input or steps.NAME of the step before")
	case p.TimeoutMS < 0 || p.TimeoutMS > maxTimeoutMS:
		return problem.Invalid("timeout_ms", "expected 0 (no bound) to %d", int64(maxTimeoutMS))
	default:
		return nil
	}
}

// Canonical is the plan's one JSON text, which its hash is of: members in the order of
// their names, none that is empty, as encoding/json writes them. A plan that breaks a
// rule or is larger than MaxPlan is a problem that names the field.
func (p Plan) Canonical() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write a plan: %w", err)
	}
	if len(text) > MaxPlan {
		return nil, problem.Invalid("input", "expected a plan of at most %d bytes, got %d: shorten the step's input", MaxPlan, len(text))
	}
	return text, nil
}

// Hash is the SHA-256 of the canonical text in lower-case hexadecimal.
func (p Plan) Hash() (string, error) {
	text, err := p.Canonical()
	if err != nil {
		return "", err
	}
	return envelope.Sum(text), nil
}

// ParsePlan reads a plan that came in an envelope, and holds it to the hash of its
// address. Its error names the field.
func ParsePlan(text []byte, hash string) (Plan, error) {
	if len(text) > MaxPlan {
		return Plan{}, problem.Invalid("plan", "expected a plan of at most %d bytes, got %d", MaxPlan, len(text))
	}
	if envelope.Sum(text) != hash {
		return Plan{}, problem.Invalid("plan", "expected the text whose SHA-256 the address has")
	}
	var p Plan
	if err := jsonv2.Unmarshal(text, &p, jsonv2.RejectUnknownMembers(true)); err != nil {
		return Plan{}, problem.Invalid("plan", "expected an object of function, input, model, step and timeout_ms")
	}
	canonical, err := p.Canonical()
	if err != nil {
		return Plan{}, err
	}
	if !bytes.Equal(canonical, text) {
		return Plan{}, problem.Invalid("plan", "expected its canonical text")
	}
	return p, nil
}
