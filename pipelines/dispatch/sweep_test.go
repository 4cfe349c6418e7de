package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/pipelines/values/valuestest"
)

// ended is a store of executions that are over.
type ended struct {
	Store

	left []record.Ended
	keys int64
	kept []record.Ended // until later
	bad  string         // an execution whose row cannot be read
}

func (s *ended) Expired(_ context.Context, most int) ([]record.Ended, error) {
	return slices.Clone(s.left[:min(most, len(s.left))]), nil
}

func (s *ended) Keep(_ context.Context, ids []string, _ time.Duration) error {
	s.left = slices.DeleteFunc(s.left, func(e record.Ended) bool {
		stays := slices.Contains(ids, e.ID)
		if stays {
			s.kept = append(s.kept, e)
		}
		return stays
	})
	return nil
}

// later has those expire that were kept.
func (s *ended) later() { s.left, s.kept = append(s.left, s.kept...), nil }

func (s *ended) Forget(_ context.Context, ids []string) (int64, error) {
	before := len(s.left)
	s.left = slices.DeleteFunc(s.left, func(e record.Ended) bool { return slices.Contains(ids, e.ID) })
	return int64(before - len(s.left)), nil
}

func (s *ended) Trim(_ context.Context, most int) (int64, error) {
	n := min(s.keys, int64(most))
	s.keys -= n
	return n, nil
}

func (s *ended) Load(_ context.Context, id string) (*record.Loaded, error) {
	if id == s.bad {
		return nil, errors.New("unexpected end of JSON input")
	}
	for _, e := range slices.Concat(s.left, s.kept) {
		if e.ID == id {
			return &record.Loaded{Execution: &execution.Execution{ID: id, Tenant: e.Tenant}}, nil
		}
	}
	return nil, record.ErrNotFound
}

// TestWhatIsOverIsRemoved holds that nothing of an execution is left after its retention,
// and that its row stays while something stored of it does.
func TestWhatIsOverIsRemoved(t *testing.T) {
	t.Parallel()
	objects := valuestest.New()
	v := values.New(objects, "b", 1<<20)
	s := &ended{keys: 2*record.MaxBatch + 5}
	for i := range 2*swept + 10 {
		id := fmt.Sprintf("x%d", i)
		s.left = append(s.left, record.Ended{Tenant: "acme", ID: id})
		if _, err := v.Store(t.Context(), "acme", id, "input", "image/png", []byte("png")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Store(t.Context(), "acme", "running", "input", "image/png", []byte("png")); err != nil {
		t.Fatal(err)
	}
	decider, err := decide.New(decide.Config{MaxValues: 1 << 20}, nil, v)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{}, Deps{Store: s, Decider: decider, Values: v, Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	away := errors.New("away")
	objects.Fail(away)
	if err := d.sweep(t.Context()); !errors.Is(err, away) || len(s.left)+len(s.kept) != 2*swept+10 {
		t.Errorf("while the values are away: %v; %d are left", err, len(s.left))
	}
	objects.Fail(nil)
	s.later()
	if err := d.sweep(t.Context()); err != nil || len(s.left) != 0 || s.keys != 0 {
		t.Errorf("%v; %d executions and %d keys are left", err, len(s.left), s.keys)
	}
	left := objects.Keys()
	if len(left) != 1 || left[0][:len("payloads/acme/running/")] != "payloads/acme/running/" {
		t.Errorf("left: %v", left)
	}
	if err := d.orphans(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(left, objects.Keys()); diff != "" { // it is new, and may be accepted yet
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := d.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if d.posts.room() != 0 || time.Since(d.lastFail) < time.Hour {
		t.Error("it goes on after its end")
	}
}

// TestWhatCannotBeRemovedKeepsNothingElse holds that retention goes on beside an execution
// whose payload the object store does not delete, and the removal of what is nobody's
// beside a row that cannot be read.
func TestWhatCannotBeRemovedKeepsNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		objects := valuestest.New()
		v := values.New(objects, "b", 1<<20)
		s := &ended{bad: "damaged"}
		for i := range swept + 10 {
			s.left = append(s.left, record.Ended{Tenant: "acme", ID: fmt.Sprintf("x%d", i)})
		}
		for _, id := range []string{"x0", "x1", "damaged", "nobodys", "a0"} {
			if _, err := v.Store(t.Context(), "acme", id, "input", "image/png", []byte("png")); err != nil {
				t.Fatal(err)
			}
		}
		decider, err := decide.New(decide.Config{MaxValues: 1 << 20}, nil, v)
		if err != nil {
			t.Fatal(err)
		}
		d, err := New(Config{}, Deps{Store: s, Decider: decider, Values: v, Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		objects.Keep("payloads/acme/x0/")
		if err := d.sweep(t.Context()); err == nil || len(s.left) != 0 || len(s.kept) != 1 || s.kept[0].ID != "x0" {
			t.Errorf("%v; %d are left", err, len(s.left))
		}
		for i := range swept { // more than one look has, of one tenant
			id := fmt.Sprintf("y%d", i)
			s.left = append(s.left, record.Ended{Tenant: "denied", ID: id})
			if _, err := v.Store(t.Context(), "denied", id, "input", "image/png", []byte("png")); err != nil {
				t.Fatal(err)
			}
		}
		s.left = append(s.left, record.Ended{Tenant: "acme", ID: "last"})
		objects.Keep("payloads/denied/")
		for len(s.left) > 0 && !t.Failed() {
			before := len(s.left)
			if err := d.sweep(t.Context()); len(s.left) == before {
				t.Errorf("%v; %d are left", err, before)
			}
		}
		if slices.Contains(s.kept, record.Ended{Tenant: "acme", ID: "last"}) {
			t.Error("one of another tenant was not removed")
		}
		objects.Keep("payloads/acme/x0/")
		s.kept = slices.DeleteFunc(s.kept, func(e record.Ended) bool { return e.Tenant == "denied" })
		time.Sleep(2 * grace)
		objects.Keep("payloads/acme/a0/")
		if err := d.orphans(t.Context()); err == nil {
			t.Error("what could not be removed is not reported")
		}
		objects.Keep("payloads/acme/x0/")
		if err := d.orphans(t.Context()); err != nil {
			t.Error(err)
		}
		left := objects.Keys()
		if len(left) != 2 || !strings.HasPrefix(left[0], "payloads/acme/damaged/") || !strings.HasPrefix(left[1], "payloads/acme/x0/") {
			t.Errorf("left: %v", left)
		}
		objects.Keep("")
		s.later()
		if err := d.sweep(t.Context()); err != nil || len(s.left) != 0 {
			t.Errorf("%v; %d are left", err, len(s.left))
		}
		if err := d.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
