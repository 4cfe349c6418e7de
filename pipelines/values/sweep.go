package values

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
)

// Owner is an execution that something is stored of.
type Owner struct{ Tenant, Execution string }

// atOnce is how many executions a sweep asks for at once.
const atOnce = 200

// Sweep removes what is stored of executions that are not known: those that were never
// accepted, or expired while the store was away. What was stored after a time stays: its
// execution may be about to be accepted. known returns which of some executions there
// are. Sweep returns how many executions it removed what was stored of; an error is also of
// what could not be removed, which stays and stops nothing else.
func (v *Values) Sweep(ctx context.Context, before time.Time, known func(context.Context, []Owner) (map[Owner]bool, error)) (int, error) {
	s := sweep{values: v, before: before, known: known}
	if err := v.objects.Walk(ctx, payloads, func(key string, modified time.Time) error { return s.visit(ctx, key, modified) }); err != nil {
		return s.removed, fmt.Errorf("walk over what is stored: %w", err)
	}
	s.close()
	if err := s.remove(ctx); err != nil {
		return s.removed, err
	}
	return s.removed, s.kept
}

// sweep is one walk. Keys of one execution follow each other.
type sweep struct {
	values  *Values
	before  time.Time
	known   func(context.Context, []Owner) (map[Owner]bool, error)
	now     Owner // that the walk is at
	recent  bool  // whether something of it is newer than before
	old     []Owner
	removed int
	failed  int   // one after the other
	kept    error // of the last that could not be removed
}

// away is after how many failures one after the other all that is stored is taken to be
// away.
const away = 10

func (s *sweep) visit(ctx context.Context, key string, modified time.Time) error {
	parts := strings.SplitN(strings.TrimPrefix(key, payloads), "/", 3)
	if len(parts) != 3 || !envelope.IsTenant(parts[0]) || !envelope.IsExecution(parts[1]) {
		return nil // nobody here wrote it
	}
	if at := (Owner{parts[0], parts[1]}); at != s.now {
		s.close()
		s.now, s.recent = at, false
	}
	s.recent = s.recent || !modified.Before(s.before)
	if len(s.old) < atOnce {
		return nil
	}
	return s.remove(ctx)
}

// close ends the execution that the walk is at.
func (s *sweep) close() {
	if s.now != (Owner{}) && !s.recent {
		s.old = append(s.old, s.now)
	}
	s.now = Owner{}
}

// remove removes what is stored of those that are not known.
func (s *sweep) remove(ctx context.Context) error {
	if len(s.old) == 0 {
		return nil
	}
	known, err := s.known(ctx, s.old)
	if err != nil {
		return fmt.Errorf("ask for %d executions: %w", len(s.old), err)
	}
	for _, owner := range s.old {
		if known[owner] {
			continue
		}
		if err := s.values.Erase(ctx, owner.Tenant, owner.Execution); err != nil {
			if s.failed++; s.failed == away || ctx.Err() != nil {
				return err
			}
			s.kept = err
			continue
		}
		s.failed = 0
		s.removed++
	}
	s.old = s.old[:0]
	return nil
}
