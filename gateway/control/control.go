// Package control is the gateway's control API (/v1): its endpoints as handlers
// of Go types, and the OpenAPI document of every URL that the gateway answers, V2's
// among them.
//
// It finds out nobody's identity, writes no errors and routes nothing: that is
// done by who serves its endpoints. How types become endpoints is package
// operation's.
package control

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/gateway/pipeline"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/route"
)

// Deps are what the control API works with. All are required but those that may be nil.
type Deps struct {
	Rights Rights
	Keys   Keys // every one that there was
	Audit  audit.Store
	Hasher *auth.Hasher
	Bounds access.Bounds
	Routes *route.Routes

	Door     Door     // decides who may what
	Refusals Refusals // of changes that somebody may not make; nil is none
	File     File     // what is in force of the gateway's file; nil is none
	Usage    Usage    // what tenants used; nil is not counted

	Pipelines *pipeline.Service // the pipelines service; nil is none
}

// Rights are what is stored of keys, roles and grants: a rights.Mirror.
type Rights interface {
	// State is what is known now.
	State() *access.State

	// UpdateFor has a change of somebody of a tenant stored that is decided on the newest
	// state there is. The error of decide is returned as it is.
	UpdateFor(ctx context.Context, tenant string, decide func(*access.State) (*rights.Stored, error)) error
}

// Keys lists keys, for people: also those that have ended, and when each was used.
type Keys interface {
	// Key returns a key, or auth.ErrNoKey.
	Key(ctx context.Context, id string) (*auth.Key, error)

	// Keys returns a page, newest first.
	Keys(ctx context.Context, page auth.Page) ([]*auth.Key, error)
}

// Door decides what the caller of a call may do.
type Door interface {
	operation.Door

	// May reports it of what is not refused, but left out.
	May(ctx context.Context, c *call.Call, a auth.Action) bool
}

// Refusals are noted for the audit log: an audit.Recorder.
type Refusals interface {
	Refused(e audit.Entry)
}

// Endpoint is one URL of the control API, ready to serve.
type Endpoint = operation.Endpoint

// API is the control API.
type API struct {
	deps      Deps
	readings  readings
	endpoints []Endpoint
	document  []byte
}

// New makes the control API.
func New(deps Deps) (*API, error) {
	if deps.Rights == nil || deps.Keys == nil || deps.Audit == nil || deps.Hasher == nil || deps.Routes == nil || deps.Door == nil {
		return nil, errors.New("control: expected Deps.Rights, Deps.Keys, Deps.Audit, Deps.Hasher, Deps.Routes and Deps.Door")
	}
	return build(deps)
}

// Describe makes the document of an API that is not to be served.
func Describe() ([]byte, error) {
	a, err := build(Deps{})
	if err != nil {
		return nil, err
	}
	return a.document, nil
}

// Endpoints are the URLs of the control API. The caller does not change them.
func (a *API) Endpoints() []Endpoint { return a.endpoints }

// Document is the description of every URL that the gateway answers: OpenAPI 3.1,
// as JSON. The caller does not change it.
func (a *API) Document() []byte { return a.document }

func build(deps Deps) (a *API, err error) {
	a = &API{deps: deps}
	document := openAPI()
	set := operation.NewSet(document, deps.Door)
	a.addHealth(set)
	a.addKeys(set)
	a.addRoles(set)
	a.addGrants(set)
	a.addAccess(set)
	a.addAudit(set)
	a.addUsage(set)
	a.addFunctions(set)
	a.addFile(set)
	deps.Pipelines.Add(set)
	describeV2(set, document.Components)
	a.endpoints, a.document, err = set.Finish()
	return a, err
}

// addHealth adds what needs no credential. The probes are the gateway's own.
func (a *API) addHealth(set *operation.Set) {
	for _, op := range []struct {
		path, id, summary string
		serve             func(*call.Call, http.ResponseWriter, *http.Request) error
	}{
		{"/healthz", "healthz", "The process is alive", nil},
		{"/readyz", "readyz", "The gateway takes requests", nil},
		{"/openapi.json", "openAPI", "This document", a.serveDocument},
	} {
		set.Describe(&huma.Operation{
			Method: http.MethodGet, Path: op.path, OperationID: op.id, Summary: op.summary, Tags: []string{"health"},
			Security: []map[string][]string{}, // public
			Responses: map[string]*huma.Response{
				"200":     {Description: op.summary, Content: operation.JSON(&huma.Schema{Type: huma.TypeObject})},
				"default": {Ref: "#/components/responses/Problem"},
			},
		}, op.serve)
	}
}

func (a *API) serveDocument(_ *call.Call, w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(a.document)))
	_, _ = w.Write(a.document) // a caller that is gone needs no error
	return nil
}
