package sqlite_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/sqlite"
)

func add(t *testing.T, s *sqlite.Store) error {
	t.Helper()
	return s.Append(t.Context(), []audit.Entry{{At: time.Now(), Tenant: "a", Actor: "test", Action: "key.revoke", Outcome: audit.Done}})
}

// TestFileThatIsRemovedOrReplacedTakesNoChange holds that no change is acknowledged
// that the next start would not find.
func TestFileThatIsRemovedOrReplacedTakesNoChange(t *testing.T) {
	t.Parallel()
	move := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		do   func(t *testing.T, path string)
		says string
	}{
		"all removed": {func(t *testing.T, path string) {
			for _, suffix := range []string{"", "-wal", "-shm"} {
				move(t, path+suffix, path+suffix+".away")
			}
		}, "was removed"},
		"removed": {func(t *testing.T, path string) { move(t, path, path+".away") }, "gateway.db was removed"},
		"replaced by a backup": {func(t *testing.T, path string) {
			newFile(t, path).Do(t, "VACUUM INTO '"+path+".backup'")
			move(t, path+".backup", path)
		}, "gateway.db was replaced"},
		"log removed":    {func(t *testing.T, path string) { move(t, path+"-wal", path+"-wal.away") }, "-wal was removed"},
		"memory removed": {func(t *testing.T, path string) { move(t, path+"-shm", path+"-shm.away") }, "-shm was removed"},
		"in another folder": {func(t *testing.T, path string) {
			move(t, filepath.Dir(path), filepath.Dir(path)+".away")
		}, "was removed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "gateway.db")
			s := open(t, path)
			if err := add(t, s); err != nil {
				t.Fatal(err)
			}
			if err := s.Sound(t.Context()); err != nil {
				t.Fatal(err)
			}
			tc.do(t, path)
			if err := add(t, s); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("a change: %v", err)
			}
			if _, err := s.Since(t.Context(), rights.Position{}); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("a poll: %v", err)
			}
			if err := s.Sound(t.Context()); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("sound: %v", err)
			}
			_, _ = s.Entries(t.Context(), audit.Filter{Tenant: "a", Limit: 1}) // whatever it finds
			if info, err := os.Stat(path); err == nil && info.Size() == 0 {
				t.Error("an empty file is in its place")
			}
		})
	}
}

// TestDamagedFileIsFoundAndRepaired holds that a file that was overwritten in place is
// reported, and is used again once its bytes are right.
func TestDamagedFileIsFoundAndRepaired(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.db")
	s := open(t, path)
	if err := add(t, s); err != nil {
		t.Fatal(err)
	}
	good := map[string][]byte{}
	for _, name := range []string{path, path + "-wal"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		good[name] = content
		overwrite(t, name, bytes.Repeat([]byte{0xff}, len(content)))
	}
	if err := s.Sound(t.Context()); err != nil {
		t.Errorf("before anything met it: %v", err)
	}
	if _, err := s.Entries(t.Context(), audit.Filter{Tenant: "a", Limit: 1}); err == nil {
		t.Error("a damaged file is read")
	}
	for range 2 {
		if err := s.Sound(t.Context()); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
			t.Errorf("while it is damaged: %v", err)
		}
	}
	for name, content := range good {
		overwrite(t, name, content)
	}
	if err := s.Sound(t.Context()); err != nil {
		t.Errorf("when it is right again: %v", err)
	}
	if err := add(t, s); err != nil {
		t.Errorf("a change after that: %v", err)
	}
	if v, err := audit.Verify(t.Context(), s, "a"); err != nil || !v.Holds || v.Entries != 2 {
		t.Errorf("the chain: %+v, %v", v, err)
	}
}

// overwrite writes content into a file that stays the same one.
func overwrite(t *testing.T, path string, content []byte) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}
