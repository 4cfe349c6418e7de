package artifact

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// fakeS3 is an S3 in memory, and what this package knows of its objects.
type fakeS3 struct{ *s3test.S3 }

func newFakeS3(t testing.TB) *fakeS3 { return &fakeS3{s3test.New(t)} }

func (f *fakeS3) store(t testing.TB) *Store {
	t.Helper()
	s, err := NewStore(t.Context(), Config{
		Bucket: "models", Endpoint: f.URL, Region: "us-east-1", PathStyle: true, AccessKey: "key", SecretKey: "secret",
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

// draft is a model of these bytes.
func draft(t testing.TB, name string, content []byte, files ...DraftFile) Draft {
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
		Files:    append([]DraftFile{{Path: model.ModelFile, Source: write(t, content)}}, files...),
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

// leaves holds that these objects are left, and no others.
func (f *fakeS3) leaves(t testing.TB, keys ...string) {
	t.Helper()
	if diff := cmp.Diff(keys, f.Keys(t)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
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
