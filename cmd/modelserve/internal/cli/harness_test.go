package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/local"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// shell runs commands in a folder of its own.
type shell struct {
	t        *testing.T
	dir      string
	vars     map[string]string
	in       string
	terminal bool

	outTerminal, errTerminal bool
}

// result is what a command did.
type result struct {
	code     int
	out, err string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	return &shell{t: t, dir: t.TempDir(), vars: map[string]string{}}
}

func (s *shell) run(args ...string) result {
	s.t.Helper()
	var out, err bytes.Buffer
	code := Run(s.t.Context(), args, Env{
		In: strings.NewReader(s.in), Out: &out, Err: &err, InTerminal: s.terminal, OutTerminal: s.outTerminal, ErrTerminal: s.errTerminal,
		Vars: s.vars, Dir: s.dir,
	})
	return result{code, out.String(), err.String()}
}

// must runs a command that must succeed.
func (s *shell) must(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	if r.code != exitOK {
		s.t.Fatalf("modelserve %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r.out
}

// fails runs a command that must exit with code and say want.
func (s *shell) fails(code int, want string, args ...string) {
	s.t.Helper()
	r := s.run(args...)
	if r.code != code || !strings.Contains(r.err, want) || !strings.Contains(r.err, "modelserve: ") {
		s.t.Errorf("modelserve %s: exit %d, want %d and %q:\n%s%s", strings.Join(args, " "), r.code, code, want, r.out, r.err)
	}
	if r.out != "" {
		s.t.Errorf("modelserve %s failed and printed %q", strings.Join(args, " "), r.out)
	}
}

// withPlatform gives the shell's folder the data of a platform that has run
// and stopped, with keys to sign with.
func (s *shell) withPlatform() *shell {
	s.t.Helper()
	data := filepath.Join(s.dir, stateDir)
	opened, err := local.OpenStore(s.t.Context(), data)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := opened.Close(); err != nil {
		s.t.Fatal(err)
	}
	if _, err := sign.CreateKeys(filepath.Join(data, "signing.key"), filepath.Join(data, "signing.pub")); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, keyFile), []byte("ms_local_secret\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s
}

// model writes a model into the shell's folder.
func (s *shell) model(name string, m onnxtest.Model) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), m.Marshal(), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// steady replaces what differs from machine to machine: digests, the optimised
// copy's size and target, and what was measured.
func (s *shell) steady(text string) string {
	text = strings.ReplaceAll(text, s.dir, "DIR")
	text = regexp.MustCompile(`sha256:[0-9a-f]+`).ReplaceAllString(text, "sha256:…")
	text = regexp.MustCompile(`model.ort .*`).ReplaceAllString(text, "model.ort …")
	text = regexp.MustCompile(`(?m)^  (speed|memory)( +)[^\n]*[0-9][^\n]*$`).ReplaceAllString(text, "  $1$2…")
	text = regexp.MustCompile(`(?m)^[0-9]+ .* [0-9.]+x\n`).ReplaceAllString(text, "")
	return regexp.MustCompile(`(?m)  [0-9a-f]{12}$`).ReplaceAllString(text, "  …")
}

func (s *shell) wants(want string, args ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.steady(s.must(args...))); diff != "" {
		s.t.Errorf("modelserve %s (-want +got):\n%s", strings.Join(args, " "), diff)
	}
}
