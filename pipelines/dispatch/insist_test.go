package dispatch

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// hanging is a store that does not answer at first.
type hanging struct {
	decide.Store

	hangs int
}

func (s *hanging) Load(ctx context.Context, id string) (*record.Loaded, error) {
	if s.hangs--; s.hangs >= 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &record.Loaded{Execution: &execution.Execution{ID: id, Tenant: "acme"}}, nil
}

// TestWhatCameOfAnEventWaitsForADatabaseThatHangs holds that an answer in hand is decided
// on when the database answers again, and is not left to the lease, which would run the
// step again.
func TestWhatCameOfAnEventWaitsForADatabaseThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &hanging{hangs: 3}
		decider, err := decide.New(decide.Config{MaxValues: 1 << 20}, store, nil)
		if err != nil {
			t.Fatal(err)
		}
		d, err := New(Config{}, Deps{Decider: decider, Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		decided := 0
		m := &message{branch: execution.Branch{BranchID: execution.BranchID{Execution: "x1"}}, left: 10 * time.Minute}
		d.insist(t.Context(), m, func(context.Context, *decide.State) (execution.Change, error) {
			decided++
			return execution.Change{}, nil
		})
		if decided != 1 {
			t.Errorf("it was decided on %d times", decided)
		}
		if err := d.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
