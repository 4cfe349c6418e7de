package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// holds fails unless a fetch gives these bytes; it returns what it gave.
func holds(t *testing.T, f *Fetcher, name string, want []byte) *Local {
	t.Helper()
	local, err := f.Fetch(t.Context(), model.Ref{Name: name, Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(local.Release)
	if got, err := os.ReadFile(local.Path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, %v", local.Path, len(got), err)
	}
	return local
}

// TestFetchFromMemory has a disk that is full for a while: a model that may be
// held in memory loads from there, and once there is space again from the cache.
func TestFetchFromMemory(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		memory int64
		want   string // of the error; "" is success
	}{
		"fits":       {memory: 10_000},
		"too large":  {memory: 9_999, want: "model.onnx: disk full"},
		"not wanted": {want: "model.onnx: disk full"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := storeIn(t, s3test.New(t))
			content := s3test.Noise(1, 10_000)
			publish(t, store, draft(t, "iris", content), artifact.Publishing{})
			var log bytes.Buffer
			cache := openCache(t, Config{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			transfer := quick
			transfer.Memory = tc.memory
			f := NewFetcher(store, cache, here, nil, transfer)
			f.writer = func(file *os.File) io.WriterAt {
				if strings.HasPrefix(file.Name(), cache.dir) {
					return fullDisk{}
				}
				return file
			}
			local, err := f.Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
			if tc.want != "" {
				if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("Fetch: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(local.Path); err != nil || !bytes.Equal(got, content) || local.Timing.Bytes < 10_000 {
				t.Errorf("%d bytes, %v, %+v", len(got), err, local.Timing)
			}
			if left := contents(t, cache); len(left) > 0 || !strings.Contains(log.String(), "loaded from memory") {
				t.Errorf("the cache holds %v; log: %s", left, &log)
			}
			local.Release()
			f.writer = func(file *os.File) io.WriterAt { return file }
			if local := holds(t, f, "iris", content); !strings.HasPrefix(local.Place, cache.dir) {
				t.Errorf("with space again it is at %s", local.Place)
			}
		})
	}
}

func TestAnUnsignedFetchEvictsNothing(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	store := storeIn(t, s3test.New(t))
	kept := s3test.Noise(1, 1000)
	publish(t, store, draft(t, "iris", kept), artifact.Publishing{Signer: signer})
	publish(t, store, draft(t, "rosa", s3test.Noise(2, 1000)), artifact.Publishing{})
	cache := newCache(t, 1500)
	f := NewFetcher(store, cache, here, sign.NewVerifier(signer.Public()), quick)
	holds(t, f, "iris", kept).Release()
	waitSynced(t, cache)
	before := contents(t, cache)
	if _, err := f.Fetch(t.Context(), model.Ref{Name: "rosa", Version: 1}); !errors.Is(err, sign.ErrUnsigned) {
		t.Errorf("Fetch: %v", err)
	}
	if after := contents(t, cache); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("the cache held %v, and then %v", before, after)
	}
}

// TestADownloadOutlivesTheCallerWhoBeganIt has the one who began a download go away
// before the signature is there.
func TestADownloadOutlivesTheCallerWhoBeganIt(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	s3 := s3test.New(t)
	store := storeIn(t, s3)
	content := s3test.Noise(1, 1000)
	publish(t, store, draft(t, "iris", content), artifact.Publishing{Signer: signer})
	asked := make(chan struct{}, 2)
	var once sync.Once
	s3.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, ".sig") {
			first := false
			once.Do(func() { first = true })
			asked <- struct{}{}
			if first {
				<-r.Context().Done()
				return
			}
		}
		next.ServeHTTP(w, r)
	})
	f := NewFetcher(store, newCache(t, 0), here, sign.NewVerifier(signer.Public()), quick)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := f.Fetch(ctx, model.Ref{Name: "iris", Version: 1})
		left <- err
	}()
	<-asked
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		local, err := f.Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
		if err != nil {
			t.Error(err)
			return
		}
		local.Release()
	}()
	<-asked
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	<-joined
}

func TestCacheFolderRemovedWhileRunning(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	content := s3test.Noise(1, 1000)
	publish(t, store, draft(t, "iris", content), artifact.Publishing{})
	cache := newCache(t, 10_000)
	f := NewFetcher(store, cache, here, nil, quick)
	holds(t, f, "iris", content)
	waitSynced(t, cache)
	if err := os.RemoveAll(cache.dir); err != nil {
		t.Fatal(err)
	}
	if local := holds(t, f, "iris", content); local.Timing.Bytes != 1000 {
		t.Errorf("%d bytes were read", local.Timing.Bytes)
	}
}

// TestCacheAfterACrash has a file in place that the disk had not all of, as its
// stamp had not been written.
func TestCacheAfterACrash(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	content := s3test.Noise(1, 1000)
	publish(t, store, draft(t, "iris", content), artifact.Publishing{})
	cache := newCache(t, 0)
	first := holds(t, NewFetcher(store, cache, here, nil, quick), "iris", content)
	waitSynced(t, cache)
	if err := os.Remove(first.Place + ".ok"); err != nil {
		t.Fatal(err)
	}
	rewrite(t, first.Place, make([]byte, 1000))
	first.Release()
	next := openCache(t, Config{Dir: cache.dir})
	holds(t, NewFetcher(store, next, here, nil, quick), "iris", content)
}

