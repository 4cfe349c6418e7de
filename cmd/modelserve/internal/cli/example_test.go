package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

func TestPushExample(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("reshape.onnx", onnxtest.Reshape(3))
	for name, text := range map[string]string{
		"good.json":  `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2,3],"data":[1,2,3,4,5,6]},{"name":"shape","datatype":"INT64","shape":[2],"data":[3,2]}]}`,
		"short.json": `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2,3],"data":[1,2,3,4,5,6]}]}`,
		"text.json":  "shape: [3, 2]",
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	push := []string{"models", "push", "reshape", "reshape.onnx"}
	s.fails(exitFailed, "--example request.json", push...)
	s.fails(exitFailed, "no such file", append(push, "--example", "none.json")...)
	s.fails(exitFailed, "is no inference request", append(push, "--example", "text.json")...)
	s.fails(exitFailed, `expected an input "shape"`, append(push, "--example", "short.json")...)
	s.fails(exitUsage, "leave --shape out", append(push, "--example", "good.json", "--shape", "x=1,2,3")...)

	out := s.must(append(push, "--example", "good.json")...)
	want := `-d '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2,3],"data":[0,0,0,0,0,0]},` +
		`{"name":"shape","datatype":"INT64","shape":[2],"data":[3,2]}]}' `
	if !strings.Contains(out, "published reshape@1\n") || !strings.Contains(out, want) {
		t.Errorf("push says\n%s\nwant a line that works: %s", out, want)
	}
}
