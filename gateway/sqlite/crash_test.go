package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/sqlite"
	"github.com/modelserveai/modelserve/gateway/usage"
)

// The test's own program is the other process, where these are set.
const (
	childFile = "MODELSERVE_TEST_SQLITE" // the database
	childName = "MODELSERVE_TEST_NAME"   // what its keys begin with
	childKeys = "MODELSERVE_TEST_KEYS"   // how many it makes; "" is until it is killed, "usage" that it counts calls
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		do := makeKeys
		if os.Getenv(childKeys) == "usage" {
			do = countCalls
		}
		if err := do(path, os.Getenv(childName), os.Getenv(childKeys)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// makeKeys makes keys, each with an entry, and prints the id of each one when it is
// stored.
func makeKeys(path, name, most string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	for i := 0; fmt.Sprint(i) != most; i++ {
		id := fmt.Sprintf("%s%d", name, i)
		_, err := s.Commit(ctx, rights.Position{}, func(*rights.Update) (*rights.Stored, error) {
			return &rights.Stored{
				Change:  access.Change{Keys: []*auth.Key{{ID: id, Name: id, Tenant: "a", Lineage: id, CreatedAt: time.Now()}}},
				Entries: []audit.Entry{{At: time.Now(), Tenant: "a", Actor: "test", Action: "key.create", Resource: "key:" + id, Outcome: audit.Done}},
			}, nil
		})
		if errors.Is(err, rights.ErrAway) { // others write: whoever is answered so comes again
			i--
			continue
		}
		if err != nil {
			return err
		}
		fmt.Println(id)
	}
	return s.Close()
}

// countCalls counts calls of a tenant, and a quota of theirs, and prints how many are
// stored, each time that some were.
func countCalls(path, tenant, _ string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	r, err := usage.NewRecorder(s, time.Hour, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	r.OnTotals(func(totals []usage.Quota) { fmt.Println(totals[0].Count) })
	go r.Run(ctx)
	for {
		r.Add(tenant, "m", time.Now(), usage.Counts{Requests: 1})
		r.AddQuota("monthly", tenant, "2026-11", 1)
		time.Sleep(time.Millisecond)
	}
}

// TestAKilledReplicaLosesNoUsageThatWasFlushed kills one in the midst of counting, and
// has the next go on.
func TestAKilledReplicaLosesNoUsageThatWasFlushed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	var before int64
	for round := range 2 {
		cmd := child(t, path, "acme", "usage")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var stored int64
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if _, err := fmt.Sscan(lines.Text(), &stored); err != nil {
				t.Error(err)
			}
			if n == 1 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		s := open(t, path)
		rows, err := s.Usage(t.Context(), &usage.Query{To: math.MaxInt64, By: usage.By{Tenant: true}, Limit: 10})
		if err != nil || len(rows) != 1 {
			t.Fatalf("%v, %v", rows, err)
		}
		got := rows[0].Requests
		if got < stored || stored <= before {
			t.Errorf("round %d: %d are stored, of %d that it heard of, after %d", round, got, stored, before)
		}
		quotas, err := s.Quotas(t.Context(), []usage.QuotaKey{{Limit: "monthly", Combination: "acme", Period: "2026-11"}})
		if err != nil || len(quotas) != 1 || quotas[0].Count > got || quotas[0].Count < got-int64(round)-1 { // a flush may be between the two
			t.Errorf("round %d: the quota is %v, %v; the usage %d", round, quotas, err, got)
		}
		before = got
	}
}

func child(t *testing.T, path, name, most string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), childFile+"="+path, childName+"="+name, childKeys+"="+most)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestKilledProcessLosesNothingCommitted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	var stored []string
	for round := range 4 {
		cmd := child(t, path, fmt.Sprintf("k%d-", round), "")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			stored = append(stored, lines.Text())
			if n == 5+7*round { // it goes on, and is in the midst of another
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		s := open(t, path)
		keys, err := s.Keys(t.Context(), auth.Page{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		kept := map[string]bool{}
		for _, k := range keys {
			kept[k.ID] = true
		}
		for _, id := range stored {
			if !kept[id] {
				t.Errorf("round %d: %s is lost", round, id)
			}
		}
		v, err := audit.Verify(t.Context(), s, "a")
		if err != nil || !v.Holds || v.Entries != int64(len(keys)) {
			t.Errorf("round %d: %d keys, chain %+v, %v", round, len(keys), v, err)
		}
		u, err := s.Since(t.Context(), rights.Position{})
		if err != nil || u.Position.Number != int64(len(keys)) {
			t.Errorf("round %d: position %+v, %v", round, u.Position, err)
		}
	}
}

func TestProgramsThatOpenANewFileAtOnceAllComeUp(t *testing.T) {
	t.Parallel()
	const programs, keys = 4, 3
	path := filepath.Join(t.TempDir(), "gateway.db")
	var work sync.WaitGroup
	for i := range programs {
		cmd := child(t, path, fmt.Sprintf("k%d-", i), fmt.Sprint(keys))
		work.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Errorf("program %d: %v", i, err)
			}
		})
	}
	work.Wait()
	got, err := open(t, path).Keys(t.Context(), auth.Page{Limit: 100})
	if err != nil || len(got) != programs*keys {
		t.Errorf("%d keys, %v", len(got), err)
	}
}
