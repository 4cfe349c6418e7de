package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

const pinning = `apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: risk}
spec:
  template:
    spec:
      containers:
        - image: ko://github.com/modelserveai/modelserve/functions/onnx
          env: [{name: MODELSERVE_MODELS, value: "other@2, churn@1"}]
`

// canary is pinning with most of the traffic to its revision of before, which
// remembered records as serving another version.
const (
	canary = pinning + `  traffic: [{revisionName: risk-00001, percent: 90}, {latestRevision: true, percent: 10}]
`
	remembered = `{"risk": {"next": 2, "revisions": [{"name": "risk-00001", "fingerprint": "x",
		"template": {}, "env": [{"name": "MODELSERVE_MODELS", "value": "churn@2"}]}]}}`
)

// TestDeleteNamesServicesThatPin holds that no model is deleted without a note
// that names the services that pin it.
func TestDeleteNamesServicesThatPin(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		overlay   string // a manifest in config/
		folder    string // a manifest in .modelserve/services
		revisions string // what the platform remembers
		functions string // what the platform lists
		ref       string
		want      string // "" is no note
	}{
		"a manifest in config":       {pinning, "", "", "", "churn@1", "the service risk in DIR/config/overlays/local/risk.yaml serves churn@1"},
		"a manifest of deploy's":     {"", pinning, "", "", "churn@1", "the service risk in DIR/.modelserve/services/risk.yaml serves churn@1"},
		"with the whole model":       {pinning, "", "", "", "churn", "serves churn@1"},
		"a service of the cluster":   {"", "", "", `{"name":"risk","url":"http://risk.default.models.test/","models":["churn@1"]}`, "churn@1", "the service risk at http://risk.default.models.test/ serves churn@1"},
		"a manifest and its service": {pinning, "", "", `{"name":"risk","models":["churn@1"]}`, "churn@1", "the service risk in "},
		"a revision of a canary":     {"", canary, remembered, "", "churn@2", "the revision risk-00001, to which the traffic of risk in DIR/.modelserve/services/risk.yaml goes, serves churn@2"},
		"a canary of the cluster":    {"", "", "", `{"name":"risk","url":"http://risk.test/","models":[],"mixed":["churn@1","churn@2"]}`, "churn@2", "the service risk at http://risk.test/ serves churn@2"},
		"a tag of the cluster":       {"", "", "", `{"name":"risk","url":"http://risk.test/","models":["churn@1"],"tagged":{"new":["churn@2"]}}`, "churn@2", "the service risk at http://risk.test/ serves churn@2"},
		"a revision without traffic": {"", pinning, remembered, "", "churn@2", ""},
		"another version":            {pinning, "", "", `{"name":"risk","models":["churn@1"]}`, "churn@2", ""},
		"a manifest that is broken":  {"", "kind: [", "", "", "churn@1", "cannot all be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withPlatform()
			s.model("a.onnx", onnxtest.Scale(3, 2))
			s.model("b.onnx", onnxtest.Scale(3, 4))
			s.must("models", "push", "churn", "a.onnx")
			s.must("models", "push", "churn", "b.onnx")
			if tc.overlay != "" {
				s.write("config/overlays/local/risk.yaml", tc.overlay)
				s.write("config/overlays/local/Kustomization", "resources: [risk.yaml]\n")
			}
			if tc.folder != "" {
				s.write(stateDir+"/services/risk.yaml", tc.folder)
			}
			if tc.revisions != "" {
				s.write(stateDir+"/revisions.json", tc.revisions)
			}
			if tc.functions != "" {
				server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
					"GET /v1/functions": func(w http.ResponseWriter, _ *http.Request) {
						_, _ = fmt.Fprintf(w, `{"functions":[%s]}`, tc.functions)
					},
				})
				s.write(stateDir+"/platform.json", fmt.Sprintf(`{"server": %q}`, server.URL))
				s.vars[keyVariable] = "ms_test_key"
			}
			r := s.run("models", "delete", tc.ref, "--yes")
			stderr := strings.ReplaceAll(r.err, s.dir, "DIR")
			if r.code != exitOK || !strings.Contains(stderr, tc.want) || tc.want == "" && stderr != "" || strings.Count(stderr, "note: ") > 1 {
				t.Errorf("exit %d, prints\n%s%s\nwant %q", r.code, stderr, r.out, tc.want)
			}
		})
	}
}

// TestDeleteNotesBeforeItAsks holds that the person who is asked knows.
func TestDeleteNotesBeforeItAsks(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.must("models", "push", "churn", "a.onnx")
	s.write(stateDir+"/services/risk.yaml", pinning)
	s.terminal, s.in = true, "n\n"
	r := s.run("models", "delete", "churn@1")
	note, question := strings.Index(r.err, "the service risk"), strings.Index(r.err, "for ever?")
	if r.code != exitFailed || note < 0 || question < note {
		t.Errorf("exit %d, says\n%s", r.code, r.err)
	}
}

// write puts a file into the shell's folder.
func (s *shell) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}
