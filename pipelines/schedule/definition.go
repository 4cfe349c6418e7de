package schedule

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/internal/document"
	"github.com/modelserveai/modelserve/problem"
)

// Definition is what a caller says of a schedule.
type Definition struct {
	Name     string          `json:"name"`
	Pipeline string          `json:"pipeline"`
	Version  int             `json:"version"` // 0 is the default one
	Cron     string          `json:"cron"`
	TimeZone string          `json:"time_zone"` // "" is UTC
	Input    json.RawMessage `json:"input"`
	Missed   Missed          `json:"missed"`
	Jitter   time.Duration   `json:"-"`
	Paused   bool            `json:"paused"`

	Plan *Plan `json:"-"`
}

const (
	// MaxText bounds the text of a definition, in bytes.
	MaxText = 256 << 10

	maxInput  = 64 << 10 // bytes, compact
	maxJitter = 24 * time.Hour
)

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema of definitions (draft 2020-12).
func Schema() []byte { return schema }

// ParseDefinition reads one, JSON or YAML. Its faults are problems that name the field and
// the line.
func ParseDefinition(text []byte) (*Definition, error) {
	read, faults := document.Read(text, MaxText, "there is nothing: expected name, pipeline and cron")
	if faults != nil {
		return nil, document.Problem(faults.Shown())
	}
	if faults := read.Check(schema, patterned); faults != nil {
		return nil, document.Problem(faults.Shown())
	}
	written, err := json.Marshal(read.Value)
	if err != nil {
		return nil, problem.New(problem.InvalidArgument, "expected a schedule that JSON can express")
	}
	var form struct {
		Definition

		Jitter string `json:"jitter"`
	}
	if err := json.Unmarshal(written, &form); err != nil {
		return nil, problem.New(problem.InvalidArgument, "expected a schedule: %w", err)
	}
	d := &form.Definition
	d.Missed = cmp.Or(d.Missed, Skip)
	if d.Jitter, err = time.ParseDuration(cmp.Or(form.Jitter, "0s")); err != nil || d.Jitter > maxJitter {
		faults = append(faults, document.Fault{Path: "jitter", Line: read.Line("jitter"), Detail: "expected a duration, 0s to 24h"})
	}
	if len(d.Input) > maxInput {
		faults = append(faults, document.Fault{Path: "input", Line: read.Line("input"), Detail: fmt.Sprintf(
			"expected at most %d bytes, got %d: store what is larger, and give its ref", maxInput, len(d.Input))})
	}
	if d.Plan, err = Parse(d.Cron, d.TimeZone); err != nil {
		for _, f := range problem.From(err).Fields {
			faults = append(faults, document.Fault{Path: f.Field, Line: read.Line(f.Field), Detail: f.Detail})
		}
	}
	if faults != nil {
		return nil, document.Problem(faults.Shown())
	}
	return d, nil
}

// patterned is what a text is that a pattern of the schema is for.
func patterned(pattern string) string {
	if strings.Contains(pattern, "ms|s|") {
		return "a duration such as 30s"
	}
	return "a DNS label: a-z, 0-9 and hyphens within, at most 63"
}
