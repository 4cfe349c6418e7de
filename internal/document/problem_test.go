package document_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/internal/document"
	"github.com/modelserveai/modelserve/problem"
)

func TestProblemHasEachFault(t *testing.T) {
	t.Parallel()
	err := document.Problem(fmt.Errorf("read: %w", document.Faults{{Path: "spec.steps[0].name", Line: 3, Detail: "expected a name"}, {Detail: "expected more"}}))
	want := []problem.Field{{Field: "spec.steps[0].name", Detail: "line 3: expected a name"}, {Field: "body", Detail: "expected more"}}
	if problem.CodeOf(err) != problem.InvalidArgument {
		t.Fatalf("%v", err)
	}
	if diff := cmp.Diff(want, problem.From(err).Fields); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	other := errors.New("disk")
	if got := document.Problem(other); got != other { //nolint:errorlint // the same one
		t.Errorf("%v", got)
	}
}
