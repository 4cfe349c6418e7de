package contract_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
)

func TestPathOf(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"/v1/pipelines/read-document/versions/3": contract.PathOf(contract.VersionPath, "read-document", "3"),
		"/v1/executions/a%2Fb/events":            contract.PathOf(contract.EventsPath, "a/b"),
		"/v1/pipelines/x/executions":             contract.StartPathOf("x", 0),
		"/v1/pipelines/x/versions/2/executions":  contract.StartPathOf("x", 2),
		"/v1/dead-letters/{id}":                  contract.PathOf(contract.DeadLetterPath),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestAnExecutionIsWrittenAsTheContractHasIt holds the names of fields that clients read.
func TestAnExecutionIsWrittenAsTheContractHasIt(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	name := "read-document"
	x := contract.Execution{
		ID: "01", Pipeline: &name, Version: 3, Status: contract.Failed, Priority: 1,
		Input: json.RawMessage(`{"a":1}`), CreatedAt: at, StartedAt: &at, FinishedAt: &at,
		Labels: map[string]string{"team": "docs"},
		Error:  contract.FailureOf(problem.Invalid("image", "expected an image")),
		Steps:  []contract.Step{{Name: "detect", Status: contract.Failed, Attempts: 1, Model: "m@1"}},
	}
	got, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"01","pipeline":"read-document","version":3,"status":"failed","priority":1,"input":{"a":1},` +
		`"error":{"type":"https://modelserve.dev/problems/invalid_argument","title":"Invalid argument","status":400,` +
		`"detail":"image: expected an image","code":"invalid_argument","errors":[{"field":"image","detail":"expected an image"}]},` +
		`"steps":[{"name":"detect","status":"failed","attempts":1,"model":"m@1"}],` +
		`"created_at":"2026-12-01T10:00:00Z","started_at":"2026-12-01T10:00:00Z","finished_at":"2026-12-01T10:00:00Z","labels":{"team":"docs"}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if contract.FailureOf(nil) != nil {
		t.Error("no error became a problem")
	}
}
