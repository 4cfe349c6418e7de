package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

func TestPushMaxElements(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	for given, tc := range map[string]struct {
		code int
		want string
	}{
		"0":   {exitUsage, "--max-elements: expected a positive integer, got 0"},
		"-3":  {exitUsage, "--max-elements: expected a positive integer, got -3"},
		"all": {exitUsage, "--max-elements"},
		"2":   {exitFailed, "was run with 3 elements"},
	} {
		s.fails(tc.code, tc.want, "models", "push", "churn", "a.onnx", "--max-elements", given)
	}
	for _, tc := range []struct{ want, args string }{
		{"published churn@1\n", "--max-elements 30"},
		{"churn@1 is published already", "--max-elements 30"},
		{"churn@1 is published already", ""},
		{"it keeps the bounds that it was published with", "--max-elements 60 --version 1"},
		{"published churn@2\n", "--max-elements 60"},
	} {
		if out := s.must(append([]string{"models", "push", "churn", "a.onnx"}, strings.Fields(tc.args)...)...); !strings.Contains(out, tc.want) {
			t.Errorf("push %s says\n%swant %q", tc.args, out, tc.want)
		}
	}
	var shown struct {
		MaxElements int64 `json:"max_elements"`
	}
	if err := json.Unmarshal([]byte(s.must("models", "show", "churn@1", "-o", "json")), &shown); err != nil || shown.MaxElements != 30 {
		t.Errorf("show tells %+v, %v", shown, err)
	}
}
