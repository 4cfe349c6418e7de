package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
)

func TestFetch(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	store := s3.store(t)
	model, weights, optimised := noise(1, 10_000), noise(2, 5_000), noise(3, 20_000)
	d := draft(t, "iris", model,
		DraftFile{Path: "weights.bin", Source: write(t, weights)},
		DraftFile{Path: "model.ort", Source: write(t, optimised), Optimized: &here})
	publish(t, store, d, Publishing{})
	other := Target{ONNXRuntime: "1.32.0", Arch: "amd64", CPU: here.CPU}

	for name, tc := range map[string]struct {
		target Target
		ort    bool
		want   map[string][]byte
	}{
		"optimised for this node":    {here, true, map[string][]byte{"": optimised}},
		"optimised for another node": {other, false, map[string][]byte{ModelFile: model, "weights.bin": weights}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := newCache(t, 0)
			f := NewFetcher(store, cache, tc.target, nil, quick)
			for run := range 2 {
				local, err := f.Fetch(t.Context(), Ref{Name: "iris", Version: 1})
				if err != nil {
					t.Fatal(err)
				}
				if local.ORT != tc.ort || local.Manifest.Name != "iris" {
					t.Errorf("local: %+v", local)
				}
				for file, want := range tc.want {
					path := local.Path
					if file != "" {
						path = filepath.Join(filepath.Dir(local.Path), file)
					}
					if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %d bytes, %v", file, len(got), err)
					}
				}
				if run == 1 && local.Timing.Bytes != 0 {
					t.Errorf("second fetch read %d bytes", local.Timing.Bytes)
				}
				local.Release()
				local.Release()
			}
			if got := len(contents(t, cache)); got != len(tc.want) {
				t.Errorf("cache holds %v", contents(t, cache))
			}
		})
	}
}

