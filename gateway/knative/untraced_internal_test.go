package knative

import (
	"context"
	"errors"
	"net/http/httptrace"
	"testing"
)

// TestAnUntracedContextIsOtherwiseTheSame holds that what waits for a function at zero
// loses its trace alone: why it ended is known below, as of any other call.
func TestAnUntracedContextIsOtherwiseTheSame(t *testing.T) {
	t.Parallel()
	type key struct{}
	reason := errors.New("the platform stops")
	ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "kept"))
	c := untraced{httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{})}
	if httptrace.ContextClientTrace(c) != nil {
		t.Error("it has its trace")
	}
	if c.Value(key{}) != "kept" {
		t.Error("a value is lost")
	}
	child, stop := context.WithCancel(c)
	defer stop()
	cancel(reason)
	<-child.Done()
	if !errors.Is(context.Cause(c), reason) || !errors.Is(context.Cause(child), reason) {
		t.Errorf("it ended because of %v, below %v", context.Cause(c), context.Cause(child))
	}
}
