package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/problem"
)

// logged is an API whose audit log has some entries of acme's and some of the platform's.
func logged(t testing.TB, options ...option) *api {
	t.Helper()
	a := newAPI(t, options...)
	var entries []audit.Entry
	for i := range 9 {
		e := audit.Entry{
			At: time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC), Tenant: "acme", Actor: fmt.Sprintf("key:k%d", i%3), Action: "key.create",
			Resource: fmt.Sprintf("key:n%d", i), Outcome: audit.Done,
		}
		if i%2 == 1 {
			e.Action, e.Outcome = "infer", audit.Refused
		}
		entries = append(entries, e)
	}
	if err := a.store.Append(context.Background(), entries); err != nil {
		t.Fatal(err)
	}
	a.as("acme", auth.AuditRead)
	return a
}

// seqs are those of the entries of an answer.
func seqs(fields map[string]any) (all []int) {
	for _, e := range list(fields, "entries") {
		seq, _ := e.(map[string]any)["seq"].(float64)
		all = append(all, int(seq))
	}
	return all
}

func TestTheAuditLogIsFiltered(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		query string
		want  []int
	}{
		"all":          {"", []int{9, 8, 7, 6, 5, 4, 3, 2, 1}},
		"by actor":     {"actor=key:k1", []int{8, 5, 2}},
		"by action":    {"action=infer", []int{8, 6, 4, 2}},
		"by outcome":   {"outcome=done&actor=key:k0", []int{7, 1}},
		"by resource":  {"resource=key:n4", []int{5}},
		"from":         {"from=2026-01-08T00:00:00Z", []int{9, 8}},
		"from, zoned":  {"from=2026-01-08T01:00:00%2B01:00", []int{9, 8}},
		"to":           {"to=2026-01-03T00:00:00Z", []int{2, 1}},
		"one's own":    {"tenant=acme&limit=1", []int{9}},
		"of nothing":   {"actor=nobody", nil},
		"to, and from": {"from=2026-01-03T00:00:00Z&to=2026-01-03T00:00:00.001Z", []int{3}},
	} {
		if diff := cmp.Diff(tc.want, seqs(logged(t).wants(200, "GET", "/v1/audit?"+tc.query, ""))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := logged(t).do(request{path: "/v1/audit?to=0001-01-01T00:00:00Z"}); !cmp.Equal(names(got.problem(t)), []string{"to"}) {
		t.Errorf("a time that is none: %d %s", got.status, got.body) // it would be no bound
	}
	a := logged(t)
	var all []int
	for cursor := ""; ; {
		page := a.wants(200, "GET", "/v1/audit?limit=4&cursor="+cursor, "")
		all = append(all, seqs(page)...)
		if cursor = text(page, "next_cursor"); cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([]int{9, 8, 7, 6, 5, 4, 3, 2, 1}, all); diff != "" {
		t.Errorf("by pages: %s", diff)
	}
}

func TestChainsOfOthersAreForAdmins(t *testing.T) {
	t.Parallel()
	a := logged(t)
	for _, path := range []string{"/v1/audit", "/v1/audit/verify", "/v1/audit/export"} {
		a.wants(403, "GET", path+"?platform=true", "")
		a.wants(403, "GET", path+"?tenant=default", "")
		a.wants(403, "GET", path+"?tenant=nobody", "")
		if got := a.wants(400, "GET", path+"?tenant=ACME", ""); !strings.Contains(fmt.Sprint(got), "expected a DNS label") {
			t.Errorf("%s does not say how tenants are named: %v", path, got)
		}
		if got := a.do(request{path: path + "?platform=true&tenant=acme"}); !cmp.Equal(names(got.problem(t)), []string{"platform"}) {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	a.as("acme", auth.KeysAdmin, auth.RolesAdmin)
	a.wants(403, "GET", "/v1/audit", "")
	a.as("default", auth.Admin)
	for _, path := range []string{"/v1/audit", "/v1/audit/verify", "/v1/audit/export"} {
		for _, of := range []string{"platform=true", "tenant=acme"} {
			if got := a.do(request{path: path + "?" + of}); got.status != http.StatusOK || len(got.body) < 10 {
				t.Errorf("%s %s: %d %s", path, of, got.status, got.body)
			}
		}
	}
}

func TestChainsAreListed(t *testing.T) {
	t.Parallel()
	a := logged(t)
	a.wants(403, "GET", "/v1/audit/chains", "")
	a.as("default", auth.Admin)
	var got []string
	for query := "limit=1"; query != ""; {
		page := a.wants(200, "GET", "/v1/audit/chains?"+query, "")
		for _, item := range list(page, "chains") {
			chain, _ := item.(map[string]any)
			got = append(got, fmt.Sprint(chain["tenant"], " ", chain["platform"], " ", chain["seq"]))
		}
		query = ""
		if next, ok := page["next_cursor"].(string); ok {
			query = "limit=1&cursor=" + next
		}
	}
	if diff := cmp.Diff([]string{"<nil> true 1", "acme false 9"}, got); diff != "" {
		t.Error(diff)
	}
	a.wants(400, "GET", "/v1/audit/chains?cursor=!", "")
}

// TestADamagedChainDoesNotHold holds that each way of changing a stored entry is found.
func TestADamagedChainDoesNotHold(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*audit.Entry){
		"an actor":   func(e *audit.Entry) { e.Actor = "key:somebody" },
		"an outcome": func(e *audit.Entry) { e.Outcome = audit.Done },
		"a time":     func(e *audit.Entry) { e.At = e.At.Add(time.Second) },
		"a number":   func(e *audit.Entry) { e.Seq = 40 },
		"a hash anew": func(e *audit.Entry) {
			e.Reason = "it was so"
			e.Hash, _ = e.Sum()
		},
	} {
		a := logged(t)
		if got := a.wants(200, "GET", "/v1/audit/verify", ""); got["holds"] != true || got["entries"] != 9.0 || got["broken_at"] != nil {
			t.Fatalf("%v", got)
		}
		if err := a.store.Damage("acme", 4, damage); err != nil {
			t.Fatal(err)
		}
		got := a.wants(200, "GET", "/v1/audit/verify", "")
		if at := got["broken_at"]; got["holds"] != false || at != 4.0 && at != 5.0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestAnExportVerifies holds that what is exported is the whole chain, entry by entry as its
// hashes are over.
func TestAnExportVerifies(t *testing.T) {
	t.Parallel()
	a := logged(t)
	got := a.do(request{path: "/v1/audit/export"})
	if got.header.Get("Content-Type") != "application/jsonl" {
		t.Error(got.header)
	}
	previous, seq := "", int64(0)
	for line := range strings.Lines(got.body) {
		var e audit.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(line, err)
		}
		if sum, err := e.Sum(); err != nil || sum != e.Hash || e.Previous != previous || e.Seq != seq+1 {
			t.Errorf("%s: %v", line, err)
		}
		previous, seq = e.Hash, e.Seq
	}
	if seq != 9 {
		t.Errorf("%d entries", seq)
	}
	if got := a.do(request{path: "/v1/audit/export?from=2026-01-02T00:00:00Z&to=2026-01-04T00:00:00Z"}); strings.Count(got.body, "\n") != 2 {
		t.Error(got.body)
	}
	if got := a.do(request{path: "/v1/audit/export?from=2036-01-02T00:00:00Z"}); got.body != "" {
		t.Error(got.body)
	}
}

// breaking is an audit log that breaks off after some entries.
type breaking struct {
	audit.Store

	after int
}

func (b breaking) Chain(_ context.Context, _ string, from int64) ([]audit.Entry, audit.Head, error) {
	if from > 0 || b.after == 0 {
		return nil, audit.Head{}, errors.New("connection reset by hunter2")
	}
	page := make([]audit.Entry, b.after)
	for i := range page {
		page[i].Seq = int64(i + 1)
	}
	return page, audit.Head{}, nil
}

// TestAnExportBreaksOff holds that an error before the first entry is answered, and a later one
// does not look like the end.
func TestAnExportBreaksOff(t *testing.T) {
	t.Parallel()
	broken := func(after int) option { return func(d *control.Deps) { d.Audit = breaking{d.Audit, after} } }
	a := logged(t, broken(0))
	for range 2 * 5 { // each gives its place back
		if got := a.do(request{path: "/v1/audit/export"}); got.problem(t).Code != problem.Internal || strings.Contains(got.body, "hunter2") {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	a = logged(t, broken(audit.ChainPage))
	defer func() {
		if cause, _ := recover().(error); !errors.Is(cause, http.ErrAbortHandler) {
			t.Errorf("it ended with %v", cause)
		}
	}()
	a.do(request{path: "/v1/audit/export"})
	t.Error("it looks whole")
}

// slow is an audit log that is read as long as its reader likes.
type slow struct {
	audit.Store

	reads chan struct{}
}

func (s slow) Chain(ctx context.Context, _ string, _ int64) ([]audit.Entry, audit.Head, error) {
	s.reads <- struct{}{}
	<-ctx.Done()
	return nil, audit.Head{}, ctx.Err()
}

// TestReadingsAreShared holds that a tenant reads one whole chain at once, and that tenants that
// never end theirs keep others out for a minute at most.
func TestReadingsAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := slow{nil, make(chan struct{})}
		a := logged(t, func(d *control.Deps) { s.Store, d.Audit = d.Audit, s })
		var reading sync.WaitGroup
		ended := make(chan answer, 100)
		export := func(tenant string) {
			a.as(tenant, auth.AuditRead)
			reading.Go(func() { ended <- a.do(request{path: "/v1/audit/export"}) })
			<-s.reads
		}
		const places = 16
		for i := range places {
			export(fmt.Sprintf("t%d", i))
		}
		overloaded := func(tenant string) {
			t.Helper()
			a.as(tenant, auth.AuditRead)
			for _, path := range []string{"/v1/audit/export", "/v1/audit/verify"} {
				if r := a.do(request{path: path}); r.problem(t).Code != problem.Overloaded || r.header.Get("Retry-After") == "" {
					t.Errorf("%s: %d %s", path, r.status, r.body)
				}
			}
		}
		overloaded("t0")
		overloaded("other")
		time.Sleep(time.Minute)
		overloaded("t1")
		export("other")
		if first := <-ended; first.problem(t).Code != problem.Overloaded || !strings.Contains(first.body, "took the longest") {
			t.Errorf("%d %s", first.status, first.body)
		}
		time.Sleep(15 * time.Minute) // none is longer
		reading.Wait()
		if len(ended) != places {
			t.Errorf("%d ended", len(ended))
		}
	})
}

func TestAccessIsExplained(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.wants(201, "PUT", "/v1/roles/reader", `{"permissions":["models:read"]}`)
	a.wants(201, "PUT", "/v1/roles/callers", `{"inherits":["reader"],"permissions":["infer:text-*"]}`)
	held := a.stored(auth.KeySpec{Name: "k", Tenant: "acme", Scopes: []auth.Permission{auth.Infer("churn")}, Roles: []string{"callers"}})
	ended := a.stored(auth.KeySpec{Name: "e", Tenant: "acme", Scopes: []auth.Permission{auth.InferAll}})
	a.wants(204, "DELETE", "/v1/keys/"+ended.ID, "")
	giver := a.as("acme", auth.RolesAdmin, auth.KeysAdmin, auth.RunAll)
	boss := a.as("acme", auth.RolesAdmin, auth.KeysAdmin, auth.EventsSend)
	given := text(a.wants(201, "POST", "/v1/grants", `{"to":{"key":"`+held.ID+`"},"permissions":["events:send"]}`), "id")
	a.caller = giver.Principal()
	lost := text(a.wants(201, "POST", "/v1/grants", `{"to":{"tenant":"acme"},"permissions":["run:daily"]}`), "id")
	a.caller = boss.Principal()
	a.as("default", auth.Admin)
	a.wants(204, "DELETE", "/v1/keys/"+giver.ID, "")
	a.caller = boss.Principal()
	for name, tc := range map[string]struct {
		query   string
		allowed bool
		want    string
	}{
		"a scope":            {"action=infer&resource=churn", true, "The key has the scope infer:churn."},
		"a role":             {"action=infer&resource=text-detect", true, "The role callers has infer:text-*."},
		"an inherited role":  {"action=models:read", true, "The role callers, which inherits reader, has models:read."},
		"a grant":            {"action=events:send", true, "The grant " + given + ", to this key, gives events:send, which key:" + boss.ID + " holds."},
		"metadata":           {"action=models:read&resource=churn", true, "The key has the scope infer:churn."},
		"nothing":            {"action=webhooks:write", false, "Nothing that key:" + held.ID + " holds gives webhooks:write."},
		"something near":     {"action=infer&resource=other", false, "What comes near, and does not cover it: infer:churn, infer:text-*."},
		"a giver that ended": {"action=run&resource=daily", false, "The grant " + lost + ", to everyone of the tenant, of run:daily does not count, since the key of its giver, key:" + giver.ID + ", has ended."},
	} {
		got := a.wants(200, "GET", "/v1/access?"+tc.query+"&key="+held.ID, "")
		if because := fmt.Sprint(got["because"]); got["allowed"] != tc.allowed || !strings.Contains(because, tc.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := a.wants(200, "GET", "/v1/access?action=infer&resource=churn&key="+ended.ID, ""); got["allowed"] != false || !strings.Contains(fmt.Sprint(got["because"]), "was revoked at") {
		t.Errorf("%v", got)
	}
	for query, field := range map[string]string{
		"": "action", "action=sudo": "action", "action=infer": "resource", "action=admin&resource=a": "resource", "action=infer&resource=text-*": "resource",
	} {
		if got := a.do(request{path: "/v1/access?" + query}); !cmp.Equal(names(got.problem(t)), []string{field}) {
			t.Errorf("%q: %d %s", query, got.status, got.body)
		}
	}
	a.as("acme", auth.InferAll) // may ask about themselves alone
	a.wants(200, "GET", "/v1/access?action=infer&resource=churn", "")
	a.wants(404, "GET", "/v1/access?action=infer&resource=churn&key="+held.ID, "")
	a.as("other", auth.KeysAdmin)
	a.wants(404, "GET", "/v1/access?action=infer&resource=churn&key="+held.ID, "")
	a.wants(404, "GET", "/v1/access?action=infer&resource=churn&key=nobody", "")
}
