package control

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/problem"
)

func (a *API) addAccess(set *operation.Set) {
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/access", ID: "explainAccess", Tag: "roles",
		Summary: "Whether something is allowed, and why, in sentences: to the caller, or to a key of their tenant, which needs keys:admin",
		Codes:   []problem.Code{problem.NotFound},
	}, a.explainAccess)
}

// actionName is something that is done: a permission that names nothing, or the kind
// of one that does.
type actionName string

// The actions that are done to something.
const (
	infers actionName = "infer"
	runs   actionName = "run"
	reads             = actionName(auth.ModelsRead)
)

// Schema implements huma.SchemaProvider.
func (actionName) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Enum: []any{string(infers), string(runs)}}
	for _, p := range auth.Fixed() {
		s.Enum = append(s.Enum, string(p))
	}
	return s
}

type explainAccessInput struct {
	Action   actionName `query:"action" required:"true"`
	Resource string     `query:"resource" pattern:"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" doc:"the name of a model or function for infer and models:read, of a pipeline for run; none for what names nothing"`
	Key      string     `query:"key" maxLength:"32" doc:"a key's id; the caller where it is left out"`
}

// needs are the permissions of which any one suffices.
func (in *explainAccessInput) needs() ([]auth.Permission, error) {
	name := auth.Permission(in.Resource)
	switch {
	case in.Action == reads && name != "":
		return auth.Action{Verb: auth.DoRead, On: in.Resource}.Permissions(), nil
	case (in.Action == infers || in.Action == runs) && name == "":
		return nil, problem.Invalid("resource", "expected a name, for this action")
	case in.Action == infers || in.Action == runs:
		return []auth.Permission{auth.Permission(in.Action) + ":" + name}, nil
	case name != "":
		return nil, problem.Invalid("resource", "expected none, for this action")
	default:
		return []auth.Permission{auth.Permission(in.Action)}, nil
	}
}

// Explanation is whether something is allowed, and why.
type Explanation struct {
	Allowed bool     `json:"allowed"`
	Because []string `json:"because" doc:"sentences for people"`
}

type explainAccessOutput struct{ Body Explanation }

func (a *API) explainAccess(ctx context.Context, c *call.Call, in *explainAccessInput) (*explainAccessOutput, error) {
	needs, err := in.needs()
	if err != nil {
		return nil, err
	}
	state, now := a.deps.Rights.State(), time.Now()
	if in.Key == "" || "key:"+in.Key == c.Principal.ID {
		return explained(state.Explain(c.Principal, now, needs...)), nil
	}
	if !a.deps.Door.May(ctx, c, auth.Action{Verb: auth.DoManageKeys}) {
		return nil, problem.New(problem.NotFound, "there is no key of this id that this credential may ask about")
	}
	key, err := a.keyOf(ctx, c, in.Key)
	if err != nil {
		return nil, err
	}
	return explained(state.ExplainKey(key, now, needs...)), nil
}

func explained(e access.Explanation) *explainAccessOutput {
	return &explainAccessOutput{Explanation(e)}
}
