package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/local"
	"github.com/modelserveai/modelserve/local/objectstore"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

func TestDeploy(t *testing.T) {
	t.Parallel()
	functions := `{"functions":[{"name":"text-detect","models":["text-detect@1"]}]}`
	server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
		"GET /v1/functions": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, functions)
			// From then on the platform has read the manifest.
			functions = `{"functions":[{"name":"churn","url":"http://churn.default.localhost:8080/","state":"idle","models":["churn@2"]}]}`
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
	out := s.must("deploy", "churn@1", "--dry-run", "--min-scale", "1", "--max-scale", "3", "--concurrency", "16")
	out = regexp.MustCompile(`memory: [0-9]+Mi`).ReplaceAllString(out, "memory: …") // as measured here
	if diff := cmp.Diff(string(want), out); diff != "" {
		t.Errorf("the manifest (-want +got):\n%s", diff)
	}
	if out := s.must("deploy", "churn", "--dry-run"); !regexp.MustCompile(`autoscaling.knative.dev/target: "[1-9][0-9]*"\n`).MatchString(out) {
		t.Errorf("nothing follows from the measurements:\n%s", out)
	}
	s.fails(exitUsage, "--concurrency: expected 1 to 1000, or 0", "deploy", "churn", "--concurrency", "-1")
	s.fails(exitFailed, `no published version 9`, "deploy", "churn@9")
	s.fails(exitFailed, "begins with a letter", "deploy", "7up")
	s.fails(exitUsage, "--max-scale", "deploy", "churn", "--min-scale", "2", "--max-scale", "1")
	s.fails(exitUsage, "--image", "deploy", "churn", "--image", "a\nb")
	s.fails(exitUsage, "--apply=ko builds", "deploy", "churn", "--apply", "kubectl")

	out = s.steady(s.must("deploy", "churn"))
	if !strings.Contains(out, "churn@2\n  manifest  DIR/.modelserve/services/churn.yaml\n") || !strings.Contains(out, "`make run`, or `modelserve dev` where that ran before, will serve it") {
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
	s.must("deploy", "churn")
	s.fails(exitFailed, "is written, but not served: the platform has not looked at it after 1ms", "deploy", "churn@1", "--timeout", "1ms")
	s.fails(exitUsage, "--output-dir writes the manifest for a cluster", "deploy", "churn", "--image", "registry.example.org/onnx")
}

// roundTrip answers requests without a network.
type roundTrip func() (string, error)

func (f roundTrip) RoundTrip(*http.Request) (*http.Response, error) {
	body, err := f()
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}, err
}

func TestWaitFor(t *testing.T) {
	t.Parallel()
	const (
		old      = `{"name":"churn","state":"idle","models":["churn@1"]}`
		building = `{"name":"churn","state":"building","models":["churn@1"]}`
		failed   = `{"name":"churn","state":"failed","reason":"it does not build","models":["churn@2"]}`
		refused  = `{"name":"churn","state":"idle","reason":"no such field","models":["churn@1"]}`
		served   = `{"name":"churn","state":"idle","models":["churn@2"]}`
	)
	type listed struct {
		from time.Duration // since the manifest was written
		row  string
	}
	for name, tc := range map[string]struct {
		before *function
		list   []listed
		want   string // of the error; "" is served
		took   time.Duration
	}{
		"new":                     {list: []listed{{0, served}}},
		"new, and looked at late": {list: []listed{{time.Second, served}}, took: time.Second},
		"built first":             {list: []listed{{0, building}, {20 * time.Second, served}}, took: 20 * time.Second},
		"another version": {
			before: &function{State: "idle", Models: []string{"churn@1"}},
			list:   []listed{{0, old}, {time.Second, building}, {5 * time.Second, served}}, took: 5 * time.Second,
		},
		"other settings of the version": {
			before: &function{State: "idle", Models: []string{"churn@2"}},
			list:   []listed{{0, served}}, took: scanTime,
		},
		"failed before, mended": {
			before: &function{State: "failed", Reason: "it does not build", Models: []string{"churn@2"}},
			list:   []listed{{0, failed}, {time.Second, served}}, took: time.Second,
		},
		"failed":        {list: []listed{{0, building}, {time.Second, failed}}, want: "the platform reports: it does not build", took: time.Second},
		"refused":       {list: []listed{{0, refused}}, want: "the platform reports: no such field after 1m0s", took: time.Minute},
		"never listed":  {want: "the platform has not looked at it after 1m0s; its log", took: time.Minute},
		"never served":  {list: []listed{{0, old}}, want: "the platform lists churn with churn@1 after 1m0s", took: time.Minute},
		"not there":     {list: []listed{{0, "EOF"}}, want: "call http://localhost:8080: EOF"},
		"gone meantime": {list: []listed{{0, building}, {time.Second, "EOF"}}, want: "EOF", took: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				c := newClient(address{server: defaultServer})
				c.http.Transport = roundTrip(func() (string, error) {
					row := ""
					for _, l := range tc.list {
						if time.Since(start) >= l.from {
							row = l.row
						}
					}
					if row == "EOF" {
						return "", io.EOF
					}
					return `{"functions":[` + row + `]}`, nil
				})
				shown := (&app{}).progress("")
				f, err := c.waitFor(t.Context(), &service{Name: "churn", Version: 2}, tc.before, time.Minute, shown)
				if tc.want == "" && (err != nil || f.Name != "churn") || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
					t.Errorf("%+v, %v, want %q", f, err, tc.want)
				}
				if took := time.Since(start); took != tc.took {
					t.Errorf("it took %s, want %s", took, tc.took)
				}
			})
		})
	}
}
