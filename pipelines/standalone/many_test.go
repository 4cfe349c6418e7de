package standalone

import (
	"net/http"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/contract"
)

// TestExecutionsMakeNoObjects holds that executions change nothing at the API server,
// however many there are: a version's objects are made once.
func TestExecutionsMakeNoObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.run(t)
	if status, body := r.ask(t, http.MethodPost, contract.PipelinesPath, "acme", []byte(twoSteps)); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	start := func() {
		t.Helper()
		if status, body := r.ask(t, http.MethodPost, contract.PathOf(contract.StartPath, "two"), "acme", []byte(`{"content": "aGk="}`)); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
	}
	sent := func(n int) {
		t.Helper()
		patience := time.After(10 * time.Minute)
		for i := range n {
			select {
			case <-w.events:
			case <-patience:
				t.Fatalf("%d of %d events were sent", i, n)
			}
		}
	}
	start()
	eventually(t, "its objects are there", func() error { return w.has(t, compile.Sequence("acme", "two", 1, 0)) })
	if err := w.cluster.Report(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	sent(1)
	before := len(w.cluster.Actions())
	const n = 60 // fewer than run at once
	for range n {
		start()
	}
	sent(n)
	for _, action := range w.cluster.Actions()[before:] {
		if verb := action.GetVerb(); verb != "get" && verb != "list" && verb != "watch" {
			t.Errorf("%s of %s", verb, action.GetResource())
		}
	}
	if err := r.stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}
