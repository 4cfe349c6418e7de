package audit_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/rights/rightstest"
)

// between is a log that has something happen before one of its readings.
type between struct {
	*rightstest.Store

	left *int
	do   func()
}

func (b between) reads() {
	if *b.left--; *b.left == 0 {
		b.do()
	}
}

func (b between) Entries(ctx context.Context, f audit.Filter) ([]audit.Entry, error) {
	b.reads()
	return b.Store.Entries(ctx, f)
}

func (b between) Chain(ctx context.Context, tenant string, from int64) ([]audit.Entry, audit.Head, error) {
	b.reads()
	return b.Store.Chain(ctx, tenant, from)
}

func (b between) Heads(ctx context.Context, since time.Time, most int) ([]audit.Head, error) {
	b.reads()
	return b.Store.Heads(ctx, since, most)
}

// TestAChainThatIsBegunMeanwhileHolds holds that no moment at which a chain is begun, added to or
// trimmed makes a verification of it, or of the platform's, a false alarm.
func TestAChainThatIsBegunMeanwhileHolds(t *testing.T) {
	t.Parallel()
	add := func(ctx context.Context, s audit.Store, tenant string, n int) error {
		entries := make([]audit.Entry, n)
		for i := range entries {
			entries[i] = audit.Entry{At: time.Now(), Tenant: tenant, Action: fmt.Sprint(i)}
		}
		return s.Append(ctx, entries)
	}
	for name, tc := range map[string]struct {
		before map[string]int // entries, by tenant
		do     func(ctx context.Context, s audit.Store) error
	}{
		"begun":    {nil, func(ctx context.Context, s audit.Store) error { return add(ctx, s, "acme", 2) }},
		"added to": {map[string]int{"acme": 1000}, func(ctx context.Context, s audit.Store) error { return add(ctx, s, "acme", 2) }},
		"trimmed": {map[string]int{"acme": 2100, "": 2100}, func(ctx context.Context, s audit.Store) error {
			for _, tenant := range []string{"", "acme"} {
				if _, err := s.Trim(ctx, tenant, time.Time{}, 10); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const readings = 6
			for at := range readings {
				for _, tenant := range []string{"acme", audit.Platform} {
					store, left := &rightstest.Store{}, at+1
					for of, n := range tc.before {
						if err := add(t.Context(), store, of, n); err != nil {
							t.Fatal(err)
						}
					}
					log := between{store, &left, func() {
						if err := tc.do(t.Context(), store); err != nil {
							t.Error(err)
						}
					}}
					if v, err := audit.Verify(t.Context(), log, tenant); err != nil || !v.Holds {
						t.Errorf("before reading %d, the chain %q: %+v %v", at, tenant, v, err)
					}
				}
			}
		})
	}
}
