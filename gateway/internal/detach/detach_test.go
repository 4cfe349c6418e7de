package detach_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/gateway/internal/detach"
)

type key struct{}

// TestCloseEndsAndWaits holds that what runs outlives its caller, and not its
// owner.
func TestCloseEndsAndWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := detach.New()
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
		ended := false
		if err := g.Go(ctx, func(ctx context.Context) {
			if ctx.Value(key{}) != "kept" {
				t.Error("the values are lost")
			}
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
		}); err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if ended {
			t.Error("its caller's end was its own")
		}
		g.Close()
		if !ended {
			t.Error("Close did not wait")
		}
		g.Close()
		if err := g.Go(t.Context(), func(context.Context) { t.Error("runs after Close") }); !errors.Is(err, detach.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
