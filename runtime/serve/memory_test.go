package serve

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// TestTakeBeyondAll holds that a request is refused at once when it could wait
// for ever, and to come back when others hold what it needs.
func TestTakeBeyondAll(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		others, own, more int64
		code              problem.Code
		detail            string
		waits             bool
	}{
		"all at once":                 {0, 0, 100, "", "", false},
		"more than all at once":       {0, 0, 101, problem.PayloadTooLarge, "needs 101 bytes of memory; 100 are", false},
		"the last that is free":       {0, 60, 40, "", "", false},
		"more than all, in two steps": {0, 60, 41, problem.PayloadTooLarge, "needs 41 bytes of memory beside the 60 that it holds; 100 are", false},
		"far more":                    {0, 60, 1<<63 - 1, problem.PayloadTooLarge, "beside the 60", false},
		"others hold it":              {30, 60, 40, problem.Overloaded, "in use", true},
		"too much, whoever holds it":  {30, 60, 41, problem.PayloadTooLarge, "beside the 60", false},
		"nothing more":                {0, 100, 0, "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(Limits{Inflight: 100, InflightWait: time.Second})
				others, own := m.hold(), m.hold()
				if err := errors.Join(others.take(t.Context(), tc.others), own.take(t.Context(), tc.own)); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				err := own.take(t.Context(), tc.more)
				if problem.CodeOf(err) != tc.code || err != nil && !strings.Contains(err.Error(), tc.detail) {
					t.Errorf("got %v, want %q: %q", err, tc.code, tc.detail)
				}
				if waited := time.Since(began); (waited > 0) != tc.waits {
					t.Errorf("waited %s", waited)
				}
				others.end()
				own.end()
				if !m.free.TryAcquire(100) {
					t.Error("not everything came back")
				}
			})
		})
	}
}
