package local

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/modelserveai/modelserve/local/manifest"
	"github.com/modelserveai/modelserve/local/objectstore"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// TestAFirstStartWaitsForItsOwnModelsOnly holds that while the shipped models are
// being published only a function that pins one which is not there waits for them.
func TestAFirstStartWaitsForItsOwnModelsOnly(t *testing.T) {
	t.Parallel()
	store, err := OpenStore(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &platform{published: make(chan struct{}), state: State{S3: S3{
		Endpoint: store.Endpoint, Bucket: objectstore.Bucket, Region: objectstore.Region, PathStyle: true,
		AccessKeyID: store.AccessKeyID, SecretAccessKey: store.SecretAccessKey,
	}}}
	models, err := p.models(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), model.ModelFile)
	if err := os.WriteFile(file, []byte("a model"), 0o600); err != nil {
		t.Fatal(err)
	}
	tensor := []infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{2}}}
	if _, err := models.Publish(t.Context(), artifact.Draft{
		Name: "mine", Version: 1, Signature: infer.Signature{Inputs: tensor, Outputs: tensor},
		Files: []artifact.DraftFile{{Path: model.ModelFile, Source: file}},
	}, artifact.Publishing{}); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		models []string
		waits  bool
	}{
		"one that is there":      {[]string{"mine@1"}, false},
		"none":                   {nil, false},
		"any":                    {[]string{manifest.AllModels}, false},
		"one that is not yet":    {[]string{"shipped@1"}, true},
		"a version that is not":  {[]string{"mine@2"}, true},
		"one of two that is not": {[]string{"mine@1", "shipped@1"}, true},
	} {
		lacks, err := p.lacks(t.Context(), tc.models)
		if err != nil || lacks != tc.waits {
			t.Errorf("%s: lacks %v, %v, want %v", name, lacks, err, tc.waits)
		}
		if tc.waits {
			continue
		}
		if err := p.untilThere(t.Context(), tc.models); err != nil { // published is open still
			t.Errorf("%s: %v", name, err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	close(p.published)
	if err := p.untilThere(ended, []string{"shipped@1"}); err != nil { // its function says what it lacks
		t.Error(err)
	}
}
