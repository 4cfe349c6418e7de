package api_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/modelserveai/modelserve/problem"
)

// A body that the gateway ends, as one that is too large or too slow, is refused for
// what the gateway found.
func TestABodyThatTheGatewayEnds(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("p")
	for _, code := range []problem.Code{problem.PayloadTooLarge, problem.RequestTimeout} {
		body := io.MultiReader(strings.NewReader("png"), iotest.ErrReader(problem.New(code, "it was ended")))
		if got := s.send(t.Context(), "POST", "/v1/pipelines/p/executions", body, "Content-Type", "image/png"); got.code() != code {
			t.Errorf("%d %s, want %s", got.status, got.body, code)
		}
	}
	body := io.MultiReader(strings.NewReader("png"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if got := s.send(t.Context(), "POST", "/v1/pipelines/p/executions", body, "Content-Type", "image/png"); got.code() != problem.MalformedBody {
		t.Errorf("broken off: %d %s", got.status, got.body)
	}
}

// A body whose length is not known takes no more memory than the largest one does.
func TestABodyOfUnknownLengthGrowsToTheBound(t *testing.T) {
	t.Parallel()
	const most = 5 << 18 // no power of two times what is read at first
	s := newService(t, func(c *config) { c.MaxBody, c.Memory = most, 1 })
	s.register("p")
	for size, want := range map[int]int{most: 202, most + 1: 413} {
		body := io.MultiReader(strings.NewReader(strings.Repeat("x", size)))
		got := s.send(t.Context(), "POST", "/v1/pipelines/p/executions", body, "Content-Type", "image/png", "Prefer", "respond-async")
		if got.status != want {
			t.Errorf("%d bytes: %d %s, want %d", size, got.status, got.body, want)
		}
		if want == 413 && !strings.Contains(got.body, "the body is larger than") {
			t.Errorf("%d bytes: %s", size, got.body)
		}
	}
}
