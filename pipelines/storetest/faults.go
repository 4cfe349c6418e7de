package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// Tables are those that accepting an execution with everything writes to.
func Tables() []string {
	return []string{"executions", "due", "events", "labels", "idempotency", "outputs"}
}

// Full is an execution with something for every table, not accepted yet.
func Full(id string) *record.Acceptance {
	a := acceptance(newExecution("acme", id))
	a.Execution.Labels = map[string]string{"team": "docs"}
	a.Change.Values = []execution.StepValue{{Step: "detect", Value: envelope.Value{JSON: json.RawMessage("1")}}}
	a.Key = &record.Key{Text: "key of " + id}
	return a
}

// AcceptUntil accepts executions, one after another, until one is refused, and returns
// the ids of those that were accepted.
func AcceptUntil(ctx context.Context, s record.Executions, name string, accepted func(id string)) error {
	for i := 0; ; i++ {
		a := Full(fmt.Sprintf("%s-%d", name, i))
		if _, err := s.Accept(ctx, a); err != nil {
			return err //nolint:wrapcheck // a test's
		}
		accepted(a.Execution.ID)
	}
}

// Whole checks that every execution that is stored is so with all that it was accepted
// with, and that those of ids are.
func Whole(t *testing.T, s record.Store, ids []string) {
	t.Helper()
	stored := map[string]bool{}
	query := record.Query{Tenant: "acme", Limit: record.MaxPage}
	for {
		page, err := s.List(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range page.Executions {
			stored[x.ID] = true
			whole(t, s, x.ID)
		}
		if query.After = page.Next; page.Next.IsZero() {
			break
		}
	}
	for _, id := range ids {
		if !stored[id] {
			t.Errorf("%s was accepted, and is lost", id)
		}
	}
}

func whole(t *testing.T, s record.Store, id string) {
	t.Helper()
	l, err := s.Load(t.Context(), id)
	if err != nil || len(l.Branches) != 1 {
		t.Errorf("%s: %+v, %v", id, l, err)
	}
	events, err := s.Events(t.Context(), "acme", id, 0)
	if err != nil || len(events) != 1 {
		t.Errorf("%s has %d events, %v", id, len(events), err)
	}
	values, err := s.Values(t.Context(), id, []string{"detect"})
	if err != nil || len(values) != 1 {
		t.Errorf("%s has %d outputs, %v", id, len(values), err)
	}
	again := Full(id)
	again.Execution.ID = "other"
	if got, err := s.Accept(t.Context(), again); err != nil || !got.Existing || got.Execution.ID != id {
		t.Errorf("%s is not what its key is of: %+v, %v", id, got, err)
	}
}

// Nothing checks that nothing of an execution is stored.
func Nothing(t *testing.T, s record.Store, id string) {
	t.Helper()
	_, err := s.Load(t.Context(), id)
	is(t, "loading "+id, err, record.ErrNotFound)
	values, err := s.Values(t.Context(), id, []string{"detect"})
	if err != nil || len(values) > 0 {
		t.Errorf("%s has outputs %v, %v", id, values, err)
	}
	page, err := s.List(t.Context(), record.Query{Tenant: "acme", Labels: map[string]string{"team": "docs"}, Limit: 9})
	if err != nil {
		t.Error(err)
	}
	for _, x := range page.Executions {
		if x.ID == id {
			t.Errorf("%s is listed", id)
		}
	}
}

// Writes has each method that writes do so, of an execution that was accepted, and
// returns what they return.
func Writes(ctx context.Context, s record.Store, x *execution.Execution) map[string]error {
	end := *x
	end.Status = execution.Failed
	branch := execution.Branch{BranchID: execution.BranchID{Execution: x.ID}, What: execution.Lease, Epoch: 1}
	errs := map[string]error{}
	_, errs["accept"] = s.Accept(ctx, Full("x-new"))
	errs["save"] = s.Save(ctx, &end, &execution.Change{Changed: true})
	_, errs["sent"] = s.Sent(ctx, []execution.Branch{branch})
	errs["return"] = s.Return(ctx, []execution.Branch{branch}, 0)
	_, errs["voids"] = s.Voids(ctx)
	_, errs["admit"] = s.Admit(ctx, record.Admission{Most: 1, Hold: hold})
	errs["add a schedule"] = s.AddSchedule(ctx, newSchedule("acme", "s-new", time.Hour))
	_, _, errs["register"] = s.Register(ctx, record.Registration{Tenant: "acme", Name: "p", Digest: "1"})
	return errs
}

// Reads has each method that reads do so, and returns what they return.
func Reads(ctx context.Context, s record.Store, x *execution.Execution) map[string]error {
	errs := map[string]error{}
	_, errs["load"] = s.Load(ctx, x.ID)
	_, errs["get"] = s.Get(ctx, x.Tenant, x.ID)
	_, errs["values"] = s.Values(ctx, x.ID, []string{"detect"})
	_, errs["list"] = s.List(ctx, record.Query{Tenant: x.Tenant})
	_, errs["events"] = s.Events(ctx, x.Tenant, x.ID, 0)
	_, errs["dead letters"] = s.DeadLetters(ctx, record.DeadQuery{Tenant: x.Tenant})
	_, errs["pipelines"] = s.Pipelines(ctx, record.PipelineQuery{Tenant: x.Tenant})
	_, errs["schedules"] = s.Schedules(ctx, record.ScheduleQuery{Tenant: x.Tenant})
	_, errs["in use"] = s.InUse(ctx, record.VersionID{})
	_, errs["expired"] = s.Expired(ctx, 1)
	_, errs["waiting"] = s.Waiting(ctx, x.Tenant, 1)
	errs["ping"] = s.Ping(ctx)
	return errs
}

// Unavailable checks that each is refused as of a database that is not available.
func Unavailable(t *testing.T, errs map[string]error) {
	t.Helper()
	for what, err := range errs {
		is(t, what, err, record.ErrUnavailable)
	}
}

// Fine checks that none is refused.
func Fine(t *testing.T, errs map[string]error) {
	t.Helper()
	for what, err := range errs {
		is(t, what, err, nil)
	}
}

// Recovers calls until there is no error, at most for a minute.
func Recovers(t *testing.T, what string, call func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	err := call()
	for err != nil && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		err = call()
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Accepts has one more execution be accepted, once the store is well again.
func Accepts(t *testing.T, s record.Store, id string) {
	t.Helper()
	Recovers(t, "accepting", func() error {
		_, err := s.Accept(t.Context(), Full(id))
		if errors.Is(err, record.ErrConflict) { // it was stored, though its answer was lost
			return nil
		}
		return err //nolint:wrapcheck // a test's
	})
	whole(t, s, id)
}
