// Package s3test is an S3 in memory that tests make misbehave.
//
// It knows no model: the tests publish what they need.
package s3test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Bucket is the one bucket that there is.
const Bucket = "models"

// Fault answers a request in place of S3, which is next.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// S3 is the server. It takes any keys.
type S3 struct {
	URL string

	backend *s3mem.Backend

	mu    sync.Mutex
	fault Fault // nil is none
	gets  map[string]int
}

// New starts an empty S3, which ends with the test.
func New(t testing.TB) *S3 {
	t.Helper()
	s := &S3{backend: s3mem.New(), gets: map[string]int{}}
	if err := s.backend.CreateBucket(Bucket); err != nil {
		t.Fatal(err)
	}
	next := gofakes3.New(s.backend).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		fault := s.fault
		if r.Method == http.MethodGet {
			s.gets[r.URL.Path]++
		}
		s.mu.Unlock()
		if fault != nil {
			fault(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Inject sets what every request meets from now on; nil is nothing.
func (s *S3) Inject(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Gets counts the GETs of paths that end so.
func (s *S3) Gets(suffix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for path, count := range s.gets {
		if strings.HasSuffix(path, suffix) {
			n += count
		}
	}
	return n
}

// Keys lists the objects, sorted.
func (s *S3) Keys(t testing.TB) []string {
	t.Helper()
	list, err := s.backend.ListBucket(Bucket, nil, gofakes3.ListBucketPage{MaxKeys: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, o := range list.Contents {
		keys = append(keys, o.Key)
	}
	return keys
}

// Key is the first key that ends so.
func (s *S3) Key(t testing.TB, suffix string) string {
	t.Helper()
	for _, key := range s.Keys(t) {
		if strings.HasSuffix(key, suffix) {
			return key
		}
	}
	t.Fatalf("no object ends with %s", suffix)
	return ""
}

// Object is the content of the first object whose key ends so.
func (s *S3) Object(t testing.TB, suffix string) []byte {
	t.Helper()
	o, err := s.backend.GetObject(Bucket, s.Key(t, suffix), nil)
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

// Replace gives the first object whose key ends so another content.
func (s *S3) Replace(t testing.TB, suffix string, data []byte) {
	t.Helper()
	s.Put(t, s.Key(t, suffix), "", data)
}

// Put stores an object with a content type, which may be "".
func (s *S3) Put(t testing.TB, key, contentType string, data []byte) {
	t.Helper()
	if _, err := s.backend.PutObject(Bucket, key, map[string]string{"Content-Type": contentType}, bytes.NewReader(data), int64(len(data)), nil); err != nil {
		t.Fatal(err)
	}
}

// Noise is n reproducible bytes that do not compress.
func Noise(seed uint64, n int) []byte {
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
