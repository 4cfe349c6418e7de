package gateway

import (
	"context"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/problem"
)

// authenticate is the action of a refused credential in the audit log.
const authenticate = "authenticate"

// refusals is the door's audit: failed credentials and denials as entries. What was
// refused for the platform's sake (a database that is away) is none.
type refusals struct{ to control.Refusals }

// Record implements door.Audit.
func (r refusals) Record(ctx context.Context, c *call.Call, refused door.Refusal) {
	if refused.Code != problem.Unauthenticated && refused.Code != problem.PermissionDenied {
		return
	}
	e := audit.Entry{
		At: time.Now(), Tenant: c.Tenant(), Action: authenticate, Outcome: audit.Refused, Reason: string(refused.Code),
		RequestID: telemetry.RequestID(ctx),
	}
	if c.Principal != nil {
		e.Actor = c.Principal.ID
	}
	if from := c.Address(); from.IsValid() {
		e.Address = from.String()
	}
	if refused.Action.Verb != "" {
		e.Action = string(refused.Action.Verb)
	}
	if refused.Action.On != "" {
		e.Resource = "model:" + refused.Action.On
		if refused.Action.Verb == auth.DoRun {
			e.Resource = "pipeline:" + refused.Action.On
		}
	}
	r.to.Refused(e)
}
