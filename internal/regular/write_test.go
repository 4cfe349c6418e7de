package regular_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/modelserveai/modelserve/internal/regular"
)

// TestWrite holds that a file is written whole, with its mode, that Create replaces
// none, and that nothing else is left behind.
func TestWrite(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before string // "" is no file
		write  func(path string, data []byte, mode fs.FileMode) error
		want   string
		err    error
	}{
		"created":                {"", regular.Create, "new", nil},
		"not created twice":      {"old", regular.Create, "old", fs.ErrExist},
		"replaced":               {"old", regular.Replace, "new", nil},
		"replaced where none is": {"", regular.Replace, "new", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			if tc.before != "" {
				if err := os.WriteFile(path, []byte(tc.before), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			if err := tc.write(path, []byte("new"), 0o640); !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != tc.want {
				t.Errorf("%q, %v, want %q", got, err, tc.want)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
				t.Errorf("left behind: %v, %v", all, err)
			}
		})
	}
	if err := regular.Replace(filepath.Join(t.TempDir(), "none", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into no folder: %v", err)
	}
}
