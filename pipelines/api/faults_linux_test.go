package api_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modelserveai/modelserve/pipelines/contract"
)

// TestAFileOnAFullDisk holds that nothing is half accepted by a SQLite file whose disk is
// full, and that it goes on when there is room.
func TestAFileOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Logf("no disk of its own for this test (pipelines/sqlite has one that its pages are full): %v", err)
		return
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := overSQLite(t, dir)
	x, letter := s.failed()
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 4<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	// What is written already has room for a few more.
	var accepted []string
	for len(accepted) < 1000 {
		got := s.do("POST", "/v1/pipelines/a/executions", `{"a":"`+strings.Repeat("a", 10_000)+`"}`, "Content-Type", "application/json")
		if got.status != http.StatusAccepted {
			break
		}
		accepted = append(accepted, read[contract.Execution](t, got).ID)
	}
	s.sick(x, letter)
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	for i, id := range append(accepted, x.ID) {
		if got := s.do("GET", "/v1/executions/"+id, ""); got.status != http.StatusOK {
			t.Errorf("%d of %d that were accepted: %d %s", i, len(accepted), got.status, got.body)
		}
	}
	if got := s.do("POST", "/v1/pipelines", fmt.Sprintf(twoSteps, "b")); got.status != http.StatusCreated {
		t.Errorf("with room again: %d %s", got.status, got.body)
	}
	s.start("/v1/pipelines/a/executions", "{}", "Idempotency-Key", "sick")
}
