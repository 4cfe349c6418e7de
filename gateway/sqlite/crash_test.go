package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/sqlite"
)

// The test's own program is the other process, where these are set.
const (
	childFile = "MODELSERVE_TEST_SQLITE" // the database
	childName = "MODELSERVE_TEST_NAME"   // what its keys begin with
	childKeys = "MODELSERVE_TEST_KEYS"   // how many it makes; "" is until it is killed
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		if err := makeKeys(path, os.Getenv(childName), os.Getenv(childKeys)); err != nil {
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
		if err != nil {
			return err
		}
		fmt.Println(id)
	}
	return s.Close()
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
