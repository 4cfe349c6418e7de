package historytest

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
)

// of makes a history of "TYPE STEP" events and of steps' statuses.
func of(status contract.Status, events, steps string) *history {
	h := &history{execution: contract.Execution{ID: "x1", Status: status, Output: []byte("3")}}
	for i, text := range strings.Split(events, ", ") {
		kind, step, _ := strings.Cut(text, " ")
		e := contract.Event{ID: "x1." + strconv.Itoa(i+1), Type: "dev.modelserve." + kind + ".v1", Subject: step}
		if strings.HasPrefix(kind, "execution.") {
			e.Data.Status = contract.Status(strings.TrimPrefix(kind, "execution."))
		}
		h.events = append(h.events, e)
	}
	now := time.Now()
	for text := range strings.FieldsSeq(steps) {
		name, is, _ := strings.Cut(text, ":")
		h.execution.Steps = append(h.execution.Steps, contract.Step{Name: name, Status: contract.Status(is), Attempts: 1, StartedAt: &now, FinishedAt: &now})
	}
	return h
}

const (
	begun = "execution.accepted, execution.started, step.started a, step.succeeded a, step.started b, "
	whole = begun + "step.succeeded b, execution.succeeded"
	both  = "a:succeeded b:succeeded"
)

// TestWhatIsWrongWithAHistory holds that the checker finds what it is for.
func TestWhatIsWrongWithAHistory(t *testing.T) {
	t.Parallel()
	failed := of(contract.Failed, begun+"step.failed b, execution.failed", "a:succeeded b:failed")
	failed.execution.Error = &contract.Failure{Code: problem.InvalidArgument}
	failed.letters = []contract.DeadLetter{{Execution: "x1", Step: "b"}}
	unreported := of(contract.Failed, begun+"step.failed b, execution.failed", "a:succeeded b:failed")
	unreported.execution.Error = failed.execution.Error
	late := of(contract.Failed, begun+"execution.failed", "a:succeeded b:cancelled")
	late.execution.Error = &contract.Failure{Code: problem.DeadlineExceeded}
	other := of(contract.Succeeded, whole, both)
	other.execution.Output = []byte("4")
	gap := of(contract.Succeeded, whole, both)
	gap.events[2].ID = "x1.9"
	letter := of(contract.Succeeded, whole, both)
	letter.letters = failed.letters
	for name, tc := range map[string]struct {
		h    *history
		want string // in the first fault; "" is none
	}{
		"it succeeded":                     {of(contract.Succeeded, whole, both), ""},
		"it failed":                        {failed, ""},
		"its time was over":                {late, ""},
		"it failed, and is not reported":   {unreported, "0 dead letters"},
		"it succeeded, and is reported":    {letter, "1 dead letters"},
		"another output":                   {other, "output is 4"},
		"an event is missing":              {gap, "has the id x1.9"},
		"it ended twice":                   {of(contract.Succeeded, whole+", execution.succeeded", both), "ended 2 times"},
		"it went on after its end":         {of(contract.Succeeded, whole+", step.started c", both), "ended 1 times"},
		"it has not ended":                 {of(contract.Running, begun+"step.succeeded b", both), "ended 0 times"},
		"it ended otherwise":               {of(contract.Succeeded, begun+"step.succeeded b, execution.failed", both), "it is succeeded"},
		"it began twice":                   {of(contract.Succeeded, "execution.started, "+whole, both), "begun once"},
		"a step began twice":               {of(contract.Succeeded, strings.Replace(whole, "step.started a", "step.started a, step.started a", 1), both), "step a began"},
		"a step succeeded twice":           {of(contract.Succeeded, strings.Replace(whole, "step.succeeded a", "step.succeeded a, step.succeeded a", 1), both), "step a began"},
		"a step has no end":                {of(contract.Succeeded, strings.Replace(whole, "step.succeeded a, ", "", 1), both), "step a is succeeded"},
		"a step is missing":                {of(contract.Succeeded, whole, "a:succeeded"), "its steps are [a]"},
		"a step failed, and it did not":    {of(contract.Succeeded, whole, "a:succeeded b:failed"), "step b is failed"},
		"it was cancelled, and by nobody":  {of(contract.Cancelled, begun+"execution.cancelled", "a:succeeded b:cancelled"), "nobody asked"},
		"there is nothing of it, but ends": {of(contract.Succeeded, "execution.succeeded", both), "begun once"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults := tc.h.faults([]string{"a", "b"}, "3")
			if tc.want == "" && len(faults) > 0 || tc.want != "" && (len(faults) == 0 || !strings.Contains(faults[0].Error(), tc.want)) {
				t.Errorf("got %v, want %q", faults, tc.want)
			}
		})
	}
}

func TestListsThatAreNotWhatWasAccepted(t *testing.T) {
	t.Parallel()
	accepted := map[string]string{"k1": "x1", "k2": "x2"}
	for listed, want := range map[string]int{"x1 x2": 0, "x2 x1": 0, "x1": 1, "x1 x2 x3": 1, "x1 x1 x2": 1, "x1 x1 x3": 3} {
		if got := unequal(accepted, strings.Fields(listed)); len(got) != want {
			t.Errorf("%s: %v", listed, got)
		}
	}
}
