package cache

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
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

func TestFetch(t *testing.T) {
	t.Parallel()
	s3 := s3test.New(t)
	store := storeIn(t, s3)
	content, weights, optimised := s3test.Noise(1, 10_000), s3test.Noise(2, 5_000), s3test.Noise(3, 20_000)
	d := draft(t, "iris", content,
		artifact.DraftFile{Path: "weights.bin", Source: write(t, weights)},
		artifact.DraftFile{Path: "model.ort", Source: write(t, optimised), Optimized: &here})
	publish(t, store, d, artifact.Publishing{})
	other := model.Target{ONNXRuntime: "1.32.0", Arch: "amd64", CPU: here.CPU}

	for name, tc := range map[string]struct {
		target model.Target
		ort    bool
		want   map[string][]byte
	}{
		"optimised for this node":    {here, true, map[string][]byte{"": optimised}},
		"optimised for another node": {other, false, map[string][]byte{model.ModelFile: content, "weights.bin": weights}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := newCache(t, 0)
			f := NewFetcher(store, cache, tc.target, nil, quick)
			for run := range 2 {
				local, err := f.Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
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
	content := s3test.Noise(1, 10_000)
	onModel := func(fault func(w http.ResponseWriter, r *http.Request, next http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "-"+model.ModelFile) {
				fault(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		}
	}
	change := func(edit func([]byte) []byte) func(*testing.T, *s3test.S3) {
		return func(t *testing.T, s3 *s3test.S3) {
			s3.Replace(t, "-"+model.ModelFile, edit(bytes.Clone(content)))
		}
	}
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, s3 *s3test.S3)
		fault   func(w http.ResponseWriter, r *http.Request, next http.Handler)
		writer  func(*os.File) io.WriterAt
		stall   time.Duration // 0 is long
		code    problem.Code  // "" is success
		want    string
		again   bool // it is not permanent
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
			prepare: func(t *testing.T, s3 *s3test.S3) {
				m := bytes.ReplaceAll(s3.Object(t, "/"+model.ManifestFile), []byte(`"iris"`), []byte(`"rosa"`))
				s3.Replace(t, "/"+model.ManifestFile, m)
			},
			code: problem.ModelUnavailable, want: "model iris@1: model.json: it is the manifest of rosa@1",
		},
		"manifest that is none": {
			prepare: func(t *testing.T, s3 *s3test.S3) { s3.Replace(t, "/"+model.ManifestFile, []byte("{}")) },
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
			s3 := s3test.New(t)
			store := storeIn(t, s3)
			publish(t, store, draft(t, "iris", content), artifact.Publishing{})
			if tc.prepare != nil {
				tc.prepare(t, s3)
			}
			s3.Inject(tc.fault)
			cache := newCache(t, 0)
			transfer := quick
			if tc.stall != 0 {
				transfer.Stall = tc.stall
			}
			f := NewFetcher(store, cache, here, nil, transfer)
			if tc.writer != nil {
				f.writer = tc.writer
			}
			local, err := f.Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
			if tc.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				defer local.Release()
				if got, err := os.ReadFile(local.Path); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				return
			}
			if problem.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Fetch: %v, want %s: %s", err, tc.code, tc.want)
			}
			if model.IsPermanent(err) == tc.again {
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

func TestFetchUnreachable(t *testing.T) {
	t.Parallel()
	s3 := s3test.New(t)
	store := storeIn(t, s3)
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	s3.URL = server.URL
	gone := storeIn(t, s3)
	_ = store
	_, err := NewFetcher(gone, newCache(t, 0), here, nil, quick).Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
	if problem.CodeOf(err) != problem.ModelUnavailable || !strings.Contains(err.Error(), "S3 unreachable") || model.IsPermanent(err) {
		t.Errorf("Fetch: %v", err)
	}
}

func TestFetchUnknown(t *testing.T) {
	t.Parallel()
	store := storeIn(t, s3test.New(t))
	f := NewFetcher(store, newCache(t, 0), here, nil, quick)
	for name, tc := range map[string]struct {
		ref  model.Ref
		want problem.Code
	}{
		"model":          {model.Ref{Name: "iris", Version: 1}, problem.ModelNotFound},
		"a path":         {model.Ref{Name: "../iris", Version: 1}, problem.InvalidArgument},
		"version":        {model.Ref{Name: "iris", Version: 0}, problem.InvalidArgument},
		"negative":       {model.Ref{Name: "iris", Version: -1}, problem.InvalidArgument},
		"a path's slash": {model.Ref{Name: "iris/1", Version: 1}, problem.InvalidArgument},
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
		signer   *sign.Signer
		verifier *sign.Verifier
		tamper   bool
		want     error
	}{
		"signed":                  {signer: signer, verifier: sign.NewVerifier(signer.Public())},
		"signed by one of two":    {signer: signer, verifier: sign.NewVerifier(newSigner(t).Public(), signer.Public())},
		"signed, and not checked": {signer: signer},
		"unsigned":                {verifier: sign.NewVerifier(signer.Public()), want: sign.ErrUnsigned},
		"by another key":          {signer: newSigner(t), verifier: sign.NewVerifier(signer.Public()), want: sign.ErrWrongSignature},
		"altered":                 {signer: signer, verifier: sign.NewVerifier(signer.Public()), tamper: true, want: sign.ErrUnsigned},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := s3test.New(t)
			store := storeIn(t, s3)
			publish(t, store, draft(t, "iris", s3test.Noise(1, 100)), artifact.Publishing{Signer: tc.signer})
			if tc.tamper {
				s3.Replace(t, "/"+model.ManifestFile, bytes.ReplaceAll(s3.Object(t, "/"+model.ManifestFile), []byte("-1"), []byte("-1 ")))
			}
			f := NewFetcher(store, newCache(t, 0), here, tc.verifier, quick)
			local, err := f.Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
			if !errors.Is(err, tc.want) || (tc.want != nil && (problem.CodeOf(err) != problem.ModelUnavailable || !model.IsPermanent(err))) {
				t.Fatalf("Fetch: %v, want %v", err, tc.want)
			}
			if err == nil {
				local.Release()
			}
		})
	}
}

func TestFetchManyAtOnceDownloadsOnce(t *testing.T) {
	t.Parallel()
	s3 := s3test.New(t)
	store := storeIn(t, s3)
	content := s3test.Noise(1, 10_000)
	publish(t, store, draft(t, "iris", content), artifact.Publishing{})
	cache := newCache(t, 0)
	other := openCache(t, Config{Dir: cache.dir}) // as another process would
	fetchers := []*Fetcher{
		NewFetcher(store, cache, here, nil, quick),
		NewFetcher(store, other, here, nil, quick),
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			local, err := fetchers[i%2].Fetch(t.Context(), model.Ref{Name: "iris", Version: 1})
			if err != nil {
				t.Error(err)
				return
			}
			defer local.Release()
			if got, err := os.ReadFile(local.Path); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if n := s3.Gets("-" + model.ModelFile); n != 10 {
		t.Errorf("%d ranges were read, want 10", n)
	}
}

func TestFetchCancelled(t *testing.T) {
	t.Parallel()
	s3 := s3test.New(t)
	store := storeIn(t, s3)
	publish(t, store, draft(t, "iris", s3test.Noise(1, 10_000)), artifact.Publishing{})
	ctx, cancel := context.WithCancel(t.Context())
	s3.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "-"+model.ModelFile) {
			cancel()
			<-r.Context().Done()
			return
		}
		next.ServeHTTP(w, r)
	})
	cache := newCache(t, 0)
	_, err := NewFetcher(store, cache, here, nil, quick).Fetch(ctx, model.Ref{Name: "iris", Version: 1})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Fetch: %v", err)
	}
	if diff := cmp.Diff([]string(nil), contents(t, cache)); diff != "" {
		t.Error(diff)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	s3 := s3test.New(t)
	store := storeIn(t, s3)
	signer := newSigner(t)
	ref := publish(t, store, draft(t, "iris", s3test.Noise(1, 5000)), artifact.Publishing{Signer: signer}).Ref
	s3.Replace(t, "-"+model.ModelFile, s3test.Noise(2, 5000))
	faults, err := Verify(t.Context(), store, ref, sign.NewVerifier(newSigner(t).Public()))
	if err != nil || len(faults) != 2 || faults[0].Path != model.ManifestFile || faults[1].Path != model.ModelFile ||
		!strings.Contains(faults[1].Reason.Error(), "altered: sha256") {
		t.Errorf("%v, %v", faults, err)
	}
}
