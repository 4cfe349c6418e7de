package cache

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// storeIn is a store in an S3 of a test.
func storeIn(t testing.TB, s3 *s3test.S3) *artifact.Store {
	t.Helper()
	s, err := artifact.NewStore(t.Context(), artifact.Config{
		Bucket: s3test.Bucket, Endpoint: s3.URL, Region: "us-east-1", PathStyle: true, AccessKey: "key", SecretKey: "secret",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var here = model.Target{ONNXRuntime: "1.31.1", Arch: "amd64", CPU: []string{"avx", "avx2"}}

// draft is a model of these bytes.
func draft(t testing.TB, name string, content []byte, files ...artifact.DraftFile) artifact.Draft {
	t.Helper()
	return artifact.Draft{
		Name: name,
		Signature: infer.Signature{
			Inputs:  []infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{-1, 2}}},
			Outputs: []infer.TensorSpec{{Name: "y", DataType: infer.FP32}},
		},
		Files: append([]artifact.DraftFile{{Path: model.ModelFile, Source: write(t, content)}}, files...),
	}
}

func publish(t testing.TB, s *artifact.Store, d artifact.Draft, how artifact.Publishing) *artifact.Published {
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
	return openCache(t, Config{Dir: t.TempDir(), MaxBytes: most})
}

// openCache opens a cache that is synced when the test ends.
func openCache(t testing.TB, cfg Config) *Cache {
	t.Helper()
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { waitSynced(t, c) })
	return c
}

// waitSynced returns when what was fetched is synced to the disk.
func waitSynced(t testing.TB, c *Cache) {
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

func newSigner(t testing.TB) *sign.Signer {
	t.Helper()
	dir := t.TempDir()
	s, err := sign.CreateKeys(filepath.Join(dir, "key"), filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
