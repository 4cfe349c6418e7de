package problem_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// TestAStepsProblemFitsADeadLetter holds that what decides comes first, and that the
// whole of it is short, whatever the texts are.
func TestAStepsProblemFitsADeadLetter(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	for name, tc := range map[string]struct {
		err  error
		step string
		id   string
		want string // how it begins
	}{
		"short":           {problem.Invalid("image", "expected an image"), "detect", "r1", `{"code":"invalid_argument","retry_after":0,"step":"detect","rows":8,"compute_ms":12.5,"status":400,"request_id":"r1","detail":"image: expected an image","title"`},
		"retried":         {problem.New(problem.Overloaded, "full").WithRetryAfter(1500 * time.Millisecond), "detect", "", `{"code":"overloaded","retry_after":2,"step":"detect"`},
		"before the plan": {problem.New(problem.PermissionDenied, "no ticket"), "", "", `{"code":"permission_denied","retry_after":0,"step":""`},
		"a long detail":   {problem.New(problem.InvalidArgument, "%s", strings.Repeat("x", 5000)), long, "r1", `{"code":"invalid_argument","retry_after":0,"step":"` + long + `"`},
		"escaped":         {problem.New(problem.InvalidArgument, "%s", strings.Repeat("<é\x01", 500)), long, "r1", `{"code":"invalid_argument","retry_after":0,"step":"` + long + `"`},
		"a long id":       {problem.New(problem.InvalidArgument, "no"), long, strings.Repeat("\x01", 500), `{"code":"invalid_argument","retry_after":0,"step":"` + long + `"`},
		"ours":            {fmt.Errorf("secret"), "detect", "", `{"code":"internal","retry_after":0,"step":"detect"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			w.Header().Set(problem.RequestIDHeader, tc.id)
			took := problem.Step{Name: tc.step, Rows: 8, ComputeMS: 12.5}
			problem.WriteStep(w, tc.err, took)
			text := w.Body.String()
			if len(text) > problem.MaxStep || !json.Valid([]byte(text)) || !strings.HasPrefix(text, tc.want) || strings.Contains(text, "secret") {
				t.Errorf("%d bytes: %s", len(text), text)
			}
			e, step, ok := problem.ParseStep([]byte(text))
			if want := problem.From(tc.err); !ok || step != took || e.Code != want.Code || w.Code != want.Code.Row().Status {
				t.Errorf("read as %v, %+v, %v; status %d", e, step, ok, w.Code)
			}
		})
	}
	if _, _, ok := problem.ParseStep([]byte("upstream connect error")); ok {
		t.Error("a proxy's text is a problem")
	}
}

// TestTheProblemOfAnEventIsShort holds that an event's answer is the usual one where that
// is short, and never longer than a step's.
func TestTheProblemOfAnEventIsShort(t *testing.T) {
	t.Parallel()
	for most, err := range map[int]error{300: problem.Invalid("id", "expected it"), problem.MaxStep: problem.Invalid("id", "%s", strings.Repeat("x", 400))} {
		w, usual := httptest.NewRecorder(), httptest.NewRecorder()
		problem.WriteEvent(w, err)
		problem.Write(usual, err)
		if w.Code != usual.Code || w.Body.Len() > most || !strings.Contains(w.Body.String(), "invalid_argument") {
			t.Errorf("%d, %d bytes: %s", w.Code, w.Body.Len(), w.Body)
		}
		if usual.Body.Len() <= problem.MaxStep && w.Body.String() != usual.Body.String() {
			t.Errorf("got %s, and usually it is %s", w.Body, usual.Body)
		}
	}
}
