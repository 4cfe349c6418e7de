package manifest_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modelserveai/modelserve/local/manifest"
)

// TestAFIFOHoldsUpNobody: it is reported by name, the other manifests are
// followed, and so are later changes.
func TestAFIFOHoldsUpNobody(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/good/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "good.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "x.yaml")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	set, snapshot, skipped, err := manifest.Load(t.Context(), manifest.Source{Overlay: empty(t), Folder: dir}, manifest.Set{})
	if err != nil || len(set.Services) != 1 {
		t.Fatalf("%d services, %v", len(set.Services), err)
	}
	if skipped == nil || !strings.Contains(skipped.Error(), fifo+": expected a regular file, got a FIFO") {
		t.Errorf("skipped: %v", skipped)
	}
	if snapshot.Changed() {
		t.Error("it changed by itself")
	}
	if err := os.Remove(fifo); err != nil {
		t.Fatal(err)
	}
	if !snapshot.Changed() {
		t.Error("its end is not seen")
	}
}