func TestFetchFaults(t *testing.T) {
	t.Parallel()
	model := noise(1, 10_000)
	onModel := func(fault func(w http.ResponseWriter, r *http.Request, next http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "-"+ModelFile) {
				fault(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		}
	}
	change := func(edit func([]byte) []byte) func(*testing.T, *fakeS3) {
		return func(t *testing.T, s3 *fakeS3) {
			replace(t, s3, "-"+ModelFile, edit(bytes.Clone(model)))
		}
	}
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, s3 *fakeS3)
		fault   func(w http.ResponseWriter, r *http.Request, next http.Handler)
		writer  func(*os.File) io.WriterAt
		stall   time.Duration // 0 is long
		code    problem.Code  // "" is success
		want    string
		again   bool // it is not Lasting
	}{
		"truncated object": {
			prepare: change(func(b []byte) []byte { return b[:7_000] }),
			code:    problem.ModelUnavailable, want: "model iris@1: model.onnx: truncated: got 7000 of 10000 bytes",
		},
		"longer object": {
			prepare: change(func(b []byte) []byte { return append(b, 0) }),
			code:    problem.ModelUnavailable, want: "model iris@1: model.onnx: altered: it has 10001 bytes, expected 10000",
		},
		"altered object": {
			prepare: change(func(b []byte) []byte { b[9_999] ^= 1; return b }),
			code:    problem.ModelUnavailable, want: "model.onnx: altered: sha256 ",
		},
		"missing object": {
			fault: onModel(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { http.Error(w, "", http.StatusNotFound) }),
			code:  problem.ModelUnavailable, want: "model iris@1: model.onnx: missing: S3 has no such object",
		},
		"server errors": {
			fault: onModel(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { http.Error(w, "", http.StatusBadGateway) }),
			code:  problem.ModelUnavailable, want: "S3 unreachable: it answers 502",
			again: true,
		},
		"no access": {
			fault: onModel(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { http.Error(w, "", http.StatusForbidden) }),
			code:  problem.ModelUnavailable, want: "model iris@1: model.onnx: S3 refuses access: it answers 403 Forbidden; check MODELSERVE_S3_ACCESS_KEY_ID, MODELSERVE_S3_SECRET_ACCESS_KEY, and what they may do in bucket models",
		},
		"hangs": {
			fault: onModel(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() }),
			stall: 20 * time.Millisecond,
			code:  problem.ModelUnavailable, want: "S3 unreachable: no byte in 20ms",
			again: true,
		},
		"always drops in the middle": {
			fault: onModel(func(w http.ResponseWriter, r *http.Request, next http.Handler) { drop(w, r, next, 1) }),
			code:  problem.ModelUnavailable, want: "model iris@1: model.onnx: interrupted: got 3 of ",
			again: true,
		},
		"drops, and goes on": {
			fault: onModel(func(w http.ResponseWriter, r *http.Request, next http.Handler) { drop(w, r, next, 500) }),
		},
		"fails each range once": {
			fault: func() func(http.ResponseWriter, *http.Request, http.Handler) {
				var seen sync.Map
				return onModel(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					if _, again := seen.LoadOrStore(r.Header.Get("Range"), true); !again {
						http.Error(w, "", http.StatusInternalServerError)
						return
					}
					next.ServeHTTP(w, r)
				})
			}(),
		},
		"manifest of another model": {
			prepare: func(t *testing.T, s3 *fakeS3) {
				m := bytes.ReplaceAll(object(t, s3, "/"+ManifestFile), []byte(`"iris"`), []byte(`"rosa"`))
				replace(t, s3, "/"+ManifestFile, m)
			},
			code: problem.ModelUnavailable, want: "model iris@1: model.json: it is that of rosa@1",
		},
		"manifest that is none": {
			prepare: func(t *testing.T, s3 *fakeS3) { replace(t, s3, "/"+ManifestFile, []byte("{}")) },
			code:    problem.ModelUnavailable, want: "model iris@1: model.json: schema: expected 1, got 0",
		},
		"disk full": {
			writer: func(*os.File) io.WriterAt { return fullDisk{} },
			code:   problem.ModelUnavailable, want: "model iris@1: model.onnx: disk full: ",
			again: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := newFakeS3(t)
			store := s3.store(t)
			publish(t, store, draft(t, "iris", model), Publishing{})
			if tc.prepare != nil {
				tc.prepare(t, s3)
			}
			s3.inject(tc.fault)
			cache := newCache(t, 0)
			transfer := quick
			if tc.stall != 0 {
				transfer.Stall = tc.stall
			}
			f := NewFetcher(store, cache, here, nil, transfer)
			if tc.writer != nil {
				f.writer = tc.writer
			}
			local, err := f.Fetch(t.Context(), Ref{Name: "iris", Version: 1})
			if tc.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				defer local.Release()
				if got, err := os.ReadFile(local.Path); err != nil || !bytes.Equal(got, model) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				return
			}
			if problem.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Fetch: %v, want %s: %s", err, tc.code, tc.want)
			}
			if Lasting(err) == tc.again {
				t.Errorf("%v: lasting %v", err, !tc.again)
			}
			if left := contents(t, cache); len(left) > 0 {
				t.Errorf("left in the cache: %v", left)
			}
		})
	}
}

type fullDisk struct{}

func (fullDisk) WriteAt([]byte, int64) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "/cache", Err: syscall.ENOSPC}
}

// drop answers with the headers of the whole and breaks off after n bytes.
func drop(w http.ResponseWriter, r *http.Request, next http.Handler, n int) {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	body := rec.Body.Bytes()
	if len(body) <= n {
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body[:n])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// keyOf finds the one object whose key ends so.
func keyLike(t testing.TB, s3 *fakeS3, suffix string) string {
	t.Helper()
	list, err := s3.backend.ListBucket("models", nil, gofakes3Page())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		if strings.HasSuffix(o.Key, suffix) {
			return o.Key
		}
	}
	t.Fatalf("no object ends with %s", suffix)
	return ""
}

func object(t testing.TB, s3 *fakeS3, suffix string) []byte {
	t.Helper()
	o, err := s3.backend.GetObject("models", keyLike(t, s3, suffix), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Contents.Close()
	data, err := io.ReadAll(o.Contents)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func replace(t testing.TB, s3 *fakeS3, suffix string, data []byte) {
	t.Helper()
	_, err := s3.backend.PutObject("models", keyLike(t, s3, suffix), map[string]string{}, bytes.NewReader(data), int64(len(data)), nil)
	if err != nil {
		t.Fatal(err)
	}
}

func TestFetchUnreachable(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	store := s3.store(t)
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	s3.url = server.URL
	gone := s3.store(t)
	_ = store
	_, err := NewFetcher(gone, newCache(t, 0), here, nil, quick).Fetch(t.Context(), Ref{Name: "iris", Version: 1})
	if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), "S3 unreachable") || Lasting(err) {
		t.Errorf("Fetch: %v", err)
	}
}

