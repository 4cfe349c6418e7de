package definition

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The schema has the fields of the form, and only those.
func TestTheSchemaHasTheFormsFields(t *testing.T) {
	t.Parallel()
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var compare func(path string, of reflect.Type, schema any, depth int)
	compare = func(path string, of reflect.Type, schema any, depth int) {
		s, ok := schema.(map[string]any)
		if !ok || depth > 8 {
			return
		}
		if ref, ok := s["$ref"].(string); ok {
			s, ok = root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
			if !ok {
				t.Fatalf("%s: no %s", path, ref)
			}
		}
		for of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		switch {
		case of == reflect.TypeFor[json.RawMessage]():
		case of.Kind() == reflect.Slice:
			compare(path+"[]", of.Elem(), s["items"], depth+1)
		case of.Kind() == reflect.Struct:
			fields := map[string]reflect.Type{}
			for i := range of.NumField() {
				name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
				fields[name] = of.Field(i).Type
			}
			members, _ := s["properties"].(map[string]any)
			if diff := cmp.Diff(slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(members))); diff != "" {
				t.Errorf("%s: -form +schema\n%s", path, diff)
			}
			if s["additionalProperties"] != false {
				t.Errorf("%s: unknown fields are no faults", path)
			}
			for name, field := range fields {
				compare(path+"."+name, field, members[name], depth+1)
			}
		}
	}
	compare("", reflect.TypeFor[form](), root, 0)
}

// What the schema says of bounds and defaults is what the code says.
func TestTheSchemaHasTheBounds(t *testing.T) {
	t.Parallel()
	var s struct {
		Properties struct {
			Spec struct {
				Properties struct{ Steps struct{ MaxItems int } }
			}
		}
		Defs struct {
			Step struct {
				Properties struct {
					Needs   struct{ MaxItems int }
					ForEach struct {
						Properties struct {
							Max    struct{ Maximum int }
							AtOnce struct{ Maximum int } `json:"at_once"`
						}
					}
					Retry struct {
						Properties struct{ Attempts struct{ Maximum int } }
					}
				}
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	step := s.Defs.Step.Properties
	got := []int{s.Properties.Spec.Properties.Steps.MaxItems, step.Needs.MaxItems, step.ForEach.Properties.Max.Maximum, step.ForEach.Properties.AtOnce.Maximum, step.Retry.Properties.Attempts.Maximum}
	if diff := cmp.Diff([]int{MaxSteps, MaxNeeds, MaxItems, MaxAtOnce, MaxTries}, got); diff != "" {
		t.Error(diff)
	}
}
