package control

import (
	"context"
	"net"
	"net/http"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
)

func (a *API) addFunctions(set *operation.Set) {
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/functions", ID: "listFunctions", Tag: "functions",
		Summary: "List the functions the caller may call",
	}, a.listFunctions)
}

// Function is a function as the control API shows it.
type Function struct {
	Name      string   `json:"name" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	Namespace string   `json:"namespace" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	URL       string   `json:"url,omitempty" format:"uri" doc:"none for the pool"`
	Pool      bool     `json:"pool,omitzero"`
	State     string   `json:"state,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Models    []string `json:"models" doc:"name@version, of every revision with a share of the traffic"`
	Mixed     []string `json:"mixed,omitempty" doc:"name@version: in a canary, what only some of those revisions serve; calls by the function's host may be for these too"`
	Tags      []string `json:"tags" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
}

// Functions is a list of functions.
type Functions struct {
	Functions []Function `json:"functions"`
}

type listFunctionsOutput struct{ Body Functions }

// listFunctions lists the functions that the caller may call.
func (a *API) listFunctions(ctx context.Context, c *call.Call, _ *struct{}) (*listFunctionsOutput, error) {
	out := &listFunctionsOutput{}
	functions := a.deps.Routes.Functions()
	for i := range functions {
		f := &functions[i]
		on := f.Name
		if f.Pool {
			on = "*" // for those who may call every model
		}
		if !a.deps.Door.May(ctx, c, auth.Action{Verb: auth.DoInfer, On: on}) {
			continue
		}
		out.Body.Functions = append(out.Body.Functions, a.function(f, c.Host))
	}
	return out, nil
}

// function shows a function to a caller who came by a host.
func (a *API) function(f *route.Function, callers string) Function {
	view := Function{
		Name: f.Name, Namespace: f.Namespace, Pool: f.Pool, State: string(f.State), Reason: problem.Redact(f.Reason), Tags: f.Tags,
	}
	if host := a.deps.Routes.PublicHost(f); host != "" {
		view.URL = "http://" + withPort(host, callers) + "/"
	}
	for _, pin := range f.Models {
		view.Models = append(view.Models, pin.String())
	}
	for _, pin := range f.Mixed {
		view.Mixed = append(view.Mixed, pin.String())
	}
	return view
}

// withPort gives a host the port that the caller came by.
func withPort(host, callers string) string {
	if _, port, err := net.SplitHostPort(callers); err == nil && port != "" {
		return net.JoinHostPort(host, port)
	}
	return host
}
