package envelope

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/modelserveai/modelserve/problem"
)

// wireOut is how an envelope is written.
type wireOut struct {
	Input   any                        `json:"input"`
	Event   json.RawMessage            `json:"event,omitempty"`
	Steps   map[string]any             `json:"steps,omitempty"`
	Item    any                        `json:"item,omitempty"`
	Index   *int                       `json:"index,omitempty"`
	Claims  []string                   `json:"claims,omitempty"`
	Plans   map[string]json.RawMessage `json:"plans,omitempty"`
	Records []Record                   `json:"records,omitempty"`
}

// Encode writes the envelope: always the same bytes for the same envelope, and bytes
// that remain the same when a Go program reads and writes the JSON that they are in.
// An inline value above MaxInline, or all of it above MaxEnvelope, is
// problem.PayloadTooLarge; what Parse would refuse is problem.InvalidArgument with the
// field.
func (e *Envelope) Encode() ([]byte, error) {
	out := wireOut{Event: e.Event, Plans: e.Plans, Records: e.Records}
	put := func(name string, v Value) (any, error) {
		if v.Claim != nil {
			out.Claims = append(out.Claims, name)
			return v.Claim, nil
		}
		text, err := Compact(v.JSON)
		if err != nil {
			return nil, problem.Invalid(name, "%v", err)
		}
		if len(text) > MaxInline {
			return nil, tooLong(name, len(text))
		}
		return text, nil
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	var err error
	if out.Input, err = put(inputName, e.Input); err != nil {
		return nil, err
	}
	if e.Item != nil {
		if out.Item, err = put(itemName, *e.Item); err != nil {
			return nil, err
		}
		out.Index = &e.Index
	}
	for _, name := range slices.Sorted(maps.Keys(e.Steps)) {
		if out.Steps == nil {
			out.Steps = make(map[string]any, len(e.Steps))
		}
		if out.Steps[name], err = put(stepsName+name, e.Steps[name]); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("write an envelope: %w", err)
	}
	if len(text) > MaxEnvelope {
		return nil, problem.New(problem.PayloadTooLarge, "expected an envelope of at most %d bytes, got %d", MaxEnvelope, len(text))
	}
	return text, nil
}

func tooLong(name string, size int) error {
	return problem.New(problem.PayloadTooLarge, "%s: expected a value of at most %d bytes, or a claim check; got %d", name, MaxInline, size)
}

// Compact is a JSON value in the form that envelopes have it in: without white space,
// and with <, > and & escaped, as encoding/json writes it. The size of a value is that
// of this form. Its error says what is no JSON.
func Compact(value json.RawMessage) (json.RawMessage, error) {
	var compact, escaped bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		return nil, fmt.Errorf("expected a JSON value: %w", err)
	}
	if !bytes.ContainsAny(compact.Bytes(), "<>&\u2028\u2029") {
		return compact.Bytes(), nil
	}
	json.HTMLEscape(&escaped, compact.Bytes())
	return escaped.Bytes(), nil
}
