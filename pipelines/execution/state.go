package execution

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxState bounds the column that EncodeState writes, in bytes.
const MaxState = 1 << 20

// stateVersion is of the column's form; another is refused, so that an old
// replica never writes over what a newer one knows.
const stateVersion = 1

type state struct {
	V        int       `json:"v"`
	Segments []Segment `json:"segments"`
	Steps    []Step    `json:"steps"`
	Events   int64     `json:"events"`
	Lates    int       `json:"lates,omitempty"`
}

// EncodeState is the column `state` of x's row: segments, steps and counts, as
// JSON. Outputs are rows of their own.
func EncodeState(x *Execution) ([]byte, error) {
	if x.Damage != nil {
		return []byte(x.Damage.State), nil
	}
	text, err := json.Marshal(state{V: stateVersion, Segments: x.Segments, Steps: x.Steps, Events: x.Events, Lates: x.Lates})
	if err != nil {
		return nil, fmt.Errorf("encode the state of %s: %w", x.ID, err)
	}
	if len(text) > MaxState {
		return nil, fmt.Errorf("encode the state of %s: %d bytes are over the bound of %d", x.ID, len(text), MaxState)
	}
	return text, nil
}

// DecodeState reads what EncodeState wrote into x.
func DecodeState(text []byte, x *Execution) error {
	if len(text) > MaxState {
		return fmt.Errorf("decode the state of %s: %d bytes are over the bound of %d", x.ID, len(text), MaxState)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var s state
	if err := decoder.Decode(&s); err != nil {
		return fmt.Errorf("decode the state of %s: %w", x.ID, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("decode the state of %s: there is more after it", x.ID)
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("decode the state of %s: %w", x.ID, err)
	}
	x.Segments, x.Steps, x.Events, x.Lates = s.Segments, s.Steps, s.Events, s.Lates
	return nil
}

// check refuses what no machine writes.
func (s *state) check() error {
	if s.V != stateVersion {
		return fmt.Errorf("version %d; this program reads %d", s.V, stateVersion)
	}
	if s.Events < 0 || s.Lates < 0 || s.Lates > MaxLate {
		return fmt.Errorf("%d events and %d late answers", s.Events, s.Lates)
	}
	for i, g := range s.Segments {
		if !g.Status.known() || g.Next < 0 || g.Done < 0 || g.Failed < 0 || g.Done+g.Failed > g.Next {
			return fmt.Errorf("segment %d is %+v", i, g)
		}
	}
	names := make(map[string]bool, len(s.Steps))
	for i := range s.Steps {
		step := &s.Steps[i]
		if !step.Status.known() || step.Items < 0 || step.Attempts < 0 || step.Breaks < 0 || step.Name == "" || names[step.Name] {
			return fmt.Errorf("step %d, %q, is %q with %d items, %d attempts, %d breaks", i, step.Name, step.Status, step.Items, step.Attempts, step.Breaks)
		}
		names[step.Name] = true
	}
	return nil
}

func (s Status) known() bool {
	switch s {
	case Queued, Running, Succeeded, Failed, Cancelled, Skipped:
		return true
	default:
		return false
	}
}
