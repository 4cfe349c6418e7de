package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
)

func (b *bench) register(t *testing.T, tenant, name, digest string) *record.Version {
	t.Helper()
	v, _, err := b.Register(t.Context(), record.Registration{Tenant: tenant, Name: name, Canonical: []byte("of " + digest), Digest: digest})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (b *bench) resolve(t *testing.T, tenant, name string, number int) *record.Version {
	t.Helper()
	v, err := b.Resolve(t.Context(), tenant, name, number)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func versions(t *testing.T, b *bench) {
	for _, step := range []struct {
		digest  string
		number  int
		created bool
	}{{"one", 1, true}, {"one", 1, false}, {"two", 2, true}, {"one", 1, false}, {"three", 3, true}} {
		v, created, err := b.Register(t.Context(), record.Registration{Tenant: "acme", Name: "p", Canonical: []byte("of " + step.digest), Digest: step.digest})
		if err != nil || v.Number != step.number || created != step.created || !v.Default || v.Created.IsZero() {
			t.Errorf("registered %s: %+v, %v, %v", step.digest, v, created, err)
		}
		got := b.resolve(t, "acme", "p", 0)
		same(t, "the default", v, got)
		if string(got.Canonical) != "of "+step.digest || got.Digest != step.digest {
			t.Errorf("the default is %+v", got)
		}
	}
	is(t, "deprecate", b.Deprecate(t.Context(), "acme", "p", 2, true), nil)
	if v := b.resolve(t, "acme", "p", 2); v.DeprecatedAt.IsZero() || v.Default || v.Removed {
		t.Errorf("deprecated: %+v", v)
	}
	is(t, "deprecate none", b.Deprecate(t.Context(), "acme", "p", 9, true), record.ErrNotFound)
	is(t, "take it back", b.Deprecate(t.Context(), "acme", "p", 2, false), nil)
	if v := b.resolve(t, "acme", "p", 2); !v.DeprecatedAt.IsZero() {
		t.Errorf("no longer deprecated: %+v", v)
	}
	is(t, "deprecate", b.Deprecate(t.Context(), "acme", "p", 1, true), nil)
	if v := b.register(t, "acme", "p", "one"); !v.DeprecatedAt.IsZero() || !v.Default {
		t.Errorf("registered again: %+v", v)
	}
	for _, number := range []int{4, -1} {
		_, err := b.Resolve(t.Context(), "acme", "p", number)
		is(t, "no such version", err, record.ErrNotFound)
	}
}

func registerRace(t *testing.T, b *bench) {
	const n = 8
	counts := atOnce(t, n, func(i int) error {
		_, _, err := b.Register(t.Context(), record.Registration{Tenant: "acme", Name: "p", Digest: strconv.Itoa(i % 4)})
		return err
	})
	same(t, "errors", map[error]int{nil: n}, counts)
	page, err := b.Versions(t.Context(), "p", record.PipelineQuery{Tenant: "acme", Limit: 50})
	if err != nil || len(page.Versions) != 4 || page.Versions[0].Number != 4 {
		t.Errorf("versions %+v, %v", page, err)
	}
}

func shipped(t *testing.T, b *bench) {
	b.register(t, "", "read", "ours")
	if v := b.resolve(t, "acme", "read", 0); v.Owner != "" || v.Digest != "ours" {
		t.Errorf("shipped: %+v", v)
	}
	is(t, "a tenant's deletion", b.DeletePipeline(t.Context(), "acme", "read"), record.ErrNotFound)
	is(t, "a tenant's deprecation", b.Deprecate(t.Context(), "acme", "read", 1, true), record.ErrNotFound)
	b.register(t, "acme", "read", "theirs")
	if v := b.resolve(t, "acme", "read", 1); v.Owner != "acme" || v.Digest != "theirs" {
		t.Errorf("their own: %+v", v)
	}
	if v := b.resolve(t, "other", "read", 0); v.Owner != "" {
		t.Errorf("of others: %+v", v)
	}
	page, err := b.Pipelines(t.Context(), record.PipelineQuery{Tenant: "acme", Limit: 9})
	if err != nil || len(page.Versions) != 1 || page.Versions[0].Owner != "acme" || page.Versions[0].Canonical != nil {
		t.Errorf("listed: %+v, %v", page, err)
	}
	v, err := b.Version(t.Context(), record.VersionID{Name: "read", Number: 1})
	if err != nil || v.Digest != "ours" || !v.Default {
		t.Errorf("the shipped one, by its owner: %+v, %v", v, err)
	}
	is(t, "deletion", b.DeletePipeline(t.Context(), "acme", "read"), nil)
	if v := b.resolve(t, "acme", "read", 0); v.Owner != "" {
		t.Errorf("after theirs is gone: %+v", v)
	}
}

func deletePipeline(t *testing.T, b *bench) {
	b.register(t, "acme", "p", "one")
	b.register(t, "acme", "other", "one")
	of := func(a *record.Acceptance) { a.Execution.Pipeline, a.Execution.Version = "p", 1 }
	x := b.accept(t, "acme", "x1", of)
	y := b.accept(t, "acme", "x2", of, func(a *record.Acceptance) { a.Owner = "" }) // of a shipped one of this name
	is(t, "while one is queued", b.DeletePipeline(t.Context(), "acme", "p"), record.ErrInUse)
	b.begin(t, x)
	is(t, "while one runs", b.DeletePipeline(t.Context(), "acme", "p"), record.ErrInUse)
	b.end(t, x, execution.Cancelled)
	is(t, "after it has ended", b.DeletePipeline(t.Context(), "acme", "p"), nil)
	is(t, "again", b.DeletePipeline(t.Context(), "acme", "p"), record.ErrNotFound)
	is(t, "deprecation", b.Deprecate(t.Context(), "acme", "p", 1, true), record.ErrNotFound)
	_, err := b.Resolve(t.Context(), "acme", "p", 1)
	is(t, "resolve", err, record.ErrNotFound)
	_, err = b.Versions(t.Context(), "p", record.PipelineQuery{Tenant: "acme", Limit: 9})
	is(t, "versions", err, record.ErrNotFound)
	v, err := b.Version(t.Context(), record.VersionID{Owner: "acme", Name: "p", Number: 1})
	if err != nil || !v.Removed || v.Default || v.Digest != "one" {
		t.Errorf("by its owner: %+v, %v", v, err)
	}
	if v := b.register(t, "acme", "p", "two"); v.Number != 2 || v.Removed || !v.Default {
		t.Errorf("registered anew: %+v", v)
	}
	b.end(t, y, execution.Failed)
}

func inUse(t *testing.T, b *bench) {
	b.register(t, "", "read", "1")
	b.register(t, "acme", "p", "1")
	b.register(t, "acme", "p", "2")
	b.register(t, "acme", "p", "3")
	b.register(t, "acme", "gone", "1")
	is(t, "deletion", b.DeletePipeline(t.Context(), "acme", "gone"), nil)
	of := func(version int) func(*record.Acceptance) {
		return func(a *record.Acceptance) { a.Execution.Pipeline, a.Execution.Version = "p", version }
	}
	b.accept(t, "acme", "x1", of(1))
	x := b.accept(t, "acme", "x2", of(2))
	b.begin(t, x)
	b.begin(t, b.accept(t, "acme", "x3", of(3)))
	b.accept(t, "acme", "call", func(a *record.Acceptance) { a.Execution.Pipeline, a.Execution.Version = "", 0 })
	id := func(owner, name string, number int) record.VersionID {
		return record.VersionID{Owner: owner, Name: name, Number: number}
	}
	got, err := b.InUse(t.Context(), record.VersionID{})
	is(t, "in use", err, nil)
	same(t, "in use", []record.VersionID{id("", "read", 1), id("acme", "p", 1), id("acme", "p", 2), id("acme", "p", 3)}, got)
	b.end(t, x, execution.Succeeded)
	got, err = b.InUse(t.Context(), id("", "read", 1))
	is(t, "in use", err, nil)
	same(t, "after one", []record.VersionID{id("acme", "p", 1), id("acme", "p", 3)}, got)
}

func pipelinePages(t *testing.T, b *bench) {
	for i := range 7 {
		b.register(t, "acme", fmt.Sprintf("p%d", i), "1")
		b.register(t, "acme", "many", strconv.Itoa(i))
	}
	b.register(t, "", "shipped", "1")
	b.db.Do(t, "UPDATE pipelines SET created_at = 1000 WHERE name < 'p4'")
	walk := func(read func(q record.PipelineQuery) (*record.VersionPage, error)) (all []*record.Version) {
		q := record.PipelineQuery{Tenant: "acme", Limit: 2}
		for range 10 {
			page, err := read(q)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, page.Versions...)
			if page.Next.IsZero() {
				return all
			}
			if q.After, err = record.ParseCursor(page.Next.String()); err != nil {
				t.Fatal(err)
			}
		}
		t.Fatal("the list has no end")
		return nil
	}
	var names []string
	for _, v := range walk(func(q record.PipelineQuery) (*record.VersionPage, error) { return b.Pipelines(t.Context(), q) }) {
		names = append(names, v.Name)
		if !v.Default {
			t.Errorf("listed %+v", v)
		}
	}
	slices.Sort(names)
	same(t, "pipelines", []string{"many", "p0", "p1", "p2", "p3", "p4", "p5", "p6", "shipped"}, names)
	var numbers []int
	for _, v := range walk(func(q record.PipelineQuery) (*record.VersionPage, error) { return b.Versions(t.Context(), "many", q) }) {
		numbers = append(numbers, v.Number)
	}
	same(t, "versions", []int{7, 6, 5, 4, 3, 2, 1}, numbers)
	_, err := b.Versions(t.Context(), "many", record.PipelineQuery{Tenant: "acme", After: record.Cursor{At: time.UnixMilli(1), ID: "x"}})
	if !errors.Is(err, record.ErrCursor) {
		t.Errorf("another list's cursor: %v", err)
	}
}
