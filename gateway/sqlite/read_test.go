package sqlite_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

// TestListsHoldUpNoCall holds that what calls wait for is read also while lists have every other
// reader, and that a list then waits for one only for a while.
func TestListsHoldUpNoCall(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "gateway.db"))
	give, err := s.TakeReaders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lists := map[string]func() error{
		"Keys":    func() error { _, err := s.Keys(ctx, auth.Page{Limit: 1}); return err },
		"Key":     func() error { _, err := s.Key(ctx, "k"); return err },
		"Entries": func() error { _, err := s.Entries(ctx, audit.Filter{Limit: 1}); return err },
		"Chain":   func() error { _, _, err := s.Chain(ctx, "", audit.BeforeFirst); return err },
		"Heads":   func() error { _, err := s.Heads(ctx, time.Time{}, 1); return err },
	}
	for name, call := range map[string]func() error{
		"Since":      func() error { _, err := s.Since(ctx, rights.Position{}); return err },
		"Ping":       func() error { return s.Ping(ctx) },
		"KeptPolicy": func() error { _, err := s.KeptPolicy(ctx, "m"); return err },
		"Append": func() error {
			return s.Append(ctx, []audit.Entry{{At: time.Now(), Action: "x"}})
		},
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var waiting sync.WaitGroup
	for name, list := range lists {
		waiting.Go(func() {
			if err := list(); !errors.Is(err, rights.ErrAway) || !strings.Contains(err.Error(), "take too long") || ctx.Err() != nil {
				t.Errorf("%s: error %v", name, err)
			}
		})
	}
	waiting.Wait()
	if err := give(); err != nil {
		t.Error(err)
	}
	for name, list := range lists {
		if err := list(); err != nil && name != "Key" {
			t.Errorf("%s, when there are readers again: %v", name, err)
		}
	}
}