// TestCacheSuspect has a bit that the disk flipped, so that nothing shows it: that is
// seen once somebody reports that the file does not load.
func TestCacheSuspect(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	content := s3test.Noise(1, 1000)
	publish(t, store, draft(t, "iris", content), artifact.Publishing{})
	cache := newCache(t, 0)
	f := NewFetcher(store, cache, here, nil, quick)
	first := holds(t, f, "iris", content)
	waitSynced(t, cache)
	altered := bytes.Clone(content)
	altered[500] ^= 1
	forge(t, first.Place, altered)
	info, err := os.Stat(first.Place)
	if err == nil {
		err = stamp(first.Place, stateOf(info))
	}
	if err != nil {
		t.Fatal(err)
	}
	second := holds(t, f, "iris", altered)
	second.Suspect()
	second.Release()
	first.Release()
	holds(t, f, "iris", content)
}

// TestCacheWaitsForTheDisk needs the space of a file that nobody holds but the
// disk, which does not have it yet.
func TestCacheWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	f := NewFetcher(store, newCache(t, 1500), here, nil, quick)
	for i, name := range []string{"a", "b", "c", "d"} {
		content := s3test.Noise(uint64(i), 1000)
		publish(t, store, draft(t, name, content), artifact.Publishing{})
		holds(t, f, name, content).Release()
	}
}

// TestCacheSpaceIsNotGivenTwice has two processes fetch at once into space for
// one: what is held never has more bytes than the bound.
func TestCacheSpaceIsNotGivenTwice(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	names := []string{"iris", "rosa"}
	for i, name := range names {
		publish(t, store, draft(t, name, s3test.Noise(uint64(i), 1000)), artifact.Publishing{})
	}
	dir := t.TempDir()
	for range 20 {
		locals := make([]*Local, len(names))
		var wg sync.WaitGroup
		for i, name := range names {
			cache := openCache(t, Config{Dir: dir, MaxBytes: 1900})
			f := NewFetcher(store, cache, here, nil, quick)
			wg.Go(func() {
				local, err := f.Fetch(t.Context(), model.Ref{Name: name, Version: 1})
				if err == nil {
					locals[i] = local
				} else if !strings.Contains(err.Error(), "are in use") {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if locals[0] != nil && locals[1] != nil {
			t.Fatal("both are held, and have more bytes than the cache may")
		}
		for _, l := range locals {
			if l != nil {
				l.Release()
			}
		}
	}
}

// killed is the environment variable that makes this binary a process that
// fetches and never ends.
const killed = "CACHE_TEST_FETCHES_FROM"

// TestFetchKilled kills a process in the middle of a download, and one right
// after it fetched: the next has the model, and nothing is left of the first.
func TestFetchKilled(t *testing.T) {
	t.Parallel()
	if url := os.Getenv(killed); url != "" {
		fetchForever(url)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, hang := range map[string]bool{"in the middle": true, "after the commit": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := s3test.New(t)
			store := storeIn(t, s3)
			content := s3test.Noise(1, 3<<20)
			publish(t, store, draft(t, "iris", content), artifact.Publishing{})
			hung := make(chan struct{}, 100)
			if hang {
				s3.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					if strings.HasSuffix(r.URL.Path, "-"+model.ModelFile) && !strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
						hung <- struct{}{}
						<-r.Context().Done()
						return
					}
					next.ServeHTTP(w, r)
				})
			}
			dir := t.TempDir()
			child := exec.CommandContext(t.Context(), self, "-test.run", "^TestFetchKilled$")
			child.Env = append(os.Environ(), killed+"="+s3.URL+" "+dir)
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			if hang {
				<-hung
			} else if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = child.Wait() // it was killed
			s3.Inject(nil)
			cache := openCache(t, Config{Dir: dir, MaxBytes: 4 << 20})
			local := holds(t, NewFetcher(store, cache, here, nil, Transfer{}), "iris", content)
			if !hang && local.Timing.Bytes != 0 {
				t.Error("what was there was fetched again")
			}
			if left := contents(t, cache); len(left) != 1 {
				t.Errorf("the cache holds %v", left)
			}
		})
	}
}

// fetchForever fetches, reports it, and waits to be killed.
func fetchForever(where string) {
	url, dir, _ := strings.Cut(where, " ")
	ctx := context.Background()
	store, err := artifact.NewStore(ctx, artifact.Config{Bucket: "models", Endpoint: url, Region: "us-east-1", PathStyle: true, AccessKey: "key", SecretKey: "secret"})
	if err != nil {
		os.Exit(3)
	}
	cache, err := Open(Config{Dir: dir})
	if err != nil {
		os.Exit(4)
	}
	if _, err := NewFetcher(store, cache, here, nil, Transfer{}).Fetch(ctx, model.Ref{Name: "iris", Version: 1}); err != nil {
		os.Exit(5)
	}
	_, _ = os.Stdout.WriteString(".")
	select {}
}

// TestFetchIsRefused is a cache's folder that cannot be written to for a while:
// each fetch fails with the reason, and the next one after it works.
func TestFetchIsRefused(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	content := s3test.Noise(1, 1000)
	publish(t, store, draft(t, "iris", content), artifact.Publishing{})
	cache := newCache(t, 0)
	f := NewFetcher(store, cache, here, nil, quick)
	partial := filepath.Join(cache.dir, "partial")
	if err := errors.Join(os.Remove(partial), os.WriteFile(partial, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := f.Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
	if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), "model.onnx: mkdir "+partial+": not a directory") {
		t.Errorf("Fetch: %v", err)
	}
	if err := os.Remove(partial); err != nil {
		t.Fatal(err)
	}
	holds(t, f, "iris", content)
}
