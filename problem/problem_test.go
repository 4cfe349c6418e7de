package problem_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
)

func TestTable(t *testing.T) {
	t.Parallel()
	lowerSnake := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for _, code := range problem.Codes() {
		row := code.Row()
		if !lowerSnake.MatchString(string(code)) {
			t.Errorf("code %q is not lower_snake", code)
		}
		if row.Status < 400 || row.Status > 599 || row.GRPC == 0 || row.GRPC > 16 || row.Title == "" || row.Cause == "" || row.Cure == "" {
			t.Errorf("code %q has an impossible row %+v", code, row)
		}
	}
	if got := problem.Code("never_heard_of").Row(); got != problem.Internal.Row() {
		t.Errorf("an unknown code reads as %+v", got)
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	bad := problem.Invalid("inputs[0].shape", "expected [N,3], got [1,4]")
	for name, tc := range map[string]struct {
		err  error
		code problem.Code
	}{
		"a problem":          {bad, problem.InvalidArgument},
		"a wrapped problem":  {fmt.Errorf("infer: %w", bad), problem.InvalidArgument},
		"a deadline":         {fmt.Errorf("run: %w", context.DeadlineExceeded), problem.DeadlineExceeded},
		"a cancelled caller": {context.Canceled, problem.Cancelled},
		"anything else":      {errors.New("dial tcp: secret host"), problem.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := problem.From(tc.err); got.Code != tc.code {
				t.Errorf("code %q, want %q", got.Code, tc.code)
			}
		})
	}
	if problem.From(nil) != nil || problem.CodeOf(nil) != "" {
		t.Error("no error became a problem")
	}
	if got := problem.From(errors.New("dial tcp: secret host")); regexp.MustCompile("secret").MatchString(got.Detail) {
		t.Errorf("an internal error's text leaks: %q", got.Detail)
	}
	if err := problem.New(problem.Unavailable, "fetch: %w", context.Canceled); !errors.Is(err, context.Canceled) {
		t.Error("the cause is lost")
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	err := problem.Invalid("inputs[0].shape", "expected [N,3]").WithRetryAfter(1100 * time.Millisecond)
	for name, tc := range map[string]struct {
		write       func(http.ResponseWriter, error)
		contentType string
		body        string
	}{
		"RFC 9457": {
			problem.Write, "application/problem+json",
			`{"type":"https://modelserve.dev/problems/invalid_argument","title":"Invalid argument","status":400,` +
				`"detail":"inputs[0].shape: expected [N,3]","code":"invalid_argument","request_id":"r1",` +
				`"errors":[{"field":"inputs[0].shape","detail":"expected [N,3]"}]}` + "\n",
		},
		"V2": {
			problem.WriteV2, "application/json",
			`{"error":"inputs[0].shape: expected [N,3]","code":"invalid_argument","request_id":"r1",` +
				`"errors":[{"field":"inputs[0].shape","detail":"expected [N,3]"}]}` + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			w.Header().Set(problem.RequestIDHeader, "r1")
			tc.write(w, err)
			if diff := cmp.Diff(tc.body, w.Body.String()); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if w.Code != http.StatusBadRequest || w.Header().Get("Content-Type") != tc.contentType || w.Header().Get("Retry-After") != "2" {
				t.Errorf("status %d, headers %v", w.Code, w.Header())
			}
		})
	}
}
