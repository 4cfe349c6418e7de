package cache

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/model"
)

// TestTheCacheIsItsUsersAlone has folders in which others could choose the model.
func TestTheCacheIsItsUsersAlone(t *testing.T) {
	t.Parallel()
	mine := "user-" + strconv.Itoa(os.Geteuid())
	mode := func(mode fs.FileMode) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		make func(t *testing.T, dir string)
		in   string // of dir, where files are kept
		want string // in the error; "" is none
	}{
		"not there":                  {func(*testing.T, string) {}, "", ""},
		"private":                    {mode(0o700), "", ""},
		"to be read by others":       {mode(0o755), "", ""},
		"a volume's root":            {mode(0o777), mine, ""},
		"a temporary folder":         {mode(0o777 | fs.ModeSticky), mine, ""},
		"of a group that may write":  {mode(0o770), mine, ""},
		"a link to a private one":    {linkTo(0o700), "", ""},
		"a link to everybody's":      {linkTo(0o777), mine, ""},
		"a file where its files are": {func(t *testing.T, dir string) { mode(0o700)(t, dir); touch(t, filepath.Join(dir, "files")) }, "", "not a directory"},
		"a link where its files are": {func(t *testing.T, dir string) {
			mode(0o700)(t, dir)
			symlink(t, t.TempDir(), filepath.Join(dir, "files"))
		}, "", "expected a folder"},
		"a link where the user's is":    {func(t *testing.T, dir string) { mode(0o777)(t, dir); symlink(t, t.TempDir(), filepath.Join(dir, mine)) }, mine, "expected a folder"},
		"files that a group may change": {func(t *testing.T, dir string) { mode(0o700)(t, dir); mode(0o770)(t, filepath.Join(dir, "files")) }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "cache")
			tc.make(t, dir)
			c, err := Open(Config{Dir: dir})
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("Open: %v; want %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if dir, err = filepath.EvalSymlinks(dir); err != nil {
				t.Fatal(err)
			}
			if c.dir != filepath.Join(dir, tc.in) {
				t.Errorf("it is in %s", c.dir)
			}
			for _, sub := range []string{"files", "partial", "sets"} {
				if info, err := os.Stat(filepath.Join(c.dir, sub)); err != nil || info.Mode().Perm() != 0o700 {
					t.Errorf("%s: %v, %v", sub, info.Mode(), err)
				}
			}
			again, err := Open(Config{Dir: dir})
			if err != nil || again.dir != c.dir {
				t.Errorf("another process of this user has another one: %v", err)
			}
		})
	}
}

