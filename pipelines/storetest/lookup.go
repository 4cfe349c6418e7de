package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// all are the ids of a list's pages.
func (b *bench) all(t *testing.T, q record.Query) []string {
	t.Helper()
	var ids []string
	for range 100 {
		page, err := b.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range page.Executions {
			ids = append(ids, x.ID)
		}
		if page.Next.IsZero() {
			return ids
		}
		if len(page.Executions) != max(q.Limit, 1) {
			t.Errorf("a page of %d that is not the last", len(page.Executions))
		}
		if q.After, err = record.ParseCursor(page.Next.String()); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the list has no end")
	return nil
}

func pages(t *testing.T, b *bench) {
	statuses := []execution.Status{execution.Queued, execution.Running, execution.Succeeded, execution.Failed, execution.Cancelled}
	var want []string
	for i := range 23 {
		x := b.accept(t, "acme", fmt.Sprintf("x%02d", i*7%23)) // several in one millisecond, or none
		switch status := statuses[i%5]; status {
		case execution.Queued:
		case execution.Running:
			b.begin(t, x)
		default:
			b.end(t, x, status)
		}
		want = append(want, x.ID)
	}
	b.db.Do(t, "UPDATE executions SET created_at = 1000 WHERE id < 'x10'")
	b.db.Do(t, "UPDATE executions SET created_at = 2000 WHERE id >= 'x10'")
	slices.Sort(want)
	slices.Reverse(want)
	for _, limit := range []int{0, 1, 4, 22, 23, 200} {
		same(t, fmt.Sprintf("pages of %d", limit), want, b.all(t, record.Query{Tenant: "acme", Limit: limit}))
	}
	if page, err := b.List(t.Context(), record.Query{Tenant: "acme", Limit: 1 << 30}); err != nil || len(page.Executions) != 23 {
		t.Errorf("a page without end: %v", err)
	}
}

func lists(t *testing.T, b *bench) {
	labels := func(a *record.Acceptance) { a.Execution.Labels = map[string]string{"team": "docs", "env": "test"} }
	x1 := b.accept(t, "acme", "x1", labels)
	x2 := b.accept(t, "acme", "x2", func(a *record.Acceptance) { a.Execution.Labels = map[string]string{"team": "docs", "env": "x"} })
	b.accept(t, "acme", "x3", labels, func(a *record.Acceptance) { a.Execution.Pipeline = "triage" })
	b.accept(t, "acme", "x4", func(a *record.Acceptance) { a.Execution.Pipeline = "" })
	b.accept(t, "other", "x5", labels)
	b.begin(t, x2)
	x1.Output = &envelope.Value{JSON: json.RawMessage(`1`)}
	b.end(t, x1, execution.Succeeded)
	read, none := "read", ""
	for name, check := range map[string]struct {
		query record.Query
		want  []string
	}{
		"all":                      {record.Query{}, []string{"x1", "x2", "x3", "x4"}},
		"a pipeline":               {record.Query{Pipeline: &read}, []string{"x1", "x2"}},
		"no pipeline":              {record.Query{Pipeline: &none}, []string{"x4"}},
		"queued":                   {record.Query{Status: execution.Queued}, []string{"x3", "x4"}},
		"running":                  {record.Query{Status: execution.Running}, []string{"x2"}},
		"succeeded":                {record.Query{Status: execution.Succeeded}, []string{"x1"}},
		"failed":                   {record.Query{Status: execution.Failed}, nil},
		"a pipeline and a status":  {record.Query{Pipeline: &read, Status: execution.Running}, []string{"x2"}},
		"a label":                  {record.Query{Labels: map[string]string{"team": "docs"}}, []string{"x1", "x2", "x3"}},
		"labels":                   {record.Query{Labels: map[string]string{"team": "docs", "env": "test"}}, []string{"x1", "x3"}},
		"labels that none has":     {record.Query{Labels: map[string]string{"team": "docs", "env": "none"}}, nil},
		"labels and a pipeline":    {record.Query{Labels: map[string]string{"team": "docs"}, Pipeline: &read}, []string{"x1", "x2"}},
		"labels and no pipeline":   {record.Query{Labels: map[string]string{"team": "docs"}, Pipeline: &none}, nil},
		"labels and a status":      {record.Query{Labels: map[string]string{"team": "docs"}, Status: execution.Queued}, []string{"x3"}},
		"a status that none knows": {record.Query{Status: "odd"}, nil},
	} {
		check.query.Tenant = "acme"
		for _, limit := range []int{1, 50} {
			check.query.Limit = limit
			got := b.all(t, check.query)
			slices.Sort(got)
			same(t, name, check.want, got)
		}
	}
	page, err := b.List(t.Context(), record.Query{Tenant: "acme", Status: execution.Succeeded, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	ignored := cmpopts.IgnoreFields(execution.Execution{}, "Input", "Event", "Headers", "Output")
	if diff := cmp.Diff(x1, page.Executions[0], ignored, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("an execution of a list: -want +got:\n%s", diff)
	}
}

func events(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1")
	b.begin(t, x)
	b.end(t, x, execution.Failed)
	got, err := b.Events(t.Context(), "acme", "x1", 1)
	is(t, "events", err, nil)
	if len(got) != 2 || got[0].Number != 2 || got[1].Number != 3 || !got[1].Ends() {
		t.Errorf("events %+v", got)
	}
	x = b.accept(t, "acme", "x2")
	c := execution.Change{Changed: true}
	for range record.MaxPage + 10 {
		x.Events++
		c.Events = append(c.Events, execution.Event{Number: x.Events, Type: execution.StepStarted, Status: execution.Running, At: x.Created})
	}
	b.save(t, x, c)
	var after int64
	for _, want := range []int{record.MaxPage, 11, 0} {
		got, err := b.Events(t.Context(), "acme", "x2", after)
		if err != nil || len(got) != want {
			t.Fatalf("%d events after %d, %v; want %d", len(got), after, err, want)
		}
		if want > 0 {
			after = got[want-1].Number
		}
	}
}

func (b *bench) dead(t *testing.T, x *execution.Execution, item int) {
	t.Helper()
	b.save(t, x, execution.Change{Changed: true, Dead: &execution.DeadLetter{
		Step: "detect", Item: item, Attempts: 3, Error: execution.Problem{Code: "c", Detail: "secret"}, At: x.Created.Add(time.Duration(item) * time.Second),
	}})
}

func deadLetters(t *testing.T, b *bench) {
	x1 := b.accept(t, "acme", "x1")
	x2 := b.accept(t, "acme", "x2", func(a *record.Acceptance) { a.Execution.Pipeline = "triage" })
	other := b.accept(t, "other", "x3")
	for item := range 3 {
		b.dead(t, x1, item)
	}
	b.dead(t, x2, 5)
	b.dead(t, other, 0)
	for name, check := range map[string]struct {
		query record.DeadQuery
		want  []string
	}{
		"all":          {record.DeadQuery{}, []string{"x2.detect.5", "x1.detect.2", "x1.detect.1", "x1.detect.0"}},
		"a pipeline":   {record.DeadQuery{Pipeline: "triage"}, []string{"x2.detect.5"}},
		"an execution": {record.DeadQuery{Execution: "x1"}, []string{"x1.detect.2", "x1.detect.1", "x1.detect.0"}},
		"both":         {record.DeadQuery{Execution: "x1", Pipeline: "triage"}, nil},
		"another's":    {record.DeadQuery{Execution: "x3"}, nil},
	} {
		check.query.Tenant, check.query.Limit = "acme", 2
		var got []string
		for range 5 {
			page, err := b.DeadLetters(t.Context(), check.query)
			if err != nil {
				t.Fatal(err)
			}
			for _, letter := range page.Letters {
				got = append(got, letter.ID)
			}
			if check.query.After = page.Next; page.Next.IsZero() {
				break
			}
		}
		same(t, name, check.want, got)
	}
	replay := acceptance(newExecution("acme", "x4"))
	replay.Replays = "x1.detect.1"
	if _, err := b.Accept(t.Context(), replay); err != nil {
		t.Fatal(err)
	}
	letter, err := b.DeadLetter(t.Context(), "acme", "x1.detect.1")
	if err != nil || letter.ReplayedBy != "x4" {
		t.Errorf("replayed: %+v, %v", letter, err)
	}
	for _, none := range []string{"none", "x3.detect.0"} {
		for _, key := range []*record.Key{nil, {Text: none}} {
			replay := acceptance(newExecution("acme", "x5"))
			replay.Replays, replay.Key = none, key
			_, err := b.Accept(t.Context(), replay)
			is(t, "replaying "+none, err, record.ErrNotFound)
			_, err = b.Load(t.Context(), "x5")
			is(t, "what replays "+none, err, record.ErrNotFound)
		}
	}
}

func isolated(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1", keyed("k", 1))
	b.dead(t, x, 0)
	b.end(t, x, execution.Failed)
	_, err := b.Get(t.Context(), "other", "x1")
	is(t, "get", err, record.ErrNotFound)
	_, err = b.Events(t.Context(), "other", "x1", 0)
	is(t, "events", err, record.ErrNotFound)
	_, err = b.DeadLetter(t.Context(), "other", "x1.detect.0")
	is(t, "dead letter", err, record.ErrNotFound)
	is(t, "delete", b.Delete(t.Context(), "other", "x1"), record.ErrNotFound)
	for _, tenant := range []string{"other", "", "acm", "acme "} {
		same(t, "list of "+tenant, []string(nil), b.all(t, record.Query{Tenant: tenant, Limit: 9}))
		page, err := b.DeadLetters(t.Context(), record.DeadQuery{Tenant: tenant, Limit: 9})
		if err != nil || len(page.Letters) > 0 {
			t.Errorf("dead letters of %q: %+v, %v", tenant, page, err)
		}
	}
	if l, err := b.Get(t.Context(), "acme", "x1"); err != nil || l.Erased {
		t.Errorf("their own: %+v, %v", l, err)
	}
	b.register(t, "acme", "mine", "1")
	_, err = b.Resolve(t.Context(), "other", "mine", 0)
	is(t, "resolve", err, record.ErrNotFound)
	_, err = b.Versions(t.Context(), "mine", record.PipelineQuery{Tenant: "other", Limit: 9})
	is(t, "versions", err, record.ErrNotFound)
	is(t, "deprecate", b.Deprecate(t.Context(), "other", "mine", 1, true), record.ErrNotFound)
	is(t, "delete pipeline", b.DeletePipeline(t.Context(), "other", "mine"), record.ErrNotFound)
	pipelines, err := b.Pipelines(t.Context(), record.PipelineQuery{Tenant: "other", Limit: 9})
	if err != nil || len(pipelines.Versions) > 0 {
		t.Errorf("pipelines: %+v, %v", pipelines, err)
	}
}

func stub(t *testing.T, b *bench) {
	x := b.accept(t, "acme", "x1", func(a *record.Acceptance) {
		a.Execution.Labels, a.Execution.Headers = map[string]string{"team": "docs"}, map[string]string{"X": "secret"}
		a.Execution.Event, a.Execution.Traceparent = json.RawMessage(`{"subject":"secret"}`), "00-1"
	})
	is(t, "one that is queued", b.Delete(t.Context(), "acme", "x1"), record.ErrInUse)
	b.begin(t, x, b.branch(x, 0, 0))
	is(t, "one that runs", b.Delete(t.Context(), "acme", "x1"), record.ErrInUse)
	b.save(t, x, execution.Change{Changed: true, Values: []execution.StepValue{{Step: "detect", Value: envelope.Value{JSON: json.RawMessage(`"secret"`)}}}})
	b.dead(t, x, 0)
	x.Error, x.Output = &execution.Problem{Code: "c", Status: 502, Detail: "secret"}, &envelope.Value{JSON: json.RawMessage(`"secret"`)}
	x.Steps[0].Error = &execution.Problem{Code: "c", Detail: "secret"}
	b.end(t, x, execution.Failed)
	for range 2 {
		is(t, "one that has ended", b.Delete(t.Context(), "acme", "x1"), nil)
	}
	l, err := b.Get(t.Context(), "acme", "x1")
	if err != nil || !l.Erased {
		t.Fatalf("the stub: %+v, %v", l, err)
	}
	want := *x
	want.Input, want.Event, want.Headers, want.Traceparent, want.Output, want.Revision = envelope.Value{}, nil, nil, "", nil, x.Revision+1
	want.Error, want.Steps = &execution.Problem{Code: "c", Status: 502}, slices.Clone(x.Steps)
	want.Steps[0].Error = &execution.Problem{Code: "c"}
	same(t, "the stub", &want, l.Execution)
	values, err := b.Values(t.Context(), "x1", []string{"detect"})
	if err != nil || len(values) > 0 {
		t.Errorf("values %v, %v", values, err)
	}
	letter, err := b.DeadLetter(t.Context(), "acme", "x1.detect.0")
	if err != nil || letter.Error != (execution.Problem{}) {
		t.Errorf("dead letter %+v, %v", letter, err)
	}
	same(t, "the list", []string{"x1"}, b.all(t, record.Query{Tenant: "acme", Labels: map[string]string{"team": "docs"}}))
}

func expired(t *testing.T, b *bench) {
	keep := func(a *record.Acceptance) { a.Retention = time.Hour }
	over := b.accept(t, "acme", "over", keep, keyed("k", 1), func(a *record.Acceptance) { a.Execution.Labels = map[string]string{"l": "1"} })
	kept, forever, runs := b.accept(t, "acme", "kept", keep), b.accept(t, "acme", "forever"), b.accept(t, "acme", "runs", keep)
	b.begin(t, runs)
	c := change(over, b)
	b.save(t, over, c)
	for _, x := range []*execution.Execution{over, kept, forever} {
		b.end(t, x, execution.Succeeded)
	}
	none, err := b.Expired(t.Context(), 10)
	is(t, "before", err, nil)
	same(t, "before", []record.Ended(nil), none)
	b.db.Do(t, "UPDATE executions SET expires_at = 1 WHERE id = 'over'")
	got, err := b.Expired(t.Context(), 10)
	is(t, "expired", err, nil)
	same(t, "expired", []record.Ended{{Tenant: "acme", ID: "over"}}, got)
	is(t, "keeping", b.Keep(t.Context(), []string{"over", "forever", "runs", "none"}, time.Hour), nil)
	none, err = b.Expired(t.Context(), 10)
	is(t, "what is kept", err, nil)
	same(t, "what is kept", []record.Ended(nil), none)
	is(t, "keeping for no time", b.Keep(t.Context(), []string{"over", "forever", "runs", "none"}, 0), nil)
	got, err = b.Expired(t.Context(), 10)
	is(t, "expired again", err, nil)
	same(t, "expired again", []record.Ended{{Tenant: "acme", ID: "over"}}, got)
	n, err := b.Forget(t.Context(), []string{"over", "runs", "none"})
	if err != nil || n != 1 {
		t.Errorf("%d are forgotten, %v", n, err)
	}
	_, err = b.Load(t.Context(), "over")
	is(t, "loading", err, record.ErrNotFound)
	rest := b.all(t, record.Query{Tenant: "acme", Limit: 9})
	slices.Sort(rest)
	same(t, "what is left", []string{"forever", "kept", "runs"}, rest)
	b.accept(t, "acme", "over", keyed("k", 2)) // nothing of it is in the way
	values, err := b.Values(t.Context(), "over", []string{"a", "b"})
	if err != nil || len(values) > 0 {
		t.Errorf("values %v, %v", values, err)
	}
	same(t, "its labels", []string(nil), b.all(t, record.Query{Tenant: "acme", Labels: map[string]string{"l": "1"}}))
}

func hostile(t *testing.T, b *bench) {
	for _, text := range []string{"", "'; DROP TABLE executions; --", "a\x00b", "\xff", "%", "\u202e"} {
		_, err := b.Load(t.Context(), text)
		is(t, "load", err, record.ErrNotFound)
		_, err = b.Get(t.Context(), text, text)
		is(t, "get", err, record.ErrNotFound)
		_, err = b.Events(t.Context(), text, text, 0)
		is(t, "events", err, record.ErrNotFound)
		_, err = b.DeadLetter(t.Context(), text, text)
		is(t, "dead letter", err, record.ErrNotFound)
		_, err = b.Resolve(t.Context(), text, text, 0)
		is(t, "resolve", err, record.ErrNotFound)
		_, err = b.Version(t.Context(), record.VersionID{Owner: text, Name: text, Number: 1})
		is(t, "version", err, record.ErrNotFound)
		is(t, "delete", b.Delete(t.Context(), text, text), record.ErrNotFound)
		is(t, "delete pipeline", b.DeletePipeline(t.Context(), text, text), record.ErrNotFound)
		values, err := b.Values(t.Context(), text, []string{text})
		if err != nil || len(values) > 0 {
			t.Errorf("values %v, %v", values, err)
		}
		same(t, "list", []string(nil), b.all(t, record.Query{
			Tenant: text, Pipeline: &text, Labels: map[string]string{text: text}, Status: execution.Status(text), After: record.Cursor{At: time.UnixMilli(5), ID: text},
		}))
		page, err := b.DeadLetters(t.Context(), record.DeadQuery{Tenant: text, Pipeline: text, Execution: text})
		if err != nil || len(page.Letters) > 0 {
			t.Errorf("dead letters %+v, %v", page, err)
		}
	}
}
