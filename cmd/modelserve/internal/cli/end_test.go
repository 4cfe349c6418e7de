package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// TestACommandThatDoesNotEndIsGivenUp holds that one signal ends every command.
func TestACommandThatDoesNotEndIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		never := make(chan struct{})
		interrupt()
		_, err := within(ctx, func() (*cobra.Command, error) { <-never; return nil, nil })
		if err == nil || !strings.Contains(err.Error(), "given up") {
			t.Errorf("ended with %v", err)
		}
		close(never)
	})
}

// TestAQuestionIsInterrupted holds that nobody has to answer first.
func TestAQuestionIsInterrupted(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.must("models", "push", "churn", "a.onnx")
	ctx, interrupt := context.WithCancel(t.Context())
	in, person := io.Pipe()
	t.Cleanup(func() { _ = person.Close() })
	var output bytes.Buffer
	code := Run(ctx, []string{"models", "delete", "churn@1"}, Env{
		In: in, Out: &output, InTerminal: true, Dir: s.dir,
		Err: writes(func(text []byte) {
			_, _ = output.Write(text)
			if strings.Contains(string(text), "for ever?") {
				interrupt()
			}
		}),
	})
	if code != exitFailed || !strings.Contains(output.String(), "interrupted") {
		t.Errorf("exit %d, prints\n%s", code, output.String())
	}
	s.must("models", "show", "churn@1")
}

// writes is a writer that passes on what is written.
type writes func(text []byte)

func (w writes) Write(text []byte) (int, error) {
	w(text)
	return len(text), nil
}

// TestNoFileHoldsACommandUp: a FIFO that nobody writes to is reported, by name,
// as any other file that cannot be read.
func TestNoFileHoldsACommandUp(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		path string // of the FIFO, in .modelserve
		code int
		want string
	}{
		"a manifest":          {servicesDir + "/x.yaml", exitOK, "services/x.yaml: expected a regular file, got a FIFO"},
		"the platform's file": {platformFile, exitFailed, "platform.json: expected a regular file, got a FIFO"},
		"the key":             {keyFile, exitFailed, "key: expected a regular file, got a FIFO"},
		"the store's keys":    {"s3/credentials.json", exitFailed, "credentials.json: expected a regular file, got a FIFO"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withPlatform()
			s.model("a.onnx", onnxtest.Scale(3, 2))
			s.must("models", "push", "churn", "a.onnx")
			path := filepath.Join(s.dir, stateDir, tc.path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(path) // some are there
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"models", "delete", "churn@1", "--yes"}
			if tc.path == keyFile {
				args = []string{"keys", "list"}
			}
			r := s.run(args...)
			if r.code != tc.code || !strings.Contains(r.err, tc.want) {
				t.Errorf("exit %d, want %d and %q:\n%s", r.code, tc.code, tc.want, r.err)
			}
		})
	}
}
