package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/values"
)

const (
	swept = record.MaxBatch  // rows that are removed at once
	away  = 10               // failures one after the other after which all that is stored is taken to be away
	again = 10 * time.Minute // after which it is tried again to remove what could not be
	grace = time.Hour        // after which what is stored of no execution is nobody's
)

// sweeps removes what is over until Stop.
func (d *Dispatcher) sweeps(ctx context.Context) {
	rows, orphans := time.NewTicker(d.cfg.Sweep), time.NewTicker(d.cfg.Orphans)
	defer rows.Stop()
	defer orphans.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-rows.C:
			if err := d.sweep(ctx); err != nil {
				d.trouble(ctx, "executions that are over could not be removed; they come again", err)
			}
		case <-orphans.C:
			if err := d.orphans(ctx); err != nil {
				d.trouble(ctx, "stored values of no execution could not be removed; they come again", err)
			}
		}
	}
}

// sweep removes executions whose retention is over, what is stored of them first, and
// idempotency keys. What cannot be removed stays with its row, and keeps no other's: it
// comes again later.
func (d *Dispatcher) sweep(ctx context.Context) error {
	var kept error
	for failures := 0; ctx.Err() == nil; {
		ended, err := d.Store.Expired(ctx, swept)
		if err != nil {
			return err
		}
		ids, stay := make([]string, 0, len(ended)), []string(nil)
		for _, e := range ended {
			if err := d.Values.Erase(ctx, e.Tenant, e.ID); err != nil {
				stay = append(stay, e.ID)
				kept = fmt.Errorf("erase what is stored of execution %s: %w", e.ID, err)
				if failures++; failures == away {
					break
				}
				continue
			}
			failures = 0
			ids = append(ids, e.ID)
		}
		n, err := d.Store.Forget(ctx, ids)
		if err != nil {
			return err
		}
		d.metrics.removed.Add(float64(n))
		if len(stay) > 0 {
			if err := d.Store.Keep(ctx, stay, again); err != nil {
				return err
			}
		}
		if len(ended) < swept || failures == away {
			break
		}
	}
	if err := d.trim(ctx); err != nil {
		return err
	}
	return kept
}

func (d *Dispatcher) trim(ctx context.Context) error {
	for ctx.Err() == nil {
		if n, err := d.Store.Trim(ctx, record.MaxBatch); err != nil || n < record.MaxBatch {
			return err
		}
	}
	return nil
}

// orphans removes what is stored of executions that there are not.
func (d *Dispatcher) orphans(ctx context.Context) error {
	n, err := d.Values.Sweep(ctx, time.Now().Add(-grace), func(ctx context.Context, owners []values.Owner) (map[values.Owner]bool, error) {
		known := make(map[values.Owner]bool, len(owners))
		for _, o := range owners {
			loaded, err := d.Store.Load(ctx, o.Execution)
			switch {
			case errors.Is(err, record.ErrUnavailable) || ctx.Err() != nil:
				return nil, err
			case err == nil:
				known[o] = loaded.Execution.Tenant == o.Tenant
			default: // there it is, whether or not it can be read
				known[o] = !errors.Is(err, record.ErrNotFound)
			}
		}
		return known, nil
	})
	if n > 0 {
		d.Logger.InfoContext(ctx, "stored values of no execution were removed", "executions", n)
	}
	return err
}
