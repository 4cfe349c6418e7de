package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/cache"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

func TestPublishVersions(t *testing.T) {
	t.Parallel()
	store := newFakeS3(t).store(t)
	one, two := draft(t, "iris", s3test.Noise(1, 100)), draft(t, "iris", s3test.Noise(2, 100))
	explicit := func(d Draft, version int) Draft { d.Version = version; return d }
	for _, tc := range []struct {
		name      string
		draft     Draft
		version   int
		unchanged bool
		code      problem.Code
	}{
		{"the first", one, 1, false, ""},
		{"the same again", one, 1, true, ""},
		{"the same, by number", explicit(one, 1), 1, true, ""},
		{"other bytes, by number", explicit(two, 1), 0, false, problem.VersionExists},
		{"other bytes", two, 2, false, ""},
		{"the old bytes again", one, 3, false, ""},
		{"a number further on", explicit(two, 7), 7, false, ""},
		{"the next after it", one, 8, false, ""},
	} {
		p, err := store.Publish(t.Context(), tc.draft, Publishing{})
		if problem.CodeOf(err) != tc.code {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if err == nil && (p.Ref.Version != tc.version || p.Unchanged != tc.unchanged) {
			t.Errorf("%s: %+v, unchanged %v", tc.name, p.Ref, p.Unchanged)
		}
	}
	versions, err := store.Versions(t.Context(), "iris")
	if diff := cmp.Diff([]int{8, 7, 3, 2, 1}, versions); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	newest, err := store.Newest(t.Context(), "iris")
	if err != nil || newest != (model.Ref{Name: "iris", Version: 8}) {
		t.Errorf("newest %v, %v", newest, err)
	}
	m, digest, err := store.Manifest(t.Context(), model.Ref{Name: "iris", Version: 2})
	if err != nil || m.Version != 2 || !strings.HasPrefix(digest, "sha256:") {
		t.Errorf("%+v %s %v", m, digest, err)
	}
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	store := newFakeS3(t).store(t)
	for name, change := range map[string]func(*Draft){
		"a name with a path":    func(d *Draft) { d.Name = "../iris" },
		"a reserved name":       func(d *Draft) { d.Name = "stats" },
		"a negative version":    func(d *Draft) { d.Version = -1 },
		"no model":              func(d *Draft) { d.Files = nil },
		"a file with a path":    func(d *Draft) { d.Files = append(d.Files, DraftFile{Path: "../x", Source: d.Files[0].Source}) },
		"a file twice":          func(d *Draft) { d.Files = append(d.Files, d.Files[0]) },
		"no output":             func(d *Draft) { d.Outputs = nil },
		"a data type of no one": func(d *Draft) { d.Inputs[0].DataType = "FLOAT" },
		"an axis it has not":    func(d *Draft) { axis := 5; d.BatchAxis = &axis },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := draft(t, "iris", s3test.Noise(1, 100))
			change(&d)
			if _, err := store.Publish(t.Context(), d, Publishing{}); problem.CodeOf(err) != problem.InvalidArgument {
				t.Errorf("Publish: %v", err)
			}
		})
	}
	t.Run("a file that is not there", func(t *testing.T) {
		t.Parallel()
		d := draft(t, "iris", s3test.Noise(1, 100))
		d.Files[0].Source += ".gone"
		if _, err := store.Publish(t.Context(), d, Publishing{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Publish: %v", err)
		}
	})
}

func TestPublishRace(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]int{"free numbers": 0, "one number": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := newFakeS3(t)
			signer := newSigner(t)
			const racers = 8
			var won, lost atomic.Int64
			var wg sync.WaitGroup
			for i := range racers {
				d := draft(t, "iris", s3test.Noise(uint64(i), 1000))
				d.Version = version
				store := s3.store(t)
				wg.Go(func() {
					_, err := store.Publish(t.Context(), d, Publishing{Signer: signer})
					switch {
					case err == nil:
						won.Add(1)
					case problem.CodeOf(err) == problem.VersionExists:
						lost.Add(1)
					default:
						t.Error(err)
					}
				})
			}
			wg.Wait()
			wantWon := int64(racers)
			if version != 0 {
				wantWon = 1
			}
			if won.Load() != wantWon || won.Load()+lost.Load() != racers {
				t.Errorf("%d won, %d lost", won.Load(), lost.Load())
			}
			store := s3.store(t)
			versions, err := store.Versions(t.Context(), "iris")
			if err != nil || int64(len(versions)) != wantWon {
				t.Errorf("%v, %v", versions, err)
			}
			for _, v := range versions {
				faults, err := cache.Verify(t.Context(), store, model.Ref{Name: "iris", Version: v}, sign.NewVerifier(signer.Public()))
				if err != nil || len(faults) > 0 {
					t.Errorf("version %d: %v, %v", v, faults, err)
				}
			}
		})
	}
}

