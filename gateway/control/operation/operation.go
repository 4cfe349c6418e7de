// Package operation makes endpoints of the control API out of Go types: from the
// struct of an operation's input and that of its output come what is read and
// refused, what is answered, and its part of the OpenAPI document.
//
// An input's fields are tagged with where they come from (path, query, header)
// and Body is the JSON body, optional where it is a pointer; an output's fields
// are headers and Body. The tags of their schemas are huma's (minLength, pattern,
// enum, doc, …), and the values that come are held to the very schemas that the
// document shows. Package operation knows no endpoint, finds out nobody's identity
// and writes no error: who calls Serve does.
package operation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/problem"
)

// Operation describes an endpoint, but for its input and output.
type Operation struct {
	Method  string
	Pattern string // of http.ServeMux, without the method: "/v1/keys/{id}"
	ID      string // operationId, unique
	Summary string
	Tag     string

	Public  bool      // whether it needs no credential; then Needs is not looked at
	Needs   auth.Verb // what the caller has to be allowed; "" where a credential is enough
	Audit   string    // the action's name in the audit log: "key.create"; "" where nothing changes
	MaxBody int64     // bytes; 0 is DefaultMaxBody
	Status  int       // of success; 0 is 200, and 204 where the output has no Body

	// Codes are the errors that it may answer with, beside those of authentication,
	// of its input and of every server.
	Codes []problem.Code
}

// DefaultMaxBody bounds the body of an operation that sets no other bound, in
// bytes: well below what inputs of models may be.
const DefaultMaxBody = 1 << 20

// Endpoint is one operation, ready to serve.
type Endpoint struct {
	Method  string
	Pattern string // of http.ServeMux, without the method
	Public  bool   // needs no credential
	Stream  bool   // goes on until its client or the server ends it

	// Operation is what it does, the same for URLs that differ in a version only, as
	// limits name it; "" is its Pattern.
	Operation string

	// Serve answers, or returns an error before anything of an answer is written:
	// a *problem.Error or one whose text is not for the caller. Path values are
	// in the request, and what else is known is in the call.
	Serve func(c *call.Call, w http.ResponseWriter, r *http.Request) error
}

// Set is the endpoints of an API. It is filled by Add and Describe, and then
// closed by Finish.
type Set struct {
	door      Door
	document  *huma.OpenAPI
	endpoints []Endpoint
	plans     []*plan
	faults    []error
}

// Door decides what the caller of a call may do.
type Door interface {
	// Decide returns nil, or problem.PermissionDenied.
	Decide(ctx context.Context, c *call.Call, a auth.Action) error
}

// NewSet makes an empty Set. The document has the description of the whole API; its
// components are added to.
func NewSet(document *huma.OpenAPI, door Door) *Set {
	if document.Components.Schemas == nil {
		document.Components.Schemas = huma.NewMapRegistry(schemasAt, huma.DefaultSchemaNamer)
	}
	if document.Components.Responses == nil {
		document.Components.Responses = map[string]*huma.Response{}
	}
	return &Set{door: door, document: document}
}

// Add adds an operation of which everything follows from its types. In and Out
// are structs; struct{} is nothing.
func Add[In, Out any](s *Set, op Operation, handle func(context.Context, *call.Call, *In) (*Out, error)) {
	in, err := s.inputOf(reflect.TypeFor[In](), &op)
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: %w", op.ID, err))
		return
	}
	out := outputOf(reflect.TypeFor[Out](), &op)
	s.describe(&op, in, out)
	s.plans = append(s.plans, in)
	s.endpoints = append(s.endpoints, Endpoint{Method: op.Method, Pattern: op.Pattern, Public: op.Public, Serve: func(c *call.Call, w http.ResponseWriter, r *http.Request) error {
		if op.Needs != "" {
			if err := s.door.Decide(r.Context(), c, auth.Action{Verb: op.Needs}); err != nil {
				return err
			}
		}
		asked := new(In)
		if err := in.read(r, reflect.ValueOf(asked).Elem()); err != nil {
			return err
		}
		answer, err := handle(r.Context(), c, asked)
		if err != nil {
			return err
		}
		return out.write(w, reflect.ValueOf(answer).Elem())
	}})
}

// Describe adds an operation that is described by hand: streams, uploads, other
// protocols. With serve nil it is in the document only, as somebody else's to
// serve. A Security that is empty, and not nil, makes it one that needs no
// credential.
func (s *Set) Describe(op *huma.Operation, serve func(c *call.Call, w http.ResponseWriter, r *http.Request) error) {
	s.document.AddOperation(op)
	if serve != nil {
		public := op.Security != nil && len(op.Security) == 0
		s.endpoints = append(s.endpoints, Endpoint{Method: op.Method, Pattern: op.Path, Public: public, Serve: serve})
	}
}

// Serve adds an operation that is described by hand and of which its Endpoint says more
// than Describe asks for.
func (s *Set) Serve(op *huma.Operation, e *Endpoint) {
	s.document.AddOperation(op)
	s.endpoints = append(s.endpoints, *e)
}

// Schemas makes the schemas of the document's components.
func (s *Set) Schemas() huma.Registry { return s.document.Components.Schemas }

// Finish closes the set: it makes the document (OpenAPI 3.1, the same bytes each
// time) and the checks out of it. The errors are faults of the code that added.
func (s *Set) Finish() ([]Endpoint, []byte, error) {
	if err := errors.Join(s.faults...); err != nil {
		return nil, nil, err
	}
	document, err := s.marshal()
	if err != nil {
		return nil, nil, err
	}
	checks, err := newChecks(document)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range s.plans {
		if err := p.compile(checks); err != nil {
			return nil, nil, err
		}
	}
	return slices.Clip(s.endpoints), document, nil
}
