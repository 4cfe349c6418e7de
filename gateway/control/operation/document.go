package operation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// Where a document has its parts.
const (
	schemasAt   = "#/components/schemas/"
	responsesAt = "#/components/responses/"
)

// describe writes an operation of types into the document.
func (s *Set) describe(op *Operation, in *plan, out *output) {
	o := &huma.Operation{
		Method: op.Method, Path: op.Pattern, OperationID: op.ID, Summary: op.Summary, Tags: []string{op.Tag},
		Extensions: map[string]any{},
	}
	codes := slices.Concat(op.Codes, []problem.Code{problem.InvalidArgument}) // of query parameters at least
	if op.Public {
		o.Security = []map[string][]string{}
	}
	if op.Needs != "" {
		codes = append(codes, problem.PermissionDenied)
		needs := []string{}
		for _, permission := range (auth.Action{Verb: op.Needs}).Permissions() {
			needs = append(needs, string(permission))
		}
		for _, scheme := range s.document.Security {
			for name := range scheme {
				o.Security = append(o.Security, map[string][]string{name: needs})
			}
		}
	}
	if op.Audit != "" { // a change, of which a tenant's wait for each other
		codes = append(codes, problem.Overloaded)
		o.Extensions["x-audit-action"] = op.Audit
	}
	for _, a := range in.params {
		p := &huma.Param{Name: a.name, In: a.in, Description: a.schema.Description, Required: a.required, Schema: a.schema}
		o.Parameters = append(o.Parameters, p)
	}
	if in.body != nil {
		codes = append(codes, BodyCodes()...)
		o.RequestBody = &huma.RequestBody{Required: !in.optional, Content: JSON(in.schema)}
		o.Extensions["x-max-body-bytes"] = op.MaxBody
	}
	o.Responses = s.Problems(codes...)
	for _, status := range append(out.others, out.status) {
		o.Responses[strconv.Itoa(status)] = s.success(op, out)
	}
	s.document.AddOperation(o)
}

func (s *Set) success(op *Operation, out *output) *huma.Response {
	r := &huma.Response{Description: op.Summary}
	for _, h := range out.headers {
		if r.Headers == nil {
			r.Headers = map[string]*huma.Header{}
		}
		r.Headers[h.name] = &huma.Header{Description: h.text, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	switch {
	case out.media != "":
		r.Content = map[string]*huma.MediaType{out.media: {Schema: &huma.Schema{Type: huma.TypeString}}}
	case out.body != nil:
		r.Content = JSON(s.Schemas().Schema(out.body, true, op.ID+"Answer"))
	}
	return r
}

// JSON is content of the type application/json.
func JSON(schema *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: schema}}
}

// BodyCodes are the errors of reading any body.
func BodyCodes() []problem.Code {
	return []problem.Code{problem.MalformedBody, problem.UnsupportedMedia, problem.PayloadTooLarge, problem.RequestTimeout}
}

// Problems are the answers with errors (RFC 9457) of an operation that needs a
// credential: those of every one, and the given ones.
func (s *Set) Problems(codes ...problem.Code) map[string]*huma.Response {
	return s.errors("", "application/problem+json", "Problem", codes)
}

// V2Problems are the same in the form of the Open Inference Protocol.
func (s *Set) V2Problems(codes ...problem.Code) map[string]*huma.Response {
	return s.errors("V2", "application/json", "V2Error", codes)
}

// errors lists the answers by status, each of which is a component with its
// codes.
func (s *Set) errors(prefix, media, body string, codes []problem.Code) map[string]*huma.Response {
	codes = append([]problem.Code{
		problem.Unauthenticated, problem.RateLimited, problem.QuotaExceeded,
		problem.HeadersTooLarge, problem.Unavailable, problem.DeadlineExceeded, problem.Internal,
	}, codes...)
	slices.Sort(codes)
	byStatus := map[int][]problem.Code{}
	for _, code := range slices.Compact(codes) {
		byStatus[code.Row().Status] = append(byStatus[code.Row().Status], code)
	}
	responses := map[string]*huma.Response{"default": {Ref: responsesAt + body}}
	for status, codes := range byStatus {
		name, texts := prefix, []string{}
		for _, code := range codes {
			name += camel(string(code))
			texts = append(texts, string(code))
		}
		s.document.Components.Responses[name] = &huma.Response{
			Description: strings.Join(texts, ", "),
			Content: map[string]*huma.MediaType{media: {Schema: &huma.Schema{AllOf: []*huma.Schema{
				{Ref: schemasAt + body},
				{Properties: map[string]*huma.Schema{"code": {Enum: anys(texts)}}},
			}}}},
		}
		responses[strconv.Itoa(status)] = &huma.Response{Ref: responsesAt + name}
	}
	return responses
}

func camel(snake string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(snake, "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

func anys(texts []string) []any {
	values := make([]any, len(texts))
	for i, text := range texts {
		values[i] = text
	}
	return values
}

// marshal makes the document. encoding/json sorts the names of maps, so that it
// is the same each time.
func (s *Set) marshal() ([]byte, error) {
	for name, schema := range s.Schemas().Map() {
		if s.Schemas().TypeFromRef(schemasAt+name) != nil { // others are as they were written
			loosen(schema)
		}
	}
	seen := map[*huma.Schema]bool{}
	for _, p := range s.plans {
		if p.schema != nil {
			s.tighten(p.schema, seen)
		}
	}
	var document bytes.Buffer
	encoder := json.NewEncoder(&document)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(s.document); err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	return document.Bytes(), nil
}

// loosen makes a schema that huma made of a type what our answers are: a list is
// never null, and objects may have more fields in a later version.
func loosen(schema *huma.Schema) {
	if schema.Type == huma.TypeArray && schema.Items != nil {
		schema.Nullable = false
		loosen(schema.Items)
	}
	if closed, ok := schema.AdditionalProperties.(bool); ok && !closed {
		schema.AdditionalProperties = nil
	}
	for _, property := range schema.Properties {
		loosen(property)
	}
}

// TimePattern is how a time is written that is taken, which is less than the format
// date-time has: no lower case, and no 60th second.
const TimePattern = `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9]([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`

// tighten makes a schema what is taken of callers: no fields beside those that
// there are, null for what may be left out, and times as they are read.
func (s *Set) tighten(schema *huma.Schema, seen map[*huma.Schema]bool) {
	if schema.Ref != "" {
		schema = s.Schemas().SchemaFromRef(schema.Ref)
	}
	if schema == nil || seen[schema] {
		return
	}
	seen[schema] = true
	if schema.Format == "date-time" && schema.Pattern == "" {
		schema.Pattern = TimePattern
		if schema.Description == "" {
			schema.Description = aTime
		}
	}
	if schema.Items != nil {
		s.tighten(schema.Items, seen)
	}
	if schema.Properties != nil && schema.AdditionalProperties == nil {
		schema.AdditionalProperties = false
	}
	for name, property := range schema.Properties {
		s.tighten(property, seen)
		switch {
		case slices.Contains(schema.Required, name):
		case property.Ref != "":
			schema.Properties[name] = &huma.Schema{AnyOf: []*huma.Schema{property, {Type: "null"}}}
		case property.Type != "":
			property.Nullable = true
		}
	}
}
