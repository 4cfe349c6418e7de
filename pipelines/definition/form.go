package definition

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gowebpki/jcs"
)

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema of a definition, for editors.
func Schema() []byte { return slices.Clone(schema) }

// apiVersion and kind begin every definition.
const (
	apiVersion = "modelserve.dev/v1"
	kind       = "Pipeline"
)

// What is in force where a definition says nothing.
const (
	defaultTimeout     = 10 * time.Minute
	defaultConcurrency = 100
	defaultRetention   = 168 * time.Hour
	defaultStepTimeout = 30 * time.Second
	defaultAttempts    = 3
	defaultBackoff     = time.Second
	defaultAtOnce      = 8
)

// form is a definition as it is written.
type form struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       spec     `json:"spec"`
}

type metadata struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
}

type spec struct {
	Steps       []stepForm    `json:"steps"`
	Output      string        `json:"output"`
	Triggers    []triggerForm `json:"triggers,omitempty"`
	Headers     []string      `json:"headers,omitempty"`
	Webhooks    []string      `json:"webhooks,omitempty"`
	Timeout     string        `json:"timeout"`
	Concurrency int           `json:"concurrency"`
	Priority    int           `json:"priority"`
	Retention   string        `json:"retention"`
}

type stepForm struct {
	Name     string          `json:"name"`
	Function string          `json:"function,omitempty"`
	URI      string          `json:"uri,omitempty"`
	Ref      json.RawMessage `json:"ref,omitempty"`
	Needs    *[]string       `json:"needs,omitempty"` // nil is left out
	When     string          `json:"when,omitempty"`
	ForEach  *forEachForm    `json:"forEach,omitempty"`
	Input    string          `json:"input"`
	Retry    retryForm       `json:"retry"`
	Timeout  string          `json:"timeout"`
}

type forEachForm struct {
	Items  string `json:"items"`
	Max    int    `json:"max"`
	AtOnce int    `json:"at_once"`
	Join   Join   `json:"join"`
}

type retryForm struct {
	Attempts int    `json:"attempts"`
	Backoff  string `json:"backoff"`
}

type triggerForm struct {
	Type   string  `json:"type"`
	Source string  `json:"source,omitempty"`
	Filter *Filter `json:"filter,omitempty"`
}

// duration is one as people write it: "1h", not "1h0m0s".
func duration(d time.Duration) string {
	text := d.String()
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, nothing) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// form is the definition as it is written with every default.
func (d *Definition) form() form {
	f := form{
		APIVersion: apiVersion, Kind: kind, Metadata: metadata{d.Name, d.Labels},
		Spec: spec{
			Output: d.Output, Headers: d.Headers, Webhooks: d.Webhooks, Timeout: duration(d.Timeout),
			Concurrency: d.Concurrency, Priority: d.Priority, Retention: duration(d.Retention),
		},
	}
	for i := range d.Steps {
		s := &d.Steps[i]
		step := stepForm{
			Name: s.Name, Function: s.Function, URI: s.URI, Needs: &s.Needs, When: s.When, Input: s.Input,
			Retry: retryForm{s.Retry.Attempts, duration(s.Retry.Backoff)}, Timeout: duration(s.Timeout),
		}
		if e := s.ForEach; e != nil {
			step.ForEach = &forEachForm{e.Items, e.Max, e.AtOnce, e.Join}
		}
		f.Spec.Steps = append(f.Spec.Steps, step)
	}
	for _, t := range d.Triggers {
		f.Spec.Triggers = append(f.Spec.Triggers, triggerForm(t))
	}
	return f
}

// Canonical is the definition as RFC 8785 JSON, every default in it. Parse takes it,
// and makes of it the same definition.
func (d *Definition) Canonical() []byte {
	text, err := json.Marshal(d.form())
	if err == nil {
		text, err = jcs.Transform(text)
	}
	if err != nil { // it is made of strings in UTF-8 and of integers
		panic(fmt.Sprintf("write definition %s: %v", d.Name, err))
	}
	return text
}

// Digest is "sha256:" and the hash of Canonical, in hex.
func (d *Definition) Digest() string {
	sum := sha256.Sum256(d.Canonical())
	return "sha256:" + hex.EncodeToString(sum[:])
}
