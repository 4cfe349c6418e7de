package operation_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/problem"
)

// rotateInput is what comes: a path value and a body.
type rotateInput struct {
	ID   string `path:"id" maxLength:"32" doc:"a key's id"`
	Body struct {
		Overlap string `json:"overlap,omitempty" pattern:"^[0-9]+h$" doc:"hours such as 24h"`
	}
}

// rotateOutput is what is answered: a header and a body.
type rotateOutput struct {
	Location string `header:"Location"`
	Body     rotated
}

type rotated struct {
	Replaces string `json:"replaces"`
}

// byScopes lets callers do what the scopes of their keys say.
type byScopes struct{}

// Decide implements operation.Door.
func (byScopes) Decide(_ context.Context, c *call.Call, a auth.Action) error {
	for _, need := range a.Permissions() {
		if c.Principal != nil && slices.ContainsFunc(c.Principal.Scopes, func(p auth.Permission) bool { return p.Covers(need) }) {
			return nil
		}
	}
	return a.Denied()
}

// An endpoint is a struct for what comes, one for what is answered, a handler, and
// its registration.
func Example() {
	set := operation.NewSet(document(), byScopes{})
	operation.Add(set, operation.Operation{
		Method: http.MethodPost, Pattern: "/v1/keys/{id}/rotate", ID: "rotateKey", Tag: "keys",
		Summary: "Replace a key by one with the same rights",
		Needs:   auth.DoManageKeys, Audit: "key.rotate", Status: http.StatusCreated,
		MaxBody: 4 << 10, Codes: []problem.Code{problem.NotFound},
	}, func(_ context.Context, _ *call.Call, in *rotateInput) (*rotateOutput, error) {
		return &rotateOutput{Location: "/v1/keys/new", Body: rotated{Replaces: in.ID}}, nil
	})
	endpoints, _, err := set.Finish()
	if err != nil {
		fmt.Println(err)
		return
	}
	caller := &call.Call{Principal: &auth.Principal{Scopes: []auth.Permission{auth.KeysAdmin}}}
	for _, body := range []string{`{"overlap":"24h"}`, `{"overlap":"a day"}`, `{"over":1}`} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/keys/old/rotate", strings.NewReader(body))
		r.SetPathValue("id", "old") // as http.ServeMux does
		if err := endpoints[0].Serve(caller, w, r); err != nil {
			fmt.Println(problem.From(err).Detail)
			continue
		}
		fmt.Print(w.Code, " ", w.Header().Get("Location"), " ", w.Body)
	}
	// Output:
	// 201 /v1/keys/new {"replaces":"old"}
	// overlap: expected hours such as 24h
	// over: there is no such field
}
