package operation

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/modelserveai/modelserve/problem"
)

// quiet is a problem that names what its caller made up: a field, or a parameter, that
// there is none of. The caller gets it, the log does not: it may hold a secret.
type quiet struct {
	problem *problem.Error
	text    string
}

// Error is what the log has.
func (q quiet) Error() string { return q.text }

// As makes it the problem that the caller gets.
func (q quiet) As(target any) bool {
	p, ok := target.(**problem.Error)
	if ok {
		*p = q.problem
	}
	return ok
}

// quieted is err, of whose fields the log has only those that the operation has.
func (p *plan) quieted(err error) error {
	var known *problem.Error
	if !errors.As(err, &known) {
		return err
	}
	var texts []string
	hidden := false
	for _, f := range known.Fields {
		if p.has(f.Field) {
			texts = append(texts, f.Field+": "+f.Detail)
		} else {
			texts, hidden = append(texts, "a name that is not logged: "+f.Detail), true
		}
	}
	if !hidden {
		return err
	}
	return quiet{known, strings.Join(slices.Compact(texts), "; ")}
}

// has reports whether each name in the path of a field is one of the operation's.
func (p *plan) has(path string) bool {
	for part := range strings.SplitSeq(path, ".") {
		name, index, listed := strings.Cut(part, "[")
		if !p.names[name] {
			return false
		}
		if _, err := strconv.ParseUint(strings.TrimSuffix(index, "]"), 10, 16); listed && err != nil {
			return false
		}
	}
	return true
}

// namesOf adds the names of a schema's fields. What stands in a map is its caller's.
func namesOf(s *jsonschema.Schema, into map[string]bool, seen map[*jsonschema.Schema]bool) {
	if seen[s] {
		return
	}
	seen[s] = true
	within := parts(s)
	if s.Items2020 != nil {
		within = append(within, s.Items2020)
	}
	if values, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		within = append(within, values)
	}
	for name := range maps.Keys(s.Properties) {
		into[name] = true
		within = append(within, s.Properties[name])
	}
	for _, part := range within {
		namesOf(part, into, seen)
	}
}
