package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/sqlite"
	"github.com/modelserveai/modelserve/pipelines/storetest"
)

// The test's own program is the other process, where these are set.
const (
	childFile = "MODELSERVE_TEST_SQLITE" // the database
	childName = "MODELSERVE_TEST_NAME"   // what the ids of its executions begin with
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		if err := acceptAll(path, os.Getenv(childName)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// acceptAll accepts executions until it is killed, and prints the id of each.
func acceptAll(path, name string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	return storetest.AcceptUntil(ctx, s, name, func(id string) { fmt.Println(id) })
}

func TestKilledProcessLosesNothingAccepted(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pipelines.db")
	var accepted []string
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(os.Environ(), childFile+"="+path, fmt.Sprintf("%s=r%d", childName, round))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			accepted = append(accepted, lines.Text())
			if n == 5+9*round { // it goes on, and is in the midst of another
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		storetest.Whole(t, open(t, path), accepted)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "pipelines.db"))
	s.Pragma(t, "max_page_count = 80")
	var accepted []string
	err := storetest.AcceptUntil(t.Context(), s, "x", func(id string) { accepted = append(accepted, id) })
	if !errors.Is(err, record.ErrUnavailable) || len(accepted) == 0 {
		t.Fatalf("after %d: %v", len(accepted), err)
	}
	storetest.Nothing(t, s, fmt.Sprintf("x-%d", len(accepted)))
	s.Pragma(t, "max_page_count = 100000")
	storetest.Accepts(t, s, "last")
	storetest.Whole(t, s, append(accepted, "last"))
}

func TestFileThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "pipelines.db"))
	a := storetest.Full("x1")
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	s.Pragma(t, "query_only = true")
	storetest.Unavailable(t, storetest.Writes(t.Context(), s, a.Execution))
	storetest.Fine(t, storetest.Reads(t.Context(), s, a.Execution))
	storetest.Nothing(t, s, "x-new")
	s.Pragma(t, "query_only = false")
	storetest.Accepts(t, s, "x2")
}

func TestFileThatIsReplacedStoresNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipelines.db")
	s := open(t, path)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Accept(t.Context(), storetest.Full("x1")); err == nil {
		t.Error("it was accepted into a file that no later start finds")
	}
	if err := s.Sound(t.Context()); err == nil {
		t.Error("nobody hears of it")
	}
}