// TestAnotherUsersFolderIsRefused has another user make the cache's folder first, in a
// place where everybody may. It must stop the start, and be no disk that takes nothing.
func TestAnotherUsersFolderIsRefused(t *testing.T) {
	t.Parallel()
	user := os.Geteuid() + 1
	mine := "user-" + strconv.Itoa(user)
	for name, dirs := range map[string][]string{
		"the user's own": {"", mine},
		"one in it":      {"", mine, mine + "/files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "cache")
			for _, sub := range dirs {
				if err := errors.Join(os.Mkdir(filepath.Join(dir, sub), 0o700), os.Chmod(filepath.Join(dir, sub), 0o777)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := openAs(Config{Dir: dir}, user); err == nil || !strings.Contains(err.Error(), "it belongs to user") || isDiskError(err) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

// TestAnotherUsersFileIsNotUsed has a file, its stamp, or a download of another user:
// whoever has one open may write to it after it was hashed.
func TestAnotherUsersFileIsNotUsed(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	content := s3test.Noise(1, 1000)
	publish(t, store, draft(t, "iris", content), artifact.Publishing{})
	cache := newCache(t, 0)
	holds(t, NewFetcher(store, cache, here, nil, quick), "iris", content).Release()
	waitSynced(t, cache)
	m, _, err := store.ReadManifest(t.Context(), model.Ref{Name: "iris", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	other := &Cache{dir: cache.dir, user: os.Geteuid() + 1, logger: cache.logger, unsynced: map[string]verified{}}
	file := m.Files[0]
	if info, err := os.Stat(cache.path(file.SHA256)); err != nil || other.known(cache.path(file.SHA256), file.SHA256, stateOf(info)) {
		t.Errorf("another user's stamp is believed: %v", err)
	}
	if l, err := other.acquire(t.Context(), file); l != nil || err != nil {
		t.Errorf("another user's file is used: %v, %v", l, err)
	}
	if _, err := os.Stat(cache.path(file.SHA256)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	touch(t, cache.partial(file.SHA256))
	if tmp, err := other.begin(context.Background(), file); tmp != nil || err == nil {
		t.Errorf("another user's download is gone on with: %v", err)
	}
}

// TestWhatIsMappedIsWhatWasHashed replaces a file, and its folder, between the moment
// when it was verified and the moment when it is loaded.
func TestWhatIsMappedIsWhatWasHashed(t *testing.T) {
	t.Parallel()
	content, weights := s3test.Noise(1, 1000), s3test.Noise(2, 1000)
	for name, tc := range map[string]struct {
		more    []artifact.DraftFile
		replace func(t *testing.T, c *Cache, l *Local)
	}{
		"the file": {nil, func(t *testing.T, _ *Cache, l *Local) { swap(t, l.Place) }},
		"the folder": {nil, func(t *testing.T, c *Cache, l *Local) {
			if err := errors.Join(os.Rename(c.dir, c.dir+"-was"), os.MkdirAll(filepath.Dir(l.Place), 0o700)); err != nil {
				t.Fatal(err)
			}
			swap(t, l.Place)
		}},
		"the folder of a model with external data": {
			[]artifact.DraftFile{{Path: "weights.bin", Source: write(t, weights)}},
			func(t *testing.T, c *Cache, _ *Local) {
				sets, err := filepath.Glob(filepath.Join(c.dir, "sets", "*"))
				if err != nil || len(sets) != 1 {
					t.Fatalf("%v, %v", sets, err)
				}
				if err := errors.Join(os.Rename(sets[0], sets[0]+"-was"), os.Mkdir(sets[0], 0o700)); err != nil {
					t.Fatal(err)
				}
				for _, file := range []string{model.ModelFile, "weights.bin"} {
					swap(t, filepath.Join(sets[0], file))
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := storeIn(t, s3test.New(t))
			publish(t, store, draft(t, "iris", content, tc.more...), artifact.Publishing{})
			cache := newCache(t, 0)
			local, err := NewFetcher(store, cache, here, nil, quick).Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer local.Release()
			waitSynced(t, cache)
			tc.replace(t, cache, local)
			if got, err := os.ReadFile(local.Path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: %d bytes that were not verified, %v", local.Path, len(got), err)
			}
			if len(tc.more) == 0 {
				return
			}
			if got, err := os.ReadFile(filepath.Join(filepath.Dir(local.Path), "weights.bin")); err != nil || !bytes.Equal(got, weights) {
				t.Errorf("external data: %d bytes that were not verified, %v", len(got), err)
			}
		})
	}
}

// swap puts other bytes in the place of a file.
func swap(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path+"-new", s3test.Noise(9, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"-new", path); err != nil {
		t.Fatal(err)
	}
}

// TestExternalDataIsHashedOnce holds that the names that external data is given for a
// load, which the system counts as a change of the file, do not cost each load a hash.
func TestExternalDataIsHashedOnce(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	content := s3test.Noise(1, 1000)
	publish(t, store, draft(t, "iris", content, artifact.DraftFile{Path: "weights.bin", Source: write(t, s3test.Noise(2, 1000))}), artifact.Publishing{})
	cache := newCache(t, 0)
	f := NewFetcher(store, cache, here, nil, quick)
	for _, when := range []string{"before it is synced", "after", "and again"} {
		local := holds(t, f, "iris", content)
		local.Release()
		waitSynced(t, cache)
		for _, file := range local.Manifest.Files {
			info, err := os.Stat(cache.path(file.SHA256))
			if err != nil {
				t.Fatal(err)
			}
			if !cache.known(cache.path(file.SHA256), file.SHA256, stateOf(info)) {
				t.Errorf("%s: %s would be hashed", when, file.Path)
			}
		}
	}
}

func linkTo(mode fs.FileMode) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		other := filepath.Join(t.TempDir(), "other")
		if err := errors.Join(os.Mkdir(other, 0o700), os.Chmod(other, mode)); err != nil {
			t.Fatal(err)
		}
		symlink(t, other, dir)
	}
}

func symlink(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkFetchOfACachedFile is what a cold start with a full cache spends on 21 MB,
// text-recognize's size: with a stamp, and beside it hashed as without one.
func BenchmarkFetchOfACachedFile(b *testing.B) {
	store := storeIn(b, s3test.New(b))
	publish(b, store, draft(b, "iris", s3test.Noise(1, 21<<20)), artifact.Publishing{})
	cache := newCache(b, 0)
	f := NewFetcher(store, cache, here, nil, Transfer{})
	fetch := func(b *testing.B) *Local {
		local, err := f.Fetch(b.Context(), model.Ref{Name: "iris", Version: 1})
		if err != nil {
			b.Fatal(err)
		}
		local.Release()
		return local
	}
	fetch(b)
	waitSynced(b, cache)
	b.Run("stamped", func(b *testing.B) {
		for b.Loop() {
			fetch(b)
		}
	})
	b.Run("hashed", func(b *testing.B) {
		for b.Loop() {
			fetch(b).Suspect()
		}
	})
}

// TestAFileThatIsLinkedWhileItIsStampedIsStampedAgain holds that a stamp of what a file
// was before it got another name is not the last one.
func TestAFileThatIsLinkedWhileItIsStampedIsStampedAgain(t *testing.T) {
	t.Parallel()
	c := newCache(t, 0)
	was, now := verified{Inode: 7, Ctime: 1}, verified{Inode: 7, Ctime: 2}
	c.remember("a", was)
	if !c.renew("a", was, now) || c.settled("a", was) {
		t.Error("the old stamp is taken for the last")
	}
	if !c.settled("a", now) || c.renew("a", now, was) {
		t.Error("a file that was stamped as it is still waits")
	}
}
