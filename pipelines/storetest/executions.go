package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
)

func roundTrip(t *testing.T, b *bench) {
	x := newExecution("acme", "x1")
	x.Priority, x.Labels = -3, map[string]string{"team": "docs", "b": "ü<&>"}
	x.Headers, x.Traceparent = map[string]string{"X-Case-Id": "7\x00"}, "00-1-2-01"
	x.Event = json.RawMessage(`{"id": "1",  "source":"<s>"}`) // neither made compact nor escaped
	x.Input = envelope.Value{Claim: &envelope.Claim{Ref: "s3://b/payloads/acme/x1/input", SHA256: "ab", Size: 1 << 40, ContentType: "application/json"}}
	x.ReplayOf, x.From = "x0", "detect"
	x.Steps[0].Error = &execution.Problem{Detail: "nul \x00, <b>"}
	a := acceptance(x)
	a.Owner = ""
	a.Change.Values = []execution.StepValue{{Step: "detect", Epoch: 2, Value: envelope.Value{JSON: json.RawMessage(`{"ref": "s3://mine"}`)}}}
	got, err := b.Accept(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if got.Existing || x.Revision != 1 || x.Created.IsZero() || x.RunAt.Before(x.Created) {
		t.Errorf("accepted as %+v: %+v", got, x)
	}
	l := b.load(t, "x1")
	same(t, "the execution", x, l.Execution)
	same(t, "what is due", []execution.Branch{{BranchID: execution.Whole("x1"), What: execution.Start, Due: x.RunAt, Priority: -3}}, l.Branches)
	same(t, "what Accept says is due", l.Branches, got.Branches)
	if l.Owner != "" || l.Erased || l.Now.Before(x.Created) {
		t.Errorf("loaded %+v", l)
	}
	values, err := b.Values(t.Context(), "x1", []string{"detect", "none"})
	is(t, "values", err, nil)
	same(t, "the values", a.Change.Values, values)
	events, err := b.Events(t.Context(), "acme", "x1", 0)
	is(t, "events", err, nil)
	same(t, "the events", []execution.Event{{Number: 1, Type: execution.ExecutionAccepted, Status: execution.Queued, At: x.Created}}, events)
}

func runAt(t *testing.T, b *bench) {
	now := b.accept(t, "acme", "x1", func(a *record.Acceptance) { a.Execution.RunAt = time.UnixMilli(1) })
	if !now.RunAt.Equal(now.Created) {
		t.Errorf("a time that is over: %v, accepted %v", now.RunAt, now.Created)
	}
	at := now.Created.Add(time.Hour)
	later := b.accept(t, "acme", "x2", func(a *record.Acceptance) { a.Execution.RunAt = at })
	if !later.RunAt.Equal(at) || !b.load(t, "x2").Branches[0].Due.Equal(at) {
		t.Errorf("a time to come: %v, want %v", later.RunAt, at)
	}
}

func twice(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1")
	_, err := b.Accept(t.Context(), acceptance(newExecution("other", "x1")))
	is(t, "the same id", err, record.ErrConflict)
	same(t, "the first", x, b.load(t, "x1").Execution)
}

func keyed(text string, body byte) func(*record.Acceptance) {
	return func(a *record.Acceptance) { a.Key = &record.Key{Text: text, Body: [32]byte{body}} }
}

func idempotent(t *testing.T, b *bench) {
	key := "\xff\x00 any bytes"
	first := b.accept(t, "acme", "x1", keyed(key, 1))
	try := func(tenant, id, pipeline string, body byte) (*record.Accepted, error) {
		a := acceptance(newExecution(tenant, id))
		a.Execution.Pipeline = pipeline
		keyed(key, body)(a)
		return b.Accept(t.Context(), a)
	}
	got, err := try("acme", "x2", "read", 1)
	if err != nil || !got.Existing {
		t.Fatalf("the same body: %+v, %v", got, err)
	}
	same(t, "the same body", first, got.Execution)
	_, err = try("acme", "x3", "read", 2)
	is(t, "another body", err, record.ErrOtherBody)
	for _, id := range []string{"x2", "x3"} {
		_, err := b.Load(t.Context(), id)
		is(t, id, err, record.ErrNotFound)
	}
	for id, of := range map[string][2]string{"x4": {"other", "read"}, "x5": {"acme", "triage"}, "x6": {"acme", ""}} {
		if got, err := try(of[0], id, of[1], 2); err != nil || got.Existing || got.Execution.ID != id {
			t.Errorf("another tenant or pipeline: %+v, %v", got, err)
		}
	}
	started := func(tenant, pipeline, text string, body byte) (*record.Loaded, error) {
		return b.Started(t.Context(), tenant, pipeline, &record.Key{Text: text, Body: [32]byte{body}})
	}
	if l, err := started("acme", "read", key, 1); err != nil || l.Execution.ID != "x1" || len(l.Branches) != 1 {
		t.Errorf("looked up: %+v, %v", l, err)
	}
	_, err = started("acme", "read", key, 2)
	is(t, "another body, looked up", err, record.ErrOtherBody)
	for _, of := range [][3]string{{"acme", "read", "k"}, {"nobody", "read", key}, {"acme", "none", key}} {
		_, err := started(of[0], of[1], of[2], 1)
		is(t, "no such key", err, record.ErrNotFound)
	}
	b.end(t, first, execution.Failed)
	got, err = try("acme", "x7", "read", 1)
	if err != nil || !got.Existing || got.Execution.Status != execution.Failed {
		t.Errorf("once it has ended: %+v, %v", got, err)
	}
}

func keyEnds(t *testing.T, b *bench) {
	b.accept(t, "acme", "x1", keyed("k", 1))
	b.db.Do(t, "UPDATE idempotency SET expires_at = 1")
	_, err := b.Started(t.Context(), "acme", "read", &record.Key{Text: "k", Body: [32]byte{1}})
	is(t, "a key that counts no longer", err, record.ErrNotFound)
	b.accept(t, "acme", "x2", keyed("k", 2))
	b.load(t, "x2")
	b.accept(t, "acme", "x3", keyed("other", 1))
	b.db.Do(t, "UPDATE idempotency SET expires_at = 1 WHERE execution = 'x3'")
	for _, want := range []int64{1, 0} {
		n, err := b.Trim(t.Context(), 10)
		if err != nil || n != want {
			t.Errorf("trimmed %d, %v; want %d", n, err, want)
		}
	}
}

func keyRace(t *testing.T, b *bench) {
	const n = 8
	var accepted [n]string
	counts := atOnce(t, n, func(i int) error {
		a := acceptance(newExecution("acme", fmt.Sprintf("x%d", i)))
		keyed("k", 1)(a)
		got, err := b.Accept(t.Context(), a)
		if err == nil {
			accepted[i] = got.Execution.ID
		}
		return err
	})
	same(t, "errors", map[error]int{nil: n}, counts)
	for i, id := range accepted {
		if id != accepted[0] {
			t.Errorf("%d was answered with %s, the first with %s", i, id, accepted[0])
		}
	}
	page, err := b.List(t.Context(), record.Query{Tenant: "acme", Limit: n})
	if err != nil || len(page.Executions) != 1 || page.Executions[0].ID != accepted[0] {
		t.Errorf("stored: %+v, %v", page, err)
	}
}

// change is one with something of each kind.
func change(x *execution.Execution, b *bench) execution.Change {
	at := x.Created.Add(time.Second)
	x.Events += 2
	x.Steps[0].Attempts, x.Steps[0].Status = 2, execution.Failed
	x.Steps[0].Error = &execution.Problem{Code: "bad_gateway", Status: 502, Detail: "why"}
	dead := execution.DeadLetter{Step: "detect", Segment: 1, Item: 4, Epoch: 5, Attempts: 3, Breaks: 1, Error: *x.Steps[0].Error, At: at}
	return execution.Change{
		Changed: true,
		Put:     []execution.Branch{b.branch(x, 0, 1)},
		Remove:  []execution.BranchID{{Execution: x.ID, Segment: 0, Item: 0}, {Execution: x.ID, Segment: 9}},
		Values: []execution.StepValue{
			{Step: "b", Item: 1, Epoch: 1, Value: envelope.Value{Claim: &envelope.Claim{Ref: "s3://b/k", Size: 3}}, Record: envelope.Record{Step: "b", Epoch: 1, Model: "m@1", ComputeMS: 1.5, StartedAt: at}},
			{Step: "b", Item: 0, Epoch: 1, Value: envelope.Value{JSON: json.RawMessage("null")}},
			{Step: "a", Value: envelope.Value{JSON: json.RawMessage(`"é\u0000"`)}},
		},
		Dead: &dead,
		Events: []execution.Event{
			{Number: x.Events - 1, Type: execution.StepStarted, Step: "detect", Status: execution.Running, At: at},
			{Number: x.Events, Type: execution.StepFailed, Step: "detect", Status: execution.Failed, At: at},
		},
		Late: []execution.Late{{Segment: 0, Item: 0, Epoch: 1, Step: "detect", At: at}, {Segment: 0, Item: 0, Epoch: 1, Step: "detect", At: at}},
	}
}

func saved(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1")
	b.begin(t, x, b.branch(x, 0, 0))
	c := change(x, b)
	b.save(t, x, c)
	l := b.load(t, "x1")
	same(t, "the execution", x, l.Execution)
	if x.Revision <= 1 {
		t.Errorf("revision %d", x.Revision)
	}
	end := execution.Branch{BranchID: execution.Whole("x1"), What: execution.End, Due: x.Deadline}
	same(t, "what is due", []execution.Branch{end, b.branch(x, 0, 1)}, l.Branches)
	values, err := b.Values(t.Context(), "x1", []string{"a", "b"})
	is(t, "values", err, nil)
	same(t, "the values", []execution.StepValue{c.Values[2], c.Values[1], c.Values[0]}, values)
	none, err := b.Values(t.Context(), "x1", nil)
	is(t, "no values", err, nil)
	same(t, "no values", []execution.StepValue(nil), none)
	letter, err := b.DeadLetter(t.Context(), "acme", "x1.detect.4")
	is(t, "the dead letter", err, nil)
	same(t, "the dead letter", &record.DeadLetter{DeadLetter: *c.Dead, ID: "x1.detect.4", Tenant: "acme", Execution: "x1", Pipeline: "read", Version: 3}, letter)

	x.Status, x.Finished, x.Output = execution.Succeeded, x.Created.Add(time.Minute), &envelope.Value{JSON: json.RawMessage(`null`)}
	b.save(t, x, execution.Change{Changed: true})
	same(t, "the execution that ended", x, b.load(t, "x1").Execution)
}

func conflict(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1")
	stale := b.load(t, "x1").Execution
	b.begin(t, x, b.branch(x, 0, 0))
	before := b.load(t, "x1")
	c := change(stale, b)
	is(t, "saving", b.Save(t.Context(), stale, &c), record.ErrConflict)
	if stale.Revision != 1 {
		t.Errorf("revision %d", stale.Revision)
	}
	after := b.load(t, "x1")
	after.Now = before.Now
	same(t, "what is stored", before, after)
	values, err := b.Values(t.Context(), "x1", []string{"a", "b"})
	if err != nil || len(values) > 0 {
		t.Errorf("values %v, %v", values, err)
	}
	_, err = b.DeadLetter(t.Context(), "acme", "x1.detect.4")
	is(t, "the dead letter", err, record.ErrNotFound)
	events, err := b.Events(t.Context(), "acme", "x1", 0)
	if err != nil || len(events) != 2 {
		t.Errorf("events %v, %v", events, err)
	}
}

func saveRace(t *testing.T, b *bench) {
	const n = 8
	b.accept(t, "acme", "x1")
	loaded := b.load(t, "x1")
	counts := atOnce(t, n, func(i int) error {
		x := *loaded.Execution
		x.Status, x.Events = execution.Running, 2
		put := b.branch(&x, 0, i)
		return b.Save(t.Context(), &x, &execution.Change{
			Changed: true, Put: []execution.Branch{put}, Events: []execution.Event{{Number: 2, Type: execution.ExecutionStarted, Status: execution.Running, At: x.Created}},
		})
	})
	same(t, "errors", map[error]int{nil: 1, record.ErrConflict: n - 1}, counts)
	if l := b.load(t, "x1"); l.Execution.Revision == 1 || len(l.Branches) != 2 {
		t.Errorf("stored %+v, %+v", l.Execution, l.Branches)
	}
}

func ended(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1")
	b.begin(t, x, b.branch(x, 0, 0), b.branch(x, 1, 0))
	b.end(t, x, execution.Cancelled) // whatever it removes
	if l := b.load(t, "x1"); len(l.Branches) > 0 {
		t.Errorf("due: %+v", l.Branches)
	}
	same(t, "claimed", []string(nil), ids(b.claim(t, 10, hold)))
	x.Status = execution.Running
	is(t, "saving it", b.Save(t.Context(), x, &execution.Change{Changed: true}), record.ErrConflict)
}

func unknown(t *testing.T, b *bench) {
	x := newExecution("acme", "none")
	x.Revision = 1
	is(t, "saving", b.Save(t.Context(), x, &execution.Change{}), record.ErrNotFound)
	_, err := b.Load(t.Context(), "none")
	is(t, "loading", err, record.ErrNotFound)
	is(t, "deleting", b.Delete(t.Context(), "acme", "none"), record.ErrNotFound)
	values, err := b.Values(t.Context(), "none", []string{"a"})
	if err != nil || len(values) > 0 {
		t.Errorf("values %v, %v", values, err)
	}
}

func cancelled(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, do := range map[string]func() error{
		"accept": func() error { _, err := b.Accept(ctx, acceptance(newExecution("acme", "x2"))); return err },
		"load":   func() error { _, err := b.Load(ctx, "x1"); return err },
		"save":   func() error { return b.Save(ctx, x, &execution.Change{}) },
		"claim":  func() error { _, err := b.Claim(ctx, 1, hold); return err },
		"admit":  func() error { _, err := b.Admit(ctx, record.Admission{Most: 1, Hold: hold}); return err },
		"list":   func() error { _, err := b.List(ctx, record.Query{Tenant: "acme"}); return err },
		"resolve": func() error {
			_, err := b.Resolve(ctx, "acme", "read", 0)
			return err
		},
	} {
		is(t, what, do(), context.Canceled)
	}
	if l := b.load(t, "x1"); l.Execution.Revision != 1 {
		t.Errorf("stored %+v", l.Execution)
	}
}
