package pipeline

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/internal/telemetry"
)

const (
	enterWithin = 5 * time.Second
	enterEvery  = 200 * time.Millisecond // between tries
)

// enter puts a change that was made into the audit log. The service and the gateway have
// a transaction each, so that a database which goes away between the two is tried for a
// while, and the entry is then in the log of the process alone.
func (s *Service) enter(ctx context.Context, c *call.Call, op *operationOf, about, became string) {
	e := audit.Entry{
		At: time.Now(), Tenant: c.Tenant(), Actor: c.Principal.ID, Action: op.audit, Resource: about, Outcome: audit.Done,
		Reason: became, RequestID: telemetry.RequestID(ctx), Count: 1,
	}
	if from := c.Address(); from.IsValid() {
		e.Address = from.String()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enterWithin)
	defer cancel()
	for {
		err := s.deps.Audit.Append(ctx, []audit.Entry{e})
		if err == nil {
			return
		}
		select {
		case <-time.After(enterEvery):
			continue
		case <-ctx.Done():
		}
		s.deps.Logger.ErrorContext(ctx, "a change could not be entered in the audit log", "error", err,
			slog.Group("entry", "at", e.At, "tenant", e.Tenant, "actor", e.Actor, "action", e.Action, "resource", e.Resource, "reason", e.Reason, "address", e.Address))
		return
	}
}

// resource is what an operation is done to, as the audit log names it.
func resource(op *operationOf, r *http.Request) string {
	switch {
	case r.PathValue("version") != "":
		return op.kind + ":" + r.PathValue("name") + "@" + r.PathValue("version")
	case r.PathValue("name") != "":
		return op.kind + ":" + r.PathValue("name")
	case r.PathValue("id") != "":
		return op.kind + ":" + r.PathValue("id")
	default:
		return op.kind
	}
}
