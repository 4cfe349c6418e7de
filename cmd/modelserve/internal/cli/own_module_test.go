package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/local"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// module writes a Go module of a main package and another one into the folder of s.
func (s *shell) module() {
	s.t.Helper()
	for name, text := range map[string]string{
		"go.mod":         "module example.com/own\n\ngo 1.26\n",
		"main.go":        "package main\n\nfunc main() {}\n",
		"codec/codec.go": "package codec\n",
	} {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

// needModelServe lets the module need ModelServe's, as this checkout has it.
func (s *shell) needModelServe() {
	s.t.Helper()
	root, err := filepath.Abs("../../../..")
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("go.mod", "module example.com/own\n\ngo 1.26\n\nrequire "+ownModule+" v0.0.0\n\nreplace "+ownModule+" => "+root+"\n")
}

// TestDeployAFunctionOfAnotherModule holds that a manifest for the platform here
// names the module that has the function, that one for a cluster does not, and that
// a package which the module does not have is refused before anything is written.
func TestDeployAFunctionOfAnotherModule(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.must("models", "push", "churn", "a.onnx")
	s.fails(exitFailed, "run deploy in the folder of the module that has it", "deploy", "churn", "--image", "ko://example.com/own")
	s.module()
	annotation := `modelserve.dev/module: "` + s.dir + `"`
	if out := s.must("deploy", "churn", "--image", "ko://example.com/own", "--dry-run"); !strings.Contains(out, annotation) {
		t.Errorf("want %s in:\n%s", annotation, out)
	}
	s.must("deploy", "churn", "--image", "ko://example.com/own")
	written, err := os.ReadFile(filepath.Join(s.dir, stateDir, servicesDir, "churn.yaml"))
	if err != nil || !strings.Contains(string(written), annotation) {
		t.Errorf("%v, want %s in:\n%s", err, annotation, written)
	}
	for name, args := range map[string][]string{
		"for a cluster":           {"--image", "ko://example.com/own", "--output-dir", "out"},
		"what ModelServe has":     {"--dry-run"},
		"what ModelServe has too": {"--image", "ko://github.com/modelserveai/modelserve/functions/text-detect", "--dry-run"},
	} {
		out := s.must(append([]string{"deploy", "churn"}, args...)...)
		if text, err := os.ReadFile(filepath.Join(s.dir, "out", "churn.yaml")); err == nil {
			out += string(text)
		}
		if strings.Contains(out, "modelserve.dev/module") {
			t.Errorf("%s: names a module:\n%s", name, out)
		}
	}
	s.fails(exitUsage, "is package codec; expected a main package", "deploy", "churn", "--image", "ko://example.com/own/codec")
	s.fails(exitFailed, "does not have example.com/none; run deploy in the folder of the module", "deploy", "churn", "--image", "ko://example.com/none")
}

// TestDevNeedsManifestsOrAModule holds the error where there is nothing to run.
func TestDevNeedsManifestsOrAModule(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.fails(exitFailed, "start this in ModelServe's checkout, or in a module whose go.mod requires it", "dev")
	s.module()
	s.fails(exitFailed, "no Go module that needs github.com/modelserveai/modelserve", "dev")
	s.fails(exitUsage, "expected the folder of a Go module with a service.yaml", "dev", "--functions", "codec")
	s.write("go.mod", "module example.com/own\n\nreq uire x\n")
	s.fails(exitFailed, "the Go module here cannot be read: go: errors parsing go.mod:\ngo.mod:3: unknown directive: req", "dev")
}

// TestDevRunsTheModulesOwnFunctionToo holds which functions run in a module's
// folders beside the pool, whatever else is named.
func TestDevRunsTheModulesOwnFunctionToo(t *testing.T) {
	t.Parallel()
	own, other := newShell(t), t.TempDir()
	own.module()
	own.needModelServe()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(own.dir, link); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		manifest bool // in the folder
		named    []string
		want     []string
	}{
		"its own alone":            {true, nil, []string{own.dir}},
		"its own beside another":   {true, []string{other}, []string{own.dir, other}},
		"its own, named too":       {true, []string{other, own.dir}, []string{other, own.dir}},
		"its own, named by a link": {true, []string{link}, []string{link}},
		"no function of its own":   {false, nil, nil},
		"another's alone, if none": {false, []string{other}, []string{other}},
	} {
		if path := filepath.Join(own.dir, "service.yaml"); tc.manifest {
			own.write("service.yaml", "")
		} else if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{own.dir, filepath.Join(own.dir, "codec")} {
			a := &app{Env: Env{Dir: dir, Err: io.Discard}}
			o := local.Options{Functions: tc.named}
			if err := a.inModule(t.Context(), &o); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, o.Functions); diff != "" {
				t.Errorf("%s, in %s (-want +got):\n%s", name, dir, diff)
			}
		}
	}
}

// TestDevFindsTheModuleFromItsFolders holds that a folder of a module has the
// module's function and data, that what is nearer is taken first, and that nothing
// is looked for above the module, or above a folder that is in none.
func TestDevFindsTheModuleFromItsFolders(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, name := range []string{"service.yaml", "own/go.mod", "own/service.yaml", "own/codec/codec.go", "own/second/service.yaml", "plain/a.txt"} {
		s.write(name, "")
	}
	for name, tc := range map[string]struct{ in, file, want string }{
		"the root":                 {"own", "service.yaml", "own/service.yaml"},
		"a folder of it":           {"own/codec", "service.yaml", "own/service.yaml"},
		"a folder with its own":    {"own/second", "service.yaml", "own/second/service.yaml"},
		"what is not there yet":    {"own/codec", stateDir, "own/" + stateDir},
		"no module":                {"plain", "service.yaml", "plain/service.yaml"},
		"no module, not there yet": {"plain", stateDir, "plain/" + stateDir},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &app{Env: Env{Dir: filepath.Join(s.dir, tc.in)}}
			if got, want := a.inModuleOf(tc.file), filepath.Join(s.dir, tc.want); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
