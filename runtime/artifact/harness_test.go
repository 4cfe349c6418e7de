package artifact

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// fakeS3 is an S3 in memory behind a handler that tests make misbehave.
type fakeS3 struct {
	url     string
	backend *s3mem.Backend

	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request, next http.Handler) // nil is none
	gets  map[string]int
}

func newFakeS3(t testing.TB) *fakeS3 {
	t.Helper()
	f := &fakeS3{backend: s3mem.New(), gets: map[string]int{}}
	if err := f.backend.CreateBucket("models"); err != nil {
		t.Fatal(err)
	}
	s3 := gofakes3.New(f.backend).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		fault := f.fault
		if r.Method == http.MethodGet {
			f.gets[r.URL.Path]++
		}
		f.mu.Unlock()
		if fault != nil {
			fault(w, r, s3)
			return
		}
		s3.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// inject sets what every request meets from now on.
func (f *fakeS3) inject(fault func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *fakeS3) count(suffix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for path, c := range f.gets {
		if strings.HasSuffix(path, suffix) {
			n += c
		}
	}
	return n
}

func (f *fakeS3) store(t testing.TB) *Store {
	t.Helper()
	s, err := NewStore(t.Context(), Config{
		Bucket: "models", Endpoint: f.url, Region: "us-east-1", PathStyle: true, AccessKey: "key", SecretKey: "secret",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// noise is reproducible bytes that do not compress.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	src := rand.NewPCG(seed, 1)
	for i := 0; i < n; i += 8 {
		v := src.Uint64()
		for j := i; j < min(i+8, n); j++ {
			b[j], v = byte(v), v>>8
		}
	}
	return b
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var here = Target{ONNXRuntime: "1.31.1", Arch: "amd64", CPU: []string{"avx", "avx2"}}

// draft is a model of these bytes.
func draft(t testing.TB, name string, model []byte, files ...DraftFile) Draft {
	t.Helper()
	axis := 0
	return Draft{
		Name: name,
		Signature: infer.Signature{
			Inputs:    []infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{-1, 2}}},
			Outputs:   []infer.TensorSpec{{Name: "y", DataType: infer.FP32, Shape: nil}},
			BatchAxis: &axis,
		},
		Metadata: map[string]string{"producer": "test"},
		Files:    append([]DraftFile{{Path: ModelFile, Source: write(t, model)}}, files...),
	}
}

func publish(t testing.TB, s *Store, d Draft, how Publishing) *Published {
	t.Helper()
	p, err := s.Publish(t.Context(), d, how)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// quick is a transfer of small ranges that gives up after few attempts.
var quick = Transfer{RangeBytes: 1 << 10, Ranges: 4, Attempts: 3, Stall: time.Minute, Backoff: time.Millisecond}

func newCache(t testing.TB, most int64) *Cache {
	t.Helper()
	return openCache(t, CacheConfig{Dir: t.TempDir(), MaxBytes: most})
}

// openCache opens a cache that is settled when the test ends.
func openCache(t testing.TB, cfg CacheConfig) *Cache {
	t.Helper()
	c, err := OpenCache(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { settled(t, c) })
	return c
}

// settled returns when the disk has what was fetched.
func settled(t testing.TB, c *Cache) {
	t.Helper()
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// contents lists the files of a cache, without those that only describe.
func contents(t testing.TB, c *Cache) []string {
	t.Helper()
	var names []string
	for _, sub := range []string{"files", "partial", "sets"} {
		entries, err := os.ReadDir(filepath.Join(c.dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.Contains(e.Name(), ".ok") {
				names = append(names, filepath.Join(sub, e.Name()))
			}
		}
	}
	return names
}

// leaves holds that these objects are left, and no others.
func (f *fakeS3) leaves(t testing.TB, keys ...string) {
	t.Helper()
	left, err := f.backend.ListBucket("models", nil, gofakes3Page())
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, o := range left.Contents {
		have = append(have, o.Key)
	}
	if diff := cmp.Diff(keys, have); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func gofakes3Page() gofakes3.ListBucketPage { return gofakes3.ListBucketPage{MaxKeys: 1000} }
