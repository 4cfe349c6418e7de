package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/cmd/modelserve/internal/local"
	"github.com/modelserveai/modelserve/cmd/modelserve/internal/local/objectstore"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

func TestDeploy(t *testing.T) {
	t.Parallel()
	functions := `{"functions":[{"name":"text-detect","models":["text-detect@1"]}]}`
	server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
		"GET /v1/functions": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, functions)
			// From then on the platform has read the manifest.
			functions = `{"functions":[{"name":"churn","url":"http://churn.default.localhost:8080/","models":["churn@2"]}]}`
		},
	})
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.model("b.onnx", onnxtest.Scale(3, 4))
	s.must("models", "push", "churn", "a.onnx")
	s.must("models", "push", "churn", "b.onnx")
	s.must("models", "push", "text-detect", "b.onnx")
	s.must("models", "push", "7up", "b.onnx")

	want, err := os.ReadFile("testdata/churn.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.wants(string(want), "deploy", "churn@1", "--dry-run", "--min-scale", "1", "--max-scale", "3")
	s.fails(exitFailed, `no published version 9`, "deploy", "churn@9")
	s.fails(exitFailed, "begins with a letter", "deploy", "7up")
	s.fails(exitUsage, "--max-scale", "deploy", "churn", "--min-scale", "2", "--max-scale", "1")
	s.fails(exitUsage, "--image", "deploy", "churn", "--image", "a\nb")
	s.fails(exitUsage, "--apply=ko builds", "deploy", "churn", "--apply", "kubectl")

	out := s.steady(s.must("deploy", "churn"))
	if !strings.Contains(out, "churn@2\n  manifest  DIR/.modelserve/services/churn.yaml\n") || !strings.Contains(out, "`make run` will serve it") {
		t.Errorf("without a platform: %s", out)
	}
	s.wants("churn@2\n  manifest  DIR/out/churn.yaml\n\napply it with: ko apply -f DIR/out/churn.yaml\n", "deploy", "churn", "--output-dir", "out")

	// A platform that runs: this process stands in for it.
	state, err := json.Marshal(map[string]any{"server": server.URL, "pid": os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := local.OpenStore(t.Context(), filepath.Join(s.dir, stateDir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	if err := os.WriteFile(filepath.Join(s.dir, stateDir, platformFile), state, 0o600); err != nil {
		t.Fatal(err)
	}
	s.vars = map[string]string{
		"MODELSERVE_KEY": "ms_test_key", "MODELSERVE_S3_ENDPOINT": opened.Endpoint, "MODELSERVE_S3_BUCKET": objectstore.Bucket, "MODELSERVE_S3_PATH_STYLE": "true",
		"MODELSERVE_S3_ACCESS_KEY_ID": opened.AccessKeyID, "MODELSERVE_S3_SECRET_ACCESS_KEY": opened.SecretAccessKey,
	}
	s.fails(exitFailed, "is a function already", "deploy", "text-detect")
	out = s.must("deploy", "churn")
	if !strings.Contains(out, "URL       http://churn.default.localhost:8080/\n") || !strings.Contains(out, " http://churn.default.localhost:8080/v2/models/churn/infer\n") {
		t.Errorf("deployed: %s", out)
	}
	s.fails(exitFailed, "the platform lists churn with churn@2", "deploy", "churn@1", "--timeout", "1ms")
}
