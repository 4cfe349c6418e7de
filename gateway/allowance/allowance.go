// Package allowance wires how much callers may have and what they used, for each of the
// programs that have a gateway: the limits over Redis, and usage and the quotas' counts
// over the gateway's database.
//
// It decides nothing that what it wires could decide, and opens no database.
package allowance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Config is where limits are counted, and for how long usage is kept.
type Config struct {
	// Redis has the counts of limits: redis://[USER]:PASSWORD@HOST:PORT[/DB], rediss://
	// by TLS, with ?addr=HOST:PORT&addr=… for a Redis Cluster. Every gateway of a
	// database has the same. Without it the gateway's file may have no limits. It is a
	// secret.
	Redis string `env:"MODELSERVE_REDIS,unset"`

	// RedisPrefix begins the keys in Redis: deployments that share one have prefixes of
	// their own.
	RedisPrefix string `env:"MODELSERVE_REDIS_PREFIX" envDefault:"modelserve"`

	// UsageAge is how long usage is kept.
	UsageAge time.Duration `env:"MODELSERVE_USAGE_AGE" envDefault:"9600h"`
}

// Check implements env.Checker.
func (c *Config) Check() []error {
	var faults []error
	if c.Redis != "" {
		if err := redislimit.Check(c.Redis); err != nil {
			faults = append(faults, env.Faultf("MODELSERVE_REDIS", "%v", err))
		}
	}
	if c.RedisPrefix == "" || len(c.RedisPrefix) > 64 || strings.ContainsAny(c.RedisPrefix, "{} \t\r\n") {
		faults = append(faults, env.Faultf("MODELSERVE_REDIS_PREFIX", "expected 1 to 64 bytes without braces and white space"))
	}
	if c.UsageAge <= 0 {
		faults = append(faults, env.Faultf("MODELSERVE_USAGE_AGE", "expected more than zero"))
	}
	return faults
}

// Allowance is how much callers may have, and what they used.
type Allowance struct {
	recorder *usage.Recorder
	limiter  *limit.Limiter       // nil without Redis
	counters *redislimit.Counters // as well
}

// Open wires what Run has run. The store is its owner's to close, after Run.
func Open(config Config, store usage.Store, tel *telemetry.Telemetry) (*Allowance, error) {
	recorder, err := usage.NewRecorder(store, config.UsageAge, tel.Registry, tel.Logger)
	if err != nil {
		return nil, err
	}
	a := &Allowance{recorder: recorder}
	if config.Redis == "" {
		return a, nil
	}
	replica := strings.ToLower(rand.Text())
	if a.counters, err = redislimit.Open(config.Redis, config.RedisPrefix, replica); err != nil {
		return nil, fmt.Errorf("MODELSERVE_REDIS: %w", err)
	}
	if a.limiter, err = limit.New(a.counters, ledger{store, recorder}, replica, tel.Registry, tel.Logger); err != nil {
		return nil, errors.Join(err, a.counters.Close())
	}
	recorder.OnTotals(func(totals []usage.Quota) {
		for _, q := range totals {
			a.limiter.Raised(q.Limit, q.Combination, limit.Total{Period: q.Period, Count: q.Count})
		}
	})
	return a, nil
}

// Usage counts what is used, of quotas too.
func (a *Allowance) Usage() *usage.Recorder { return a.recorder }

// Charge charges a tenant's limits what ran without a call of its own.
func (a *Allowance) Charge(tenant, model string, used infer.Usage) {
	if a.limiter != nil {
		a.limiter.Charge(tenant, model, used)
	}
}

// Check reports why a gateway's file cannot be in force here.
func (a *Allowance) Check(f *gatewayfile.File) error {
	if len(f.Limits) > 0 && a.limiter == nil {
		return errors.New("limits: expected none, for this gateway has no Redis to count in (MODELSERVE_REDIS)")
	}
	return nil
}

// Use puts the limits of a file in force.
func (a *Allowance) Use(f *gatewayfile.File) {
	if a.limiter != nil {
		a.limiter.Use(f.Limits, f.Down)
	}
}

// Wire gives a gateway its limits, and what it counts by.
func (a *Allowance) Wire(deps *gateway.Deps) {
	deps.Usage = a.recorder
	if a.limiter == nil {
		return
	}
	deps.Limiter = limiter{a.limiter}
	others := deps.Troubles
	deps.Troubles = func() (all []string) {
		if others != nil {
			all = others()
		}
		if trouble := a.limiter.Trouble(); trouble != "" {
			all = append(all, trouble)
		}
		return all
	}
}

// Run counts, until ctx ends and what was counted is stored; it closes the connections
// to Redis.
func (a *Allowance) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { a.recorder.Run(ctx) })
	if a.limiter != nil {
		a.limiter.Run(ctx)
		_ = a.counters.Close() // nothing of it is left to be lost
	}
	running.Wait()
}

// limiter is a limit.Limiter as the door has it.
type limiter struct{ of *limit.Limiter }

// Admit implements door.Limiter.
func (l limiter) Admit(ctx context.Context, s *limit.Subject) (door.Share, error) {
	g, err := l.of.Admit(ctx, s)
	if g == nil {
		return nil, err
	}
	return g, err
}

// ledger has the quotas' counts: those that are stored, and what is to be.
type ledger struct {
	store    usage.Store
	recorder *usage.Recorder
}

// Count implements limit.Ledger.
func (l ledger) Count(ctx context.Context, rule, combination, period string) (int64, error) {
	key := usage.QuotaKey{Limit: rule, Combination: combination, Period: period}
	stored, err := l.store.Quotas(ctx, []usage.QuotaKey{key})
	if err != nil {
		return 0, fmt.Errorf("read a quota's count: %w", err)
	}
	n := l.recorder.Unstored(key)
	for _, q := range stored {
		n += q.Count
	}
	return n, nil
}

// Add implements limit.Ledger.
func (l ledger) Add(rule, combination, period string, n int64) {
	l.recorder.AddQuota(rule, combination, period, n)
}
