package operation_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
)

// putOutput may have another status than the operation's.
type putOutput struct {
	Status int `or:"201"`
	Body   struct {
		Name string `json:"name"`
	}
}

// linesOutput is written while it is made.
type linesOutput struct {
	Body operation.Stream `media:"application/jsonl"`
}

// serve makes an API of one operation and asks it.
func serve[Out any](t *testing.T, answer *Out) (*httptest.ResponseRecorder, string, error) {
	t.Helper()
	set := operation.NewSet(document(), byScopes{})
	operation.Add(set, operation.Operation{Method: http.MethodGet, Pattern: "/things", ID: "get", Summary: "Get"},
		func(context.Context, *call.Call, *struct{}) (*Out, error) { return answer, nil })
	endpoints, described, err := set.Finish()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	err = endpoints[0].Serve(&call.Call{}, w, httptest.NewRequest(http.MethodGet, "/things", nil))
	return w, string(described), err
}

func TestAnOutputMayHaveAnotherStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]int{0: 200, 200: 200, 201: 201} {
		w, described, err := serve(t, &putOutput{Status: status})
		if err != nil || w.Code != want || !strings.Contains(described, `"200":`) || !strings.Contains(described, `"201":`) {
			t.Errorf("%d: %d %s %v", status, w.Code, w.Body, err)
		}
	}
}

func TestAStreamIsWrittenWhileItIsMade(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	lines := func(n int, end error) *linesOutput {
		return &linesOutput{func(w io.Writer) error {
			for range n {
				if _, err := io.WriteString(w, "{}\n"); err != nil {
					return err
				}
			}
			return end
		}}
	}
	for n, body := range map[int]string{0: "", 2: "{}\n{}\n"} {
		w, described, err := serve(t, lines(n, nil))
		if err != nil || w.Code != http.StatusOK || w.Body.String() != body || w.Header().Get("Content-Type") != "application/jsonl" ||
			!strings.Contains(described, `"application/jsonl"`) {
			t.Errorf("%d: %d %v %s %v", n, w.Code, w.Header(), w.Body, err)
		}
	}
	if w, _, err := serve(t, lines(0, broken)); !errors.Is(err, broken) || w.Body.Len() > 0 {
		t.Errorf("%s %v", w.Body, err)
	}
	defer func() {
		if cause, _ := recover().(error); !errors.Is(cause, http.ErrAbortHandler) {
			t.Errorf("it ended with %v", cause)
		}
	}()
	_, _, err := serve(t, lines(1, broken))
	t.Error("half of it looks whole:", err)
}
