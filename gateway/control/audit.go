package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/problem"
)

func (a *API) addAudit(set *operation.Set) {
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/audit", ID: "listAudit", Tag: "audit",
		Summary: "List entries of the audit log, newest first",
		Needs:   auth.DoReadAudit,
	}, a.listAudit)
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/audit/verify", ID: "verifyAudit", Tag: "audit",
		Summary: "Whether a chain of the audit log holds",
		Needs:   auth.DoReadAudit, Codes: []problem.Code{problem.Overloaded},
	}, a.verifyAudit)
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/audit/chains", ID: "listChains", Tag: "audit",
		Summary: "List every chain of the audit log, with its head",
		Needs:   auth.DoAnything,
	}, a.listChains)
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/audit/export", ID: "exportAudit", Tag: "audit",
		Summary: "A chain of the audit log as JSON Lines, the oldest entry first",
		Needs:   auth.DoReadAudit, Codes: []problem.Code{problem.Overloaded},
	}, a.exportAudit)
}

// chain is which chain is meant.
type chain struct {
	Tenant   string `query:"tenant" pattern:"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" doc:"whose chain; the caller's own where it is left out. That of another is for admins"`
	Platform bool   `query:"platform" doc:"true is the platform's own chain, which is for admins"`
}

// of is the tenant of the chain, if the caller may read it.
func (in *chain) of(ctx context.Context, a *API, c *call.Call) (string, error) {
	switch {
	case in.Platform && in.Tenant != "":
		return "", problem.Invalid("platform", "expected only one of tenant and platform")
	case !in.Platform && (in.Tenant == "" || in.Tenant == c.Principal.Tenant):
		return c.Principal.Tenant, nil
	case !a.isAdmin(ctx, c):
		return "", a.refuse(ctx, c, auth.Action{Verb: auth.DoAnything})
	case in.Platform:
		return audit.Platform, nil
	default:
		return in.Tenant, nil
	}
}

// refuse has the door refuse what it is known to.
func (a *API) refuse(ctx context.Context, c *call.Call, action auth.Action) error {
	if err := a.deps.Door.Decide(ctx, c, action); err != nil {
		return err
	}
	return action.Denied()
}

// span is from when to when.
type span struct {
	From time.Time `query:"from" doc:"a time such as 2027-01-31T12:00:00Z: entries from then on"`
	To   time.Time `query:"to" doc:"a time such as 2027-01-31T12:00:00Z: entries before it"`
}

type listAuditInput struct {
	page
	chain
	span

	Actor    string        `query:"actor" maxLength:"519" doc:"key:<id>, subject:<issuer> <subject>, platform or gateway"`
	Action   string        `query:"action" maxLength:"512" doc:"such as key.create"`
	Resource string        `query:"resource" maxLength:"512" doc:"such as key:<id>"`
	Outcome  audit.Outcome `query:"outcome" enum:"done,refused"`
}

// Entry is an entry as the control API shows it: all that its hash is over.
type Entry audit.Entry

// EntryList is a page of entries.
type EntryList struct {
	Entries []Entry `json:"entries"`
	Next    string  `json:"next_cursor,omitempty" doc:"asks for the next page; absent on the last"`
}

type listAuditOutput struct{ Body EntryList }

func (a *API) listAudit(ctx context.Context, c *call.Call, in *listAuditInput) (*listAuditOutput, error) {
	tenant, err := in.of(ctx, a, c)
	if err != nil {
		return nil, err
	}
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	found, err := a.deps.Audit.Entries(ctx, audit.Filter{
		Tenant: tenant, From: in.From, To: in.To, Actor: in.Actor, Action: in.Action, Resource: in.Resource, Outcome: in.Outcome,
		Before: before, Limit: in.Limit + 1, // one more shows whether there is a next page
	})
	if err != nil {
		return nil, whyRead(ctx, err)
	}
	out := &listAuditOutput{}
	for i, e := range found {
		if i == in.Limit {
			out.Body.Next = formatSeq(found[i-1].Seq)
			break
		}
		out.Body.Entries = append(out.Body.Entries, Entry(e))
	}
	return out, nil
}

