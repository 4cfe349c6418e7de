package operation

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/modelserveai/modelserve/problem"
)

// Each wrong value of a list costs some hundred times its bytes until it is
// reported, so that every list and map of an input has a bound, which is looked at
// before their values are.

// parts are the schemas that hold for the same value as s does.
func parts(s *jsonschema.Schema) []*jsonschema.Schema {
	all := slices.Concat(s.AllOf, s.AnyOf, s.OneOf, []*jsonschema.Schema{s.Ref, s.Then, s.Else})
	return slices.DeleteFunc(all, func(part *jsonschema.Schema) bool { return part == nil })
}

// bounded refuses a schema with a list or a map that may have any number of values.
func bounded(s *jsonschema.Schema, seen map[*jsonschema.Schema]bool) error {
	if seen[s] {
		return nil
	}
	seen[s] = true
	within := parts(s)
	if s.Items2020 != nil {
		if s.MaxItems == nil {
			return fmt.Errorf("%s: expected maxItems, for a list of an input", s.Location)
		}
		within = append(within, s.Items2020)
	}
	if values, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		if s.MaxProperties == nil {
			return fmt.Errorf("%s: expected maxProperties, for a map of an input", s.Location)
		}
		within = append(within, values)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		within = append(within, s.Properties[name])
	}
	for _, part := range within {
		if err := bounded(part, seen); err != nil {
			return err
		}
	}
	return nil
}

// oversized reports the lists and maps of a value that are larger than they may
// be, and looks into no such.
func oversized(s *jsonschema.Schema, value any, at []string) (faults []problem.Field) {
	for _, part := range parts(s) {
		faults = append(faults, oversized(part, value, at)...)
	}
	within := func(s *jsonschema.Schema, value any, name string) {
		faults = append(faults, oversized(s, value, append(slices.Clip(at), name))...)
	}
	switch v := value.(type) {
	case []any:
		if s.MaxItems != nil && len(v) > *s.MaxItems {
			return []problem.Field{{Field: problem.Path(slices.Values(at)), Detail: "expected at most " + plural(*s.MaxItems, "value")}}
		}
		for i, item := range v {
			if s.Items2020 != nil {
				within(s.Items2020, item, strconv.Itoa(i))
			}
		}
	case map[string]any:
		if s.MaxProperties != nil && len(v) > *s.MaxProperties {
			return []problem.Field{{Field: problem.Path(slices.Values(at)), Detail: "expected at most " + plural(*s.MaxProperties, "field")}}
		}
		others, _ := s.AdditionalProperties.(*jsonschema.Schema)
		for name, field := range v {
			switch known := s.Properties[name]; {
			case known != nil:
				within(known, field, name)
			case others != nil:
				within(others, field, name)
			}
		}
	}
	return faults
}