func TestPublishLarge(t *testing.T) {
	t.Parallel()
	store := newFakeS3(t).store(t)
	content := s3test.Noise(1, 2*partSize+12345)
	var last, total int64
	var mu sync.Mutex
	p := publish(t, store, draft(t, "big", content), Publishing{Progress: func(done, all int64) {
		mu.Lock()
		defer mu.Unlock()
		last, total = max(last, done), all
	}})
	if last != int64(len(content)) || total != last {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	if faults, err := cache.Verify(t.Context(), store, p.Ref, nil); err != nil || len(faults) > 0 {
		t.Errorf("what was published: %v, %v", faults, err)
	}
}

func TestPublishInterrupted(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
		"while it uploads": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.RawQuery, "partNumber=2") {
				http.Error(w, "", http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		},
		"at the manifest": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/"+model.ManifestFile) {
				http.Error(w, "", http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := newFakeS3(t)
			store := s3.store(t)
			d := draft(t, "iris", s3test.Noise(1, 2*partSize))
			s3.Inject(fault)
			if _, err := store.Publish(t.Context(), d, Publishing{}); err == nil {
				t.Fatal("it was published")
			}
			if _, err := store.Versions(t.Context(), "iris"); problem.CodeOf(err) != problem.ModelNotFound {
				t.Errorf("Versions: %v", err)
			}
			s3.Inject(nil)
			if p := publish(t, store, d, Publishing{}); p.Ref.Version != 1 || p.Unchanged {
				t.Errorf("the second attempt: %+v", p)
			}
		})
	}
}

// TestPublishAnswerLost is a manifest that was written though its answer never
// came: the client's second attempt meets what the first wrote.
func TestPublishAnswerLost(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	var lost atomic.Bool
	s3.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/"+model.ManifestFile) && lost.CompareAndSwap(false, true) {
			next.ServeHTTP(discard{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
	p := publish(t, s3.store(t), draft(t, "iris", s3test.Noise(1, 100)), Publishing{})
	if !lost.Load() || p.Ref.Version != 1 {
		t.Errorf("lost %v, published %+v", lost.Load(), p.Ref)
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func TestDeleteAndNames(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	store := s3.store(t)
	signer := newSigner(t)
	for _, name := range []string{"b", "a", "c"} {
		publish(t, store, draft(t, name, s3test.Noise(1, 100)), Publishing{Signer: signer})
	}
	publish(t, store, draft(t, "a", s3test.Noise(2, 100)), Publishing{Signer: signer})
	names, err := store.Names(t.Context())
	if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if err := store.Delete(t.Context(), model.Ref{Name: "a", Version: 1}); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), model.Ref{Name: "a", Version: 1}); problem.CodeOf(err) != problem.ModelNotFound {
		t.Errorf("Delete: %v", err)
	}
	if versions, err := store.Versions(t.Context(), "a"); err != nil || !slices.Equal(versions, []int{2}) {
		t.Errorf("%v, %v", versions, err)
	}
	if err := store.Delete(t.Context(), model.Ref{Name: "b", Version: 1}); err != nil {
		t.Fatal(err)
	}
	names, err = store.Names(t.Context())
	if diff := cmp.Diff([]string{"a", "c"}, names); diff != "" || err != nil {
		t.Errorf("objects are left: %v %s", err, diff)
	}
}

func TestNamesOfManyPages(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	for i := range 2345 {
		key := fmt.Sprintf("models/m%05d/1/model.json", i)
		s3.Put(t, key, "", []byte("{}"))
	}
	names, err := s3.store(t).Names(t.Context())
	if err != nil || len(names) != 2345 {
		t.Errorf("%d names, %v", len(names), err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"no bucket": {Config{}, "MODELSERVE_S3_BUCKET"},
		"half keys": {Config{Bucket: "b", AccessKey: "a"}, "MODELSERVE_S3_SECRET_ACCESS_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := NewStore(context.Background(), tc.cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("NewStore: %v", err)
			}
		})
	}
}
