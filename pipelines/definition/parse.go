package definition

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/internal/document"
)

// Fault is one thing that is wrong with a definition.
type Fault = document.Fault

// Faults are all that is wrong with a definition, by line.
type Faults = document.Faults

// Parse reads a definition, YAML or JSON. The error is Faults: all that is wrong, as far
// as it can be known without the functions, which Check asks.
func Parse(text []byte) (*Definition, error) {
	read, faults := document.Read(text, MaxText, "there is nothing: expected apiVersion, kind, metadata and spec of a pipeline")
	if faults != nil {
		return nil, faults.Shown()
	}
	p := &parser{document: read, faults: read.Check(schema, patterned)}
	if p.faults != nil { // what is meant by another shape is not known
		return nil, p.faults.Shown()
	}
	written, err := json.Marshal(read.Value)
	if err != nil {
		return nil, Faults{{Detail: "expected YAML that JSON can express"}}
	}
	var f form
	if err := json.Unmarshal(written, &f); err != nil {
		return nil, Faults{{Detail: "expected a pipeline: " + err.Error()}}
	}
	d := p.definition(&f)
	if p.faults == nil {
		p.expressions(d)
	}
	if p.faults != nil {
		return nil, p.faults.Shown()
	}
	return d, nil
}

// patterned is what a text is that a pattern of the schema is for.
func patterned(pattern string) string {
	switch {
	case strings.Contains(pattern, "ms|s|"):
		return "a duration such as 30s"
	case strings.HasPrefix(pattern, "^[a-z0-9]("):
		return "a DNS label: a-z, 0-9 and hyphens within, at most 63"
	case strings.HasPrefix(pattern, "^[^"):
		return "a text without control characters"
	case strings.Contains(pattern, "~"):
		return "the name of a header"
	default:
		return "an id: letters, digits, - and _"
	}
}

// parser makes a definition of its form, and collects what is wrong.
type parser struct {
	document *document.Document
	faults   Faults
}

func (p *parser) fault(path, format string, args ...any) {
	p.faults = append(p.faults, Fault{Path: path, Line: p.document.Line(path), Detail: fmt.Sprintf(format, args...)})
}

// duration reads one; "" is the default.
func (p *parser) duration(path, text string, otherwise, least, most time.Duration) time.Duration {
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		p.fault(path, "expected a duration, %s to %s", duration(least), duration(most))
		return otherwise
	}
	return d
}

// or is the value, or the default where it is zero.
func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

func (p *parser) definition(f *form) *Definition {
	const longest, longestKept = 168 * time.Hour, 8760 * time.Hour
	d := &Definition{
		Name: f.Metadata.Name, Labels: f.Metadata.Labels, Output: strings.TrimSpace(f.Spec.Output), Webhooks: f.Spec.Webhooks,
		Timeout:     p.duration("spec.timeout", f.Spec.Timeout, defaultTimeout, time.Second, longest),
		Concurrency: or(f.Spec.Concurrency, defaultConcurrency), Priority: f.Spec.Priority,
		Retention: p.duration("spec.retention", f.Spec.Retention, defaultRetention, time.Minute, longestKept),
		document:  p.document,
	}
	if len(d.Labels) == 0 {
		d.Labels = nil
	}
	for name, value := range d.Labels {
		if err := CheckLabel(name, value); err != nil {
			p.fault(document.Join("metadata.labels", name), "%v", err)
		}
	}
	if len(d.Webhooks) == 0 {
		d.Webhooks = nil
	}
	before := ""
	for i := range f.Spec.Steps {
		s := p.step(stepPath(i), &f.Spec.Steps[i], before)
		d.Steps = append(d.Steps, s)
		before = s.Name
	}
	p.graph(d)
	p.headers(d, f.Spec.Headers)
	for i, t := range f.Spec.Triggers {
		d.Triggers = append(d.Triggers, Trigger(t))
		p.trigger(fmt.Sprintf("spec.triggers[%d]", i), d, &t)
	}
	return d
}

func stepPath(i int) string { return fmt.Sprintf("spec.steps[%d]", i) }

// reserved are the names that expressions read by.
func reserved() []string { return []string{"input", "event", "steps", "item", "index"} }

func (p *parser) step(path string, f *stepForm, before string) Step {
	const shortest, longest = 100 * time.Millisecond, time.Hour
	const shortestPause, longestPause = 10 * time.Millisecond, 30 * time.Second
	s := Step{
		Name: f.Name, Function: f.Function, URI: f.URI, When: strings.TrimSpace(f.When), Input: strings.TrimSpace(f.Input),
		Retry: Retry{
			Attempts: or(f.Retry.Attempts, defaultAttempts),
			Backoff:  p.duration(path+".retry.backoff", f.Retry.Backoff, defaultBackoff, shortestPause, longestPause),
		},
		Timeout: p.duration(path+".timeout", f.Timeout, defaultStepTimeout, shortest, longest),
		Needs:   []string{},
	}
	if slices.Contains(reserved(), s.Name) {
		p.fault(path+".name", "expected another name than %s, which expressions read by", s.Name)
	}
	kinds := 0
	for _, set := range []bool{s.Function != "", s.URI != "", f.Ref != nil} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		p.fault(path, "expected one of function and uri")
	case f.Ref != nil:
		p.fault(path+".ref", "steps that call an object of the cluster are not there yet: expected function or uri")
	case s.URI != "":
		p.uri(path+".uri", s.URI)
	}
	switch {
	case f.Needs != nil:
		s.Needs = append(s.Needs, *f.Needs...)
	case before != "":
		s.Needs = append(s.Needs, before)
	}
	if e := f.ForEach; e != nil {
		s.ForEach = &ForEach{strings.TrimSpace(e.Items), or(e.Max, MaxItems), or(e.AtOnce, defaultAtOnce), or(e.Join, All)}
	}
	if s.Input == "" && f.Input == "" {
		switch {
		case s.ForEach != nil:
			s.Input = "item"
		case len(s.Needs) == 0:
			s.Input = "input"
		case len(s.Needs) == 1:
			s.Input = Read(s.Needs[0])
		default:
			p.fault(path+".input", "it is missing: the step needs several others")
		}
	}
	return s
}

