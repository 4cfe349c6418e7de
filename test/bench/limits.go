package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/internal/freeport"
	"github.com/modelserveai/modelserve/test/redistest"
)

// limits holds what three gateways admit together, by one limit over one PostgreSQL,
// against what it allows: no more and no less while its Redis works, and never more than
// a second's calls beyond it while one of a Redis Cluster dies.
func (o *options) limits(ctx context.Context, _ *platform, dir string) (rows []row, err error) {
	w, err := startWorld(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	for _, b := range []bucket{
		{rate: 200, burst: 100, note: "nothing leased"},
		{rate: 1000, burst: 1000, note: "with leases"},
	} {
		r, err := o.exactness(ctx, w, dir, b)
		if err != nil {
			return rows, err
		}
		rows = append(rows, r)
	}
	r, err := o.failover(ctx, w, dir, bucket{rate: 1000, burst: 1000})
	if err != nil {
		return rows, err
	}
	return append(rows, r), nil
}

const (
	// manyReplicas is how many gateways have one limit.
	manyReplicas = 3

	// timesTheLimit is how many times its rate calls come.
	timesTheLimit = 5

	// limitTurns is how long calls come, in turns: ten seconds.
	limitTurns = 10

	// limitRounds bounds the rounds. Each has a tenant of its own, whose bucket is full.
	limitRounds = 3
)

// bucket is a limit of requests.
type bucket struct {
	rate  int // a second
	burst int
	note  string
}

func (b bucket) String() string { return fmt.Sprintf("%d/s, burst %d", b.rate, b.burst) }

// limit is the bucket as the gateway's file has it.
func (b bucket) limit(name string, per ...string) map[string]any {
	return map[string]any{"name": name, "per": per, "rate": fmt.Sprintf("%d/s", b.rate), "burst": b.burst}
}

// most is what the bucket admits in a time, from full on.
func (b bucket) most(d time.Duration) float64 {
	return float64(b.burst) + float64(b.rate)*d.Seconds()
}

// exactness holds what is admitted against the bucket, while Redis works.
func (o *options) exactness(ctx context.Context, w *world, dir string, b bucket) (r row, err error) {
	f, err := w.startFleet(ctx, dir, b, w.redis.URL())
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	var exact, offered []float64
	for round := range min(o.rounds, limitRounds) {
		calls, err := f.offer(ctx, w.tenantKey(round), timesTheLimit*b.rate)
		if err != nil {
			return r, err
		}
		err = pause(ctx, limitTurns*o.turn)
		got, failed := calls.end()
		if err := errors.Join(err, failed); err != nil {
			return r, errors.Join(err, errors.New(f.running[0].tail()))
		}
		exact = append(exact, float64(len(got.admitted))/b.most(got.span()))
		offered = append(offered, got.rate()/float64(b.rate))
		progress("limits, %s, round %d: %v, of which %.1f are allowed", b, round+1, got, b.most(got.span()))
	}
	off := max(slices.Max(exact)-1, 1-slices.Min(exact))
	return row{
		fmt.Sprintf("what %d gateways admit by a limit of %s (%s), of %.1f times as many calls, in %v", manyReplicas, b, b.note, median(offered), limitTurns*o.turn),
		"burst + rate × time", fmt.Sprintf("%.4f (%.4f to %.4f)", median(exact), slices.Min(exact), slices.Max(exact)),
		"1 ± 0.01", off <= 0.01 && slices.Min(offered) >= 2,
	}, nil
}

// failover holds what is admitted in whichever span of time against the bucket, while
// the primary that has its count is killed and its replica takes over.
func (o *options) failover(ctx context.Context, w *world, dir string, b bucket) (r row, err error) {
	var beyond, gaps []float64
	for round := range min(o.rounds, limitRounds) {
		got, err := o.failOver(ctx, w, dir, b)
		if err != nil {
			return r, err
		}
		beyond, gaps = append(beyond, got.beyond(b)), append(gaps, got.gap().Seconds())
		progress("limits, a failover, %s, round %d: %v; %.0f beyond the limit, %.1f s without one", b, round+1, got, beyond[round], gaps[round])
	}
	return row{
		fmt.Sprintf("the same across a failover of Redis Cluster (%s; %.1f s without a call that is admitted): the most beyond burst + rate × time, in whichever span of time", b, median(gaps)),
		"a second's calls", fmt.Sprintf("%.0f (%.0f to %.0f)", median(beyond), slices.Min(beyond), slices.Max(beyond)),
		fmt.Sprintf("≤ %d", b.rate), slices.Max(beyond) <= float64(b.rate),
	}, nil
}

// failOver has calls come to gateways over a cluster of their own, for half of the time
// before its primary is killed, and half of it behind the first that is admitted then.
func (o *options) failOver(ctx context.Context, w *world, dir string, b bucket) (got *offered, err error) {
	progress("start a Redis Cluster")
	cluster, err := redistest.RunCluster(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	slot, err := cluster.Servers[0].Client().ClusterKeySlot(ctx, "{"+countsPrefix+"}").Result()
	if err != nil {
		return nil, err
	}
	f, err := w.startFleet(ctx, dir, b, cluster.URL())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	calls, err := f.offer(ctx, w.tenantKey(0), timesTheLimit*b.rate)
	if err != nil {
		return nil, err
	}
	err = func() error {
		if err := pause(ctx, limitTurns*o.turn/2); err != nil {
			return err
		}
		if _, err := cluster.KillPrimary(ctx, int(slot)); err != nil {
			return err
		}
		if _, err := cluster.Primary(ctx, int(slot)); err != nil {
			return err
		}
		if err := calls.more(ctx); err != nil {
			return err
		}
		return pause(ctx, limitTurns*o.turn/2)
	}()
	got, failed := calls.end()
	if err := errors.Join(err, failed); err != nil {
		return nil, errors.Join(err, errors.New(f.running[0].tail()))
	}
	return got, nil
}

// tenantKey is a key of a tenant of the full database.
func (w *world) tenantKey(tenant int) string { return w.keys[tenant*manyKeys/manyTenants] }

// fleet is gateways with one limit, one database and one Redis.
type fleet struct {
	entrances []*entrance
	running   []*process
}

// startFleet starts one whose limit is for each tenant, and warms it as the last one.
func (w *world) startFleet(ctx context.Context, dir string, b bucket, redis string) (f *fleet, err error) {
	file := filepath.Join(dir, "limits.yaml")
	if err := writeGatewayFile(file, map[string]any{"limits": []any{b.limit("per-tenant", "tenant")}}); err != nil {
		return nil, err
	}
	f = new(fleet)
	defer func() {
		if err != nil {
			err = errors.Join(err, f.stop())
		}
	}()
	for range manyReplicas {
		e := &entrance{Function: w.function, Database: w.server.URL(w.full), HashKey: w.hashKey.String(), File: file, Redis: redis}
		if e.Address, err = freeport.Address(ctx); err != nil {
			return nil, err
		}
		child, err := e.start(ctx)
		if err != nil {
			return nil, err
		}
		f.entrances, f.running = append(f.entrances, e), append(f.running, child)
		t, err := e.target(w.tenantKey(manyTenants - 1))
		if err != nil {
			return nil, err
		}
		if err := t.times(ctx, offerers, int64(b.burst/manyReplicas/2)); err != nil {
			return nil, fmt.Errorf("warm a gateway: %w\n%s", err, child.tail())
		}
	}
	return f, nil
}

// target is a call of the one model, with a key.
func (e *entrance) target(key string) (*target, error) {
	return v2(e.Address, tinyModel, false, tinyInput(), "X-API-Key", key)
}

func (f *fleet) stop() error {
	var faults []error
	for _, child := range f.running {
		faults = append(faults, child.stop())
	}
	return errors.Join(faults...)
}
