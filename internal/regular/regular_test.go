package regular_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modelserveai/modelserve/internal/regular"
)

// TestOnlyRegularFilesAreRead would wait for ever where a FIFO is opened as
// other files are.
func TestOnlyRegularFilesAreRead(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		make func(t *testing.T, path string) error
		want string // what the error has; "" is none
		is   error
	}{
		{"a file", func(_ *testing.T, path string) error { return os.WriteFile(path, []byte("text"), 0o600) }, "", nil},
		{"a link to a file", func(t *testing.T, path string) error {
			other := filepath.Join(t.TempDir(), "other")
			return errors.Join(os.WriteFile(other, []byte("text"), 0o600), os.Symlink(other, path))
		}, "", nil},
		{"too much", func(_ *testing.T, path string) error { return os.WriteFile(path, []byte("texts"), 0o600) }, "more than 4 bytes", nil},
		{"nothing", func(*testing.T, string) error { return nil }, "no such file", fs.ErrNotExist},
		{"a link that leads nowhere", func(_ *testing.T, path string) error { return os.Symlink(path+"x", path) }, "no such file", fs.ErrNotExist},
		{"a FIFO", func(_ *testing.T, path string) error { return syscall.Mkfifo(path, 0o600) }, "expected a regular file, got a FIFO", regular.ErrNotRegular},
		{"a link to a device", func(_ *testing.T, path string) error { return os.Symlink("/dev/zero", path) }, "expected a regular file, got a device", regular.ErrNotRegular},
		{"a folder", func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }, "expected a regular file, got a folder", regular.ErrNotRegular},
		{"a socket", func(_ *testing.T, path string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0) }, "expected a regular file, got a socket", regular.ErrNotRegular},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "f")
			if err := tc.make(t, path); err != nil {
				t.Fatal(err)
			}
			text, err := regular.Read(path, 4)
			switch {
			case tc.want == "" && (err != nil || string(text) != "text"):
				t.Errorf("read %q, %v", text, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path)):
				t.Errorf("read %q, %v; want %q of %s", text, err, tc.want, path)
			case tc.is != nil && !errors.Is(err, tc.is):
				t.Errorf("%v is not %v", err, tc.is)
			}
		})
	}
}