// Read is how an expression reads a step's output.
func Read(step string) string {
	if strings.Contains(step, "-") || step[0] <= '9' || isWord(step) {
		return fmt.Sprintf("steps[%q]", step)
	}
	return "steps." + step
}

// isWord reports whether a name is a word of CEL.
func isWord(name string) bool {
	return slices.Contains([]string{
		"in", "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "let", "loop", "package", "namespace", "null", "return", "true", "var", "void", "while",
	}, name)
}

func (p *parser) uri(path, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		p.fault(path, "expected a URL that begins with http:// or https:// and has a host")
	case u.User != nil:
		p.fault(path, "expected a URL without a name and a password: a definition is no place for secrets")
	case strings.Contains(text, "#"):
		p.fault(path, "expected a URL without a fragment")
	}
}

// kept are the headers that the platform sets itself, and those that are of one
// connection, or secret.
func kept() []string {
	return []string{
		"Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Cookie", "Expect", "Forwarded", "Host",
		"Idempotency-Key", "Keep-Alive", "Prefer", "Proxy-Authenticate", "Proxy-Authorization", "Set-Cookie", "Te", "Traceparent", "Tracestate", "Trailer",
		"Transfer-Encoding", "Upgrade", "X-Api-Key", "X-Request-Id",
	}
}

func (p *parser) headers(d *Definition, names []string) {
	for i, name := range names {
		name = http.CanonicalHeaderKey(name)
		path := fmt.Sprintf("spec.headers[%d]", i)
		prefixed := slices.ContainsFunc([]string{"Ce-", "Modelserve-", "K-", "Kn-", "X-Forwarded-"}, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		switch {
		case prefixed || slices.Contains(kept(), name):
			p.fault(path, "expected another header: the platform sets this one itself, or does not hand it on")
		case slices.Contains(d.Headers, name):
			p.fault(path, "expected each once")
		}
		d.Headers = append(d.Headers, name)
	}
}

func (p *parser) trigger(path string, d *Definition, t *triggerForm) {
	for _, own := range []string{"execution", "step"} {
		if strings.HasPrefix(t.Type, "dev.modelserve."+own+".") {
			p.fault(path+".type", "expected another type: every execution makes such events, and would start the next")
		}
	}
	for i := range d.Steps {
		if name := d.Steps[i].Function; name != "" && t.Type == "dev.modelserve."+name+".answered.v1" {
			p.fault(path+".type", "expected another type: step %s makes such events, and would start the pipeline again", d.Steps[i].Name)
			break
		}
	}
	if t.Source != "" {
		if _, err := url.Parse(t.Source); err != nil {
			p.fault(path+".source", "expected a URI, or a reference to one")
		}
	}
	p.attributes(path+".filter", t.Filter)
	if n := t.Filter.count(); n > maxFilters {
		p.fault(path+".filter", "expected at most %d filters within each other, got %d", maxFilters, n)
	}
}

// attributes holds a filter's names to those that attributes of events have.
func (p *parser) attributes(path string, f *Filter) {
	if f == nil {
		return
	}
	for word, names := range map[string]map[string]string{"exact": f.Exact, "prefix": f.Prefix, "suffix": f.Suffix} {
		for name := range names {
			if !isAttribute(name) {
				p.fault(fmt.Sprintf("%s.%s.%s", path, word, name), "expected the name of an attribute of events: a-z and 0-9, at most 20")
			}
		}
	}
	p.attributes(path+".not", f.Not)
	for i := range f.All {
		p.attributes(fmt.Sprintf("%s.all[%d]", path, i), &f.All[i])
	}
	for i := range f.Any {
		p.attributes(fmt.Sprintf("%s.any[%d]", path, i), &f.Any[i])
	}
}

// isAttribute reports whether CloudEvents have attributes of a name.
func isAttribute(name string) bool {
	const most = 20
	return name != "" && len(name) <= most && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// maxFilters bounds the filters of one trigger.
const maxFilters = 50

// count is how many filters there are in one.
func (f *Filter) count() int {
	if f == nil {
		return 0
	}
	n := 1 + f.Not.count()
	for i := range f.All {
		n += f.All[i].count()
	}
	for i := range f.Any {
		n += f.Any[i].count()
	}
	return n
}
