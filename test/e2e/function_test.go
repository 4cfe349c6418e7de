package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/test/platformtest"
)

// TestTutorial follows docs/tutorial.md in an empty home, and holds its
// files to those of examples/function.
func TestTutorial(t *testing.T) {
	t.Parallel()
	root := platformtest.Root(t)
	p := newPage(t, root)
	p.follow(blocksOf(t, filepath.Join(root, "docs", "tutorial.md")))
	if len(p.files) < 4 {
		t.Errorf("the page has only %d files", len(p.files))
	}
	for name, text := range p.files {
		want, err := os.ReadFile(filepath.Join(root, "examples", "function", name))
		if err != nil || !bytes.Equal(want, []byte(text)) {
			t.Errorf("%s is not as in examples/function (%v): copy it into the page", name, err)
		}
	}
}

// exampleFunction copies examples/function out of the repository, so that
// nothing is found by lying in it, and tests it there; then it gives the model a
// service of its own by that function, on a platform that runs elsewhere.
func exampleFunction(t *testing.T, p *platform) {
	home := t.TempDir()
	folder := copyExample(t, home)
	in := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = folder, outside(t, home)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	in("go", "mod", "tidy", "-diff")
	in("go", "test", "./...")
	data := filepath.Join(p.Dir, ".modelserve")
	in(p.CLI, "--data", data, "models", "push", "language-detect", "language-detect.onnx")
	out := in(p.CLI, "--data", data, "deploy", "language-detect", "--image", "ko://example.com/language-detect", "--timeout", "10m")
	if !strings.Contains(out, "http://language-detect."+p.Domain) {
		t.Errorf("deploy printed\n%s", out)
	}
	for text, want := range map[string]string{"Wo ist der Bahnhof?": "de", "Where is the station?": "en", "Où est la gare ?": "fr"} {
		res := p.must(t, request{host: p.Host("language-detect"), path: "/", body: []byte(text), header: map[string]string{"Content-Type": "text/plain"}})
		if res.status != http.StatusOK || !bytes.Contains(res.body, []byte(fmt.Sprintf(`"language":%q`, want))) {
			t.Errorf("%s: %d %s", text, res.status, res.body)
		}
	}
	res := p.must(t, request{host: p.Host("language-detect"), path: "/", body: []byte("42"), header: map[string]string{"Content-Type": "text/plain"}})
	if res.status != http.StatusBadRequest || res.code() != "invalid_argument" {
		t.Errorf("no letters: %d %s", res.status, res.body)
	}
}

// outside is the environment of a user with an empty home: of this one's, it has
// Go's own folders and settings.
func outside(t *testing.T, home string) []string {
	t.Helper()
	var env []string
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); name != "HOME" && !strings.HasPrefix(name, "XDG_") && !strings.HasPrefix(name, "MODELSERVE_") {
			env = append(env, e)
		}
	}
	for _, name := range []string{"GOCACHE", "GOENV", "GOMODCACHE", "GOPATH"} {
		value, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		if err != nil {
			t.Fatalf("go env %s: %v", name, err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	return append(env, "HOME="+home)
}