// before is the cursor of a list of entries; 0 is none.
func (p *page) before() (int64, error) {
	if p.Cursor == "" {
		return 0, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	seq, err2 := strconv.ParseInt(string(text), 10, 64)
	if err != nil || err2 != nil || seq < 1 {
		return 0, errCursor()
	}
	return seq, nil
}

func formatSeq(seq int64) string {
	return base64.RawURLEncoding.EncodeToString(strconv.AppendInt(nil, seq, 10))
}

// Chain is the end of one: what the gateway logs of it each minute can be compared
// with it.
type Chain struct {
	Tenant   string `json:"tenant,omitempty" doc:"absent for the platform's"`
	Platform bool   `json:"platform"`
	Seq      int64  `json:"seq" doc:"of its newest entry; 0 is of a chain that has no head, for nothing happened or somebody removed it"`
	Hash     string `json:"hash" doc:"of its newest entry"`
}

// ChainList is a page of chains.
type ChainList struct {
	Chains []Chain `json:"chains"`
	Next   string  `json:"next_cursor,omitempty" doc:"asks for the next page; absent on the last"`
}

type listChainsOutput struct{ Body ChainList }

func (a *API) listChains(ctx context.Context, _ *call.Call, in *page) (*listChainsOutput, error) {
	from, err := in.afterText()
	if err != nil {
		return nil, err
	}
	all, err := audit.Chains(ctx, a.deps.Audit)
	if err != nil {
		return nil, whyRead(ctx, err)
	}
	out := &listChainsOutput{}
	for _, head := range all {
		if head.Tenant < from {
			continue
		}
		if len(out.Body.Chains) == in.Limit {
			out.Body.Next = formatText(head.Tenant)
			break
		}
		out.Body.Chains = append(out.Body.Chains, Chain{head.Tenant, head.Tenant == audit.Platform, head.Seq, head.Hash})
	}
	return out, nil
}

// Verdict is whether a chain holds.
type Verdict struct {
	Holds    bool  `json:"holds"`
	Entries  int64 `json:"entries" doc:"that were read"`
	BrokenAt int64 `json:"broken_at,omitzero" doc:"the seq of the first entry that does not follow; absent where it holds"`
}

type verifyAuditOutput struct{ Body Verdict }

func (a *API) verifyAudit(ctx context.Context, c *call.Call, in *chain) (*verifyAuditOutput, error) {
	tenant, err := in.of(ctx, a, c)
	if err != nil {
		return nil, err
	}
	ctx, end, err := a.readings.begin(ctx, c.Principal.Tenant)
	if err != nil {
		return nil, err
	}
	defer end()
	verdict, err := audit.Verify(ctx, a.deps.Audit, tenant)
	return &verifyAuditOutput{Verdict(verdict)}, whyRead(ctx, err)
}

type exportAuditInput struct {
	chain
	span
}

type exportAuditOutput struct {
	Body operation.Stream `media:"application/jsonl"`
}

func (a *API) exportAudit(ctx context.Context, c *call.Call, in *exportAuditInput) (*exportAuditOutput, error) {
	tenant, err := in.of(ctx, a, c)
	if err != nil {
		return nil, err
	}
	wanted := audit.Filter{Tenant: tenant, From: in.From, To: in.To}
	return &exportAuditOutput{func(w io.Writer) error {
		ctx, end, err := a.readings.begin(ctx, c.Principal.Tenant)
		if err != nil {
			return err
		}
		defer end()
		lines := json.NewEncoder(w)
		lines.SetEscapeHTML(false)
		_, err = audit.Read(ctx, a.deps.Audit, tenant, func(e *audit.Entry) error {
			if err := ctx.Err(); err != nil || !wanted.Matches(e) {
				return err
			}
			return lines.Encode(e)
		})
		if err != nil {
			return fmt.Errorf("export the audit log: %w", whyRead(ctx, err))
		}
		return nil
	}}, nil
}
