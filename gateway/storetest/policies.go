package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// policies holds that a later generation replaces an earlier one, and nothing else
// does, for each model by itself, also where the database is opened again.
func policies(t *testing.T, d *durable) {
	kept := func(what, model, want string) {
		t.Helper()
		other, ok := d.db.Open(t).(Durable)
		if !ok {
			t.Fatal("it keeps no policies")
		}
		for _, s := range []Durable{d.store, other} {
			if data, err := s.KeptPolicy(t.Context(), model); err != nil || string(data) != want || (want == "") != (data == nil) {
				t.Errorf("%s: %q is kept of %q, %v; want %q", what, data, model, err, want)
			}
		}
	}
	kept("at first", "m", "")
	for _, step := range []struct {
		name, model string
		generation  int64
		data, want  string
	}{
		{"the first", "m", 1 << 60, "first\x00\xff", "first\x00\xff"},
		{"an older one", "m", 1<<60 - 1, "older", "first\x00\xff"},
		{"another of the same", "m", 1 << 60, "same", "first\x00\xff"},
		{"another model's", "n", 1, "n's", "n's"},
		{"a newer one", "m", 1<<60 + 1, "newer", "newer"},
	} {
		if err := d.store.KeepPolicy(t.Context(), step.model, step.generation, []byte(step.data)); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		kept(step.name, step.model, step.want)
	}
	kept("in the end", "n", "n's")
	kept("hostile text", "' OR ''='\x00\xff", "")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.store.KeptPolicy(gone, "m"); err == nil {
		t.Error("a caller who is gone reads")
	}
	if err := d.store.KeepPolicy(gone, "m", 1<<60+2, []byte("x")); err == nil {
		t.Error("a caller who is gone writes")
	}
}

// policiesAtOnce has several replicas keep generations in other orders.
func policiesAtOnce(t *testing.T, d *durable) {
	const stores, generations = 3, 8
	var work sync.WaitGroup
	for i := range stores {
		s, ok := d.db.Open(t).(Durable)
		if !ok {
			t.Fatal("it keeps no policies")
		}
		order := make([]int64, generations)
		for n := range order {
			order[n] = int64(n + 1)
		}
		slices.Reverse(order[:i*generations/stores])
		work.Go(func() {
			for len(order) > 0 && t.Context().Err() == nil {
				if s.KeepPolicy(t.Context(), "m", order[0], fmt.Append(nil, order[0])) == nil { // else another took too long
					order = order[1:]
				}
			}
		})
	}
	work.Wait()
	if data, err := d.store.KeptPolicy(t.Context(), "m"); err != nil || string(data) != fmt.Sprint(generations) {
		t.Errorf("%q is kept, %v", data, err)
	}
}
