package callers_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

// running runs a replica until stop, which waits for its end.
func running(t *testing.T, r *replica) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var work sync.WaitGroup
	work.Go(func() { r.Run(ctx) })
	work.Go(func() { r.much.Run(ctx) })
	stop = func() {
		cancel()
		work.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// TestUsageIsThatOfAllReplicasAndStarts holds that what was called of replicas that have
// ended well is all there, each call once.
func TestUsageIsThatOfAllReplicasAndStarts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	store := openAt(t, path)
	first := start(t, store, nil)
	text, err := first.Create(t.Context(), auth.KeySpec{Name: "n", Tenant: "acme", Scopes: []auth.Permission{auth.UsageRead}})
	if err != nil {
		t.Fatal(err)
	}
	const replicas, calls = 3, 10
	var work sync.WaitGroup
	for range replicas {
		r, err := open(t, openAt(t, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		handler, stop := r.behind(t), running(t, r)
		work.Go(func() {
			for range calls {
				if status, answer := call(handler, "GET", "/v1/access?action=usage:read", text, ""); status != 200 {
					t.Errorf("%d %v", status, answer)
				}
				call(handler, "GET", "/v1/keys", text, "")       // is denied
				call(handler, "GET", "/v1/none", text, "")       // is not there
				call(handler, "GET", "/v1/access", "ms_a_b", "") // is nobody's
			}
			stop()
		})
	}
	work.Wait()
	_, answer := call(first.behind(t), "GET", "/v1/usage?by=model&from=2020-01-01", text, "")
	rows, _ := answer["usage"].([]any)
	if len(rows) != 1 {
		t.Fatalf("%v", answer)
	}
	row, _ := rows[0].(map[string]any)
	got := fmt.Sprint(row["model"], row["requests"], row["errors"], row["rows"])
	if diff := cmp.Diff(fmt.Sprint("", 2.0*replicas*calls, 1.0*replicas*calls, 0.0), got); diff != "" {
		t.Error(diff)
	}
}

// TestUsageOutlastsADatabaseThatIsAway has PostgreSQL stop and start again under a
// replica that counts.
func TestUsageOutlastsADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	store, err := postgres.Open(t.Context(), server.URL(server.Database(t, "")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	r := start(t, store, nil)
	stored := func() (n int64) {
		rows, err := store.Usage(t.Context(), &usage.Query{To: usage.DayOf(time.Now()) + 2, By: usage.By{Tenant: true}, Limit: 10})
		if err != nil || len(rows) == 0 {
			return 0
		}
		return rows[0].Requests
	}
	add := func(n int64) {
		for range n {
			r.much.Usage().Add("acme", "m", time.Now(), usage.Counts{Requests: 1})
			r.much.Usage().AddQuota("monthly", "acme", "2026-11", 1)
		}
	}
	add(10)
	eventually(t, "what is counted is stored", func() bool { return stored() == 10 })
	server.Stop(t)
	add(20)
	eventually(t, "what cannot be stored is reported", func() bool { return strings.Contains(r.log.String(), "usage could not be stored") })
	add(30)
	server.Start(t)
	used := func() int64 {
		quotas, err := store.Quotas(t.Context(), []usage.QuotaKey{{Limit: "monthly", Combination: "acme", Period: "2026-11"}})
		if err != nil || len(quotas) == 0 {
			return 0
		}
		return quotas[0].Count
	}
	eventually(t, "all is stored", func() bool { return stored() >= 60 && used() >= 60 })
	if stored() != 60 || used() != 60 {
		t.Errorf("%d calls, %d of the quota", stored(), used())
	}
}