func TestFetchUnknown(t *testing.T) {
	t.Parallel()
	store := newFakeS3(t).store(t)
	f := NewFetcher(store, newCache(t, 0), here, nil, quick)
	for name, tc := range map[string]struct {
		ref  Ref
		want problem.Code
	}{
		"model":          {Ref{Name: "iris", Version: 1}, problem.ModelNotFound},
		"a path":         {Ref{Name: "../iris", Version: 1}, problem.InvalidArgument},
		"version":        {Ref{Name: "iris", Version: 0}, problem.InvalidArgument},
		"negative":       {Ref{Name: "iris", Version: -1}, problem.InvalidArgument},
		"a path's slash": {Ref{Name: "iris/1", Version: 1}, problem.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := f.Fetch(t.Context(), tc.ref); problem.CodeOf(err) != tc.want {
				t.Errorf("Fetch: %v", err)
			}
		})
	}
}

func TestFetchSigned(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	for name, tc := range map[string]struct {
		signer   *Signer
		verifier *Verifier
		tamper   bool
		want     error
	}{
		"signed":                  {signer: signer, verifier: NewVerifier(signer.Public())},
		"signed by one of two":    {signer: signer, verifier: NewVerifier(newSigner(t).Public(), signer.Public())},
		"signed, and not checked": {signer: signer},
		"unsigned":                {verifier: NewVerifier(signer.Public()), want: ErrUnsigned},
		"by another key":          {signer: newSigner(t), verifier: NewVerifier(signer.Public()), want: ErrWrongSignature},
		"altered":                 {signer: signer, verifier: NewVerifier(signer.Public()), tamper: true, want: ErrUnsigned},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := newFakeS3(t)
			store := s3.store(t)
			publish(t, store, draft(t, "iris", noise(1, 100)), Publishing{Signer: tc.signer})
			if tc.tamper {
				replace(t, s3, "/"+ManifestFile, bytes.ReplaceAll(object(t, s3, "/"+ManifestFile), []byte("-1"), []byte("-1 ")))
			}
			f := NewFetcher(store, newCache(t, 0), here, tc.verifier, quick)
			local, err := f.Fetch(t.Context(), Ref{Name: "iris", Version: 1})
			if !errors.Is(err, tc.want) || (tc.want != nil && (problem.CodeOf(err) != problem.ModelUnavailable || !Lasting(err))) {
				t.Fatalf("Fetch: %v, want %v", err, tc.want)
			}
			if err == nil {
				local.Release()
			}
		})
	}
}

func newSigner(t testing.TB) *Signer {
	t.Helper()
	dir := t.TempDir()
	s, err := CreateKeys(filepath.Join(dir, "key"), filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFetchManyAtOnceDownloadsOnce(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	store := s3.store(t)
	model := noise(1, 10_000)
	publish(t, store, draft(t, "iris", model), Publishing{})
	cache := newCache(t, 0)
	other := openCache(t, CacheConfig{Dir: cache.dir}) // as another process would
	fetchers := []*Fetcher{
		NewFetcher(store, cache, here, nil, quick),
		NewFetcher(store, other, here, nil, quick),
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			local, err := fetchers[i%2].Fetch(t.Context(), Ref{Name: "iris", Version: 1})
			if err != nil {
				t.Error(err)
				return
			}
			defer local.Release()
			if got, err := os.ReadFile(local.Path); err != nil || !bytes.Equal(got, model) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if n := s3.count("-" + ModelFile); n != 10 {
		t.Errorf("%d ranges were read, want 10", n)
	}
}

func TestFetchCancelled(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	store := s3.store(t)
	publish(t, store, draft(t, "iris", noise(1, 10_000)), Publishing{})
	ctx, cancel := context.WithCancel(t.Context())
	s3.inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "-"+ModelFile) {
			cancel()
			<-r.Context().Done()
			return
		}
		next.ServeHTTP(w, r)
	})
	cache := newCache(t, 0)
	_, err := NewFetcher(store, cache, here, nil, quick).Fetch(ctx, Ref{Name: "iris", Version: 1})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Fetch: %v", err)
	}
	if diff := cmp.Diff([]string(nil), contents(t, cache)); diff != "" {
		t.Error(diff)
	}
}
