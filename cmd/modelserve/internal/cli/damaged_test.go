package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// damage cuts short what the store here has of a version's object.
func (s *shell) damage(object string) {
	s.t.Helper()
	path := filepath.Join(s.dir, stateDir, "s3", "buckets", "modelserve", "models", object+"~")
	if err := os.Truncate(path, 20); err != nil {
		s.t.Fatal(err)
	}
}

// TestDamagedVersionsKeepTheirNumber: callers who named the number would get
// another model, and those who named none an older one, both with 200.
func TestDamagedVersionsKeepTheirNumber(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 3))
	s.model("b.onnx", onnxtest.Scale(3, 8))
	s.model("c.onnx", onnxtest.Scale(3, 5))
	s.must("models", "push", "churn", "a.onnx")
	s.must("models", "push", "churn", "b.onnx")
	s.damage("churn/2/model.json")

	if out := s.must("models", "list"); !strings.Contains(out, "unreadable: ") || !strings.Contains(out, "churn@2: model.json: damaged") {
		t.Errorf("models list:\n%s", out)
	}
	s.fails(exitFailed, "damaged", "models", "verify", "churn")
	s.fails(exitFailed, "damaged", "models", "push", "churn", "c.onnx", "--version", "2")
	if out := s.must("models", "push", "churn", "c.onnx"); !strings.HasPrefix(out, "published churn@3\n") {
		t.Errorf("the next push:\n%s", out)
	}

	s.damage("churn/3/model.json")
	s.must("models", "delete", "churn@3", "--yes")
	if out := s.must("models", "push", "churn", "c.onnx"); !strings.HasPrefix(out, "published churn@4\n") {
		t.Errorf("after a damaged version was deleted:\n%s", out)
	}
}

// TestDamagedPolicy is followed by nobody, and begun afresh on request.
func TestDamagedPolicy(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 3))
	s.must("models", "push", "churn", "a.onnx")
	s.must("models", "alias", "churn", "stable=1")
	s.damage("churn/policy.json")
	s.fails(exitFailed, "damaged", "models", "alias", "churn", "next=1")
	s.must("models", "alias", "churn", "next=1", "--reset")
	var all struct {
		Models []modelSummary `json:"models"`
	}
	if err := json.Unmarshal([]byte(s.must("models", "list", "-o", "json")), &all); err != nil || len(all.Models) != 1 || len(all.Models[0].Aliases) != 1 || all.Models[0].Aliases["next"] != 1 {
		t.Errorf("afterwards: %+v, %v", all, err)
	}
}
