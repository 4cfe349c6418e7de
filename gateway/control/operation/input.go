package operation

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/modelserveai/modelserve/gateway/internal/body"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// plan is how an input is read.
type plan struct {
	pattern string // of the operation
	method  string
	params  []*param
	maxBody int64

	body     reflect.Type // of Body; nil for none
	at       []int        // of Body
	optional bool
	schema   *huma.Schema
	check    *check

	names map[string]bool // of parameters and of the body's fields
}

// param is one field of an input that is not its body.
type param struct {
	name     string
	in       string // "path", "query" or "header"
	at       []int
	list     bool
	required bool
	fallback string
	schema   *huma.Schema
	check    *check
}

// inputOf plans how an operation's input is read.
func (s *Set) inputOf(t reflect.Type, op *Operation) (*plan, error) {
	if op.MaxBody == 0 {
		op.MaxBody = DefaultMaxBody
	}
	p := &plan{pattern: op.Pattern, method: op.Method, maxBody: op.MaxBody}
	for _, f := range reflect.VisibleFields(t) {
		switch {
		case f.Anonymous:
			continue
		case f.Name == "Body":
			p.body, p.at = f.Type, f.Index
			if f.Type.Kind() == reflect.Pointer {
				p.body, p.optional = f.Type.Elem(), true
			}
			p.schema = s.Schemas().Schema(p.body, true, op.ID)
			continue
		}
		a, err := paramOf(f)
		if err != nil {
			return nil, err
		}
		if a.in == "path" && !strings.Contains(op.Pattern, "{"+a.name+"}") {
			return nil, fmt.Errorf("%s has no {%s}", op.Pattern, a.name)
		}
		a.schema = huma.SchemaFromField(s.Schemas(), f, "")
		a.schema.Nullable = false
		p.params = append(p.params, a)
	}
	return p, nil
}

func paramOf(f reflect.StructField) (*param, error) {
	for _, in := range []string{"path", "query", "header"} {
		name := f.Tag.Get(in)
		if name == "" {
			continue
		}
		p := &param{
			name: name, in: in, at: f.Index, fallback: f.Tag.Get("default"),
			required: in == "path" || f.Tag.Get("required") == "true",
		}
		t := f.Type
		if t.Kind() == reflect.Slice {
			p.list, t = true, t.Elem()
		}
		if !readable(t) || p.list && in != "query" {
			return nil, fmt.Errorf("the field %s is a %v, which is not read from the %s", f.Name, f.Type, in)
		}
		return p, nil
	}
	return nil, fmt.Errorf("the field %s is neither Body nor tagged path, query or header", f.Name)
}

func readable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return true
	default:
		return t == reflect.TypeFor[time.Time]()
	}
}

// compile finds the checks in the finished document.
func (p *plan) compile(c *checks) (err error) {
	p.names = map[string]bool{"body": true, "query": true}
	operation := "/paths/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(p.pattern) + "/" + strings.ToLower(p.method)
	for i, a := range p.params {
		p.names[a.name] = true
		if a.check, err = c.at(fmt.Sprintf("%s/parameters/%d/schema", url.PathEscape(operation), i)); err != nil {
			return err
		}
	}
	if p.body != nil {
		if p.check, err = c.at(url.PathEscape(operation) + "/requestBody/content/application~1json/schema"); err != nil {
			return err
		}
		namesOf(p.check.schema, p.names, map[*jsonschema.Schema]bool{})
	}
	return nil
}

// read fills an input from a request, or returns what is wrong with all of its
// parameters, or all of its body.
func (p *plan) read(r *http.Request, into reflect.Value) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return problem.Invalid("query", "expected parameters such as a=b&c=d, with other characters escaped")
	}
	var faults []problem.Field
	for _, a := range p.params {
		var texts []string
		switch a.in {
		case "path":
			texts = []string{r.PathValue(a.name)}
		case "query":
			texts = query[a.name]
			delete(query, a.name)
		default:
			texts = r.Header.Values(a.name)
		}
		faults = append(faults, a.set(texts, into.FieldByIndex(a.at))...)
	}
	for name := range query {
		faults = append(faults, problem.Field{Field: short(name), Detail: p.noSuch()})
	}
	if err := refused(faults); err != nil || p.body == nil {
		return p.quieted(err)
	}
	return p.quieted(p.readBody(r, into.FieldByIndex(p.at)))
}

// noSuch lists the query parameters that there are.
func (p *plan) noSuch() string {
	var names []string
	for _, a := range p.params {
		if a.in == "query" {
			names = append(names, a.name)
		}
	}
	if len(names) == 0 {
		return "expected no query parameters"
	}
	return "expected only the query parameters " + strings.Join(names, ", ")
}

func (p *plan) readBody(r *http.Request, into reflect.Value) error {
	data, err := body.Read(r, p.maxBody)
	if err != nil || p.optional && len(data) == 0 {
		return err
	}
	if p.optional {
		into.Set(reflect.New(p.body))
		into = into.Elem()
	}
	if err := isJSON(r.Header.Values("Content-Type")); err != nil {
		return err
	}
	data = infer.WithoutMark(data)
	value, err := parse(data)
	if err != nil {
		return err
	}
	if err := refused(p.check.of(value)); err != nil {
		return err
	}
	return decode(data, into.Addr().Interface())
}

// set reads a parameter's texts into its field. What does not fit is left to the
// schema to refuse.
func (a *param) set(texts []string, into reflect.Value) []problem.Field {
	if len(texts) == 0 && a.fallback != "" {
		texts = []string{a.fallback}
	}
	switch {
	case len(texts) == 0 && a.required:
		return []problem.Field{{Field: a.name, Detail: isRequired}}
	case len(texts) == 0:
		return nil
	case len(texts) > 1 && !a.list:
		return []problem.Field{{Field: a.name, Detail: fmt.Sprintf("expected once, got %d times", len(texts))}}
	}
	if !a.list {
		value, ok := setText(into, texts[0])
		return a.judge(value, ok)
	}
	values, good := make([]any, len(texts)), true
	into.Set(reflect.MakeSlice(into.Type(), len(texts), len(texts)))
	for i, text := range texts {
		value, ok := setText(into.Index(i), text)
		values[i], good = value, good && ok
	}
	return a.judge(values, good)
}

// judge holds a parameter's value to its schema. One that could not be read is
// refused also where the schema lets it pass.
func (a *param) judge(value any, read bool) []problem.Field {
	faults := a.check.of(value, a.name)
	if len(faults) == 0 && !read {
		return []problem.Field{{Field: a.name, Detail: "expected another value"}}
	}
	return faults
}

// setText reads a text into a field; value is what its schema is for.
func setText(into reflect.Value, text string) (value any, ok bool) {
	if into.Type() == reflect.TypeFor[time.Time]() {
		t, err := time.Parse(time.RFC3339, text)
		into.Set(reflect.ValueOf(t))
		return text, err == nil && !t.IsZero() // which would be none
	}
	switch into.Kind() {
	case reflect.String:
		into.SetString(text)
		return text, true
	case reflect.Bool:
		into.SetBool(text == "true")
		if text == "true" || text == "false" {
			return text == "true", true
		}
		return text, false
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return text, false
		}
		into.SetInt(n)
		return json.Number(strconv.FormatInt(n, 10)), true
	}
}
