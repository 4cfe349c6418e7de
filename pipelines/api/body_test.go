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
