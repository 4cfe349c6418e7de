package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/internal/freeport"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// callers holds the gateway with all that asks who may call and how much, over
// PostgreSQL and Redis, against the same one with all of it off (entrance says what that
// is), a token against a key, the processor time of a request against a bare proxy's,
// and the memory that ten thousand keys take. The function behind does no more
// than decode its input, so that it is the gateway which is measured.
func (o *options) callers(ctx context.Context, p *platform, dir string) (rows []row, err error) {
	w, err := startWorld(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	rows, err = o.callersAtOnce(ctx, w)
	if err != nil {
		return rows, err
	}
	memory, err := o.callersMemory(ctx, p, w, dir)
	return append(rows, memory...), err
}

// The slices of a turn go round between those that are compared, so that what else
// the machine does meets each of them.
const slicesOfATurn = 6

// contender is one way to call, at a gateway's process.
type contender struct {
	name    string
	target  *target
	process *process
	rounds  []pooled
}

// pooled is what came of one round's slices of a contender.
type pooled struct {
	rates   []float64
	answers int
	each    []time.Duration
	cpu     time.Duration // of the gateway
}

func (t *pooled) rate() float64 {
	sum := 0.0
	for _, rate := range t.rates {
		sum += rate
	}
	return sum / float64(len(t.rates))
}

func (t *pooled) p99() float64 {
	return (&outcome{each: t.each}).percentile(0.99).Seconds()
}

// cost is the gateway's processor time for a request, in seconds.
func (t *pooled) cost() float64 { return t.cpu.Seconds() / float64(t.answers) }

// callersAtOnce loads an entrance with all off, one with all on by a key, the same by a
// token, and a bare proxy, in turns.
func (o *options) callersAtOnce(ctx context.Context, w *world) (rows []row, err error) {
	off := &entrance{Function: w.function}
	on := &entrance{Function: w.function, Database: w.server.URL(w.full), HashKey: w.hashKey.String(), File: w.file, Redis: w.redis.URL()}
	bare := &entrance{Function: w.function, Bare: true}
	running := map[*entrance]*process{}
	for _, e := range []*entrance{off, on, bare} {
		if e.Address, err = freeport.Address(ctx); err != nil {
			return nil, err
		}
		child, err := e.start(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, child.stop()) }()
		running[e] = child
	}
	all := make([]*contender, 4)
	for i, c := range []struct {
		name, credential string
		at               *entrance
	}{{"all off", onlyCredential, off}, {"a key", w.keys[0], on}, {"a token", w.token, on}, {"a bare proxy", "none", bare}} {
		all[i] = &contender{name: c.name, process: running[c.at]}
		if all[i].target, err = v2(c.at.Address, tinyModel, false, tinyInput(), "X-API-Key", c.credential); err != nil {
			return nil, err
		}
	}
	if err := o.turns(ctx, all); err != nil {
		return nil, errors.Join(err, errors.New(running[on].tail()))
	}
	return callersRows(all[0], all[1], all[2], all[3]), nil
}

// tinyInput is a request that costs next to nothing to decode.
func tinyInput() []infer.Tensor {
	return []infer.Tensor{infer.NewTensor("x", []int64{1, 16}, make([]float32, 16))}
}

// turns loads contenders a slice each, over and over, beginning with another one each
// time.
func (o *options) turns(ctx context.Context, all []*contender) error {
	for _, c := range all { // warm
		if _, err := c.target.load(ctx, gatewayClients, o.turn); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	order := slices.Clone(all)
	for round := range o.rounds {
		for _, c := range all {
			c.rounds = append(c.rounds, pooled{})
		}
		for range slicesOfATurn {
			for _, c := range order {
				if err := c.slice(ctx, o.turn/2); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			order = append(order[1:], order[0])
		}
		for _, c := range all {
			t := &c.rounds[round]
			progress("callers, round %d of %d, %s: %.0f/s, p99 %.2f ms, %.1f µs of the gateway's processors a request", round+1, o.rounds,
				c.name, t.rate(), 1e3*t.p99(), 1e6*t.cost())
		}
	}
	return nil
}

func (c *contender) slice(ctx context.Context, length time.Duration) error {
	before, err := c.process.cpu()
	if err != nil {
		return err
	}
	got, err := c.target.load(ctx, gatewayClients, length)
	if err != nil {
		return err
	}
	after, err := c.process.cpu()
	t := &c.rounds[len(c.rounds)-1]
	t.rates, t.each = append(t.rates, got.rate), append(t.each, got.each...)
	t.answers += got.answers
	t.cpu += after - before
	return err
}

// of is a figure of each round.
func (c *contender) of(figure func(*pooled) float64) []float64 {
	var out []float64
	for i := range c.rounds {
		out = append(out, figure(&c.rounds[i]))
	}
	return out
}

func callersRows(off, key, token, bare *contender) []row {
	rate, p99, cost := (*pooled).rate, (*pooled).p99, (*pooled).cost
	micros := func(c *contender) float64 { return 1e6 * median(c.of(cost)) }
	millis := func(c *contender) float64 { return 1e3 * median(c.of(p99)) }
	faster := ratios(key.of(rate), off.of(rate))
	slower := ratios(key.of(p99), off.of(p99))
	tokens := ratios(token.of(rate), key.of(rate))
	return []row{
		{
			fmt.Sprintf("throughput, %d clients: keys, roles, limits (burst %d), usage, audit and metrics on, over Redis and PostgreSQL with %d keys (%.0f µs of the gateway's processors a request)", gatewayClients, largeBurst, manyKeys, micros(key)),
			fmt.Sprintf("the same gateway with all off (%.0f µs)", micros(off)), spread(faster), "≥ 0.90", rounded(faster) >= 0.90,
		},
		{
			fmt.Sprintf("the same: p99 (%.1f ms)", millis(key)), fmt.Sprintf("the same (%.1f ms)", millis(off)),
			spread(slower), "≤ 1.50", rounded(slower) <= 1.50,
		},
		{
			fmt.Sprintf("throughput with a token (JWT) that is remembered (%.0f µs)", micros(token)), "with a key",
			spread(tokens), "≥ 0.80", rounded(tokens) >= 0.80,
		},
		{
			"what the gateway costs a request, all on: its processor time", fmt.Sprintf("a bare httputil.ReverseProxy's (%.0f µs)", micros(bare)),
			fmt.Sprintf("%.0f µs (%.0f to %.0f)", micros(key), 1e6*slices.Min(key.of(cost)), 1e6*slices.Max(key.of(cost))), "≤ 150 µs", micros(key) <= 150,
		},
	}
}

// callersPairs is how many pairs of gateways have their memory read.
const callersPairs = 3

// callersMemory holds the memory of the gateway's own program with ten thousand keys,
// each of which has called, against one that has its first key alone and was called
// as often. Two that run at once are a pair.
func (o *options) callersMemory(ctx context.Context, p *platform, w *world, dir string) ([]row, error) {
	binary, err := buildOnce(ctx, dir, "./cmd/gateway")
	if err != nil {
		return nil, err
	}
	var more, empty []float64
	for i := range min(o.rounds, callersPairs) {
		pair, err := w.weighPair(ctx, p, binary)
		if err != nil {
			return nil, err
		}
		more, empty = append(more, pair[1]-pair[0]), append(empty, pair[0])
		progress("callers, memory, pair %d: %.1f MB empty, %.1f MB with %d keys", i+1, pair[0], pair[1], manyKeys)
	}
	figure := fmt.Sprintf("+ %.1f MB (%.1f to %.1f)", median(more), slices.Min(more), slices.Max(more))
	return []row{{
		fmt.Sprintf("resident memory of the gateway with %d keys, after a call by each, at rest", manyKeys),
		fmt.Sprintf("an empty one after as many calls (%.0f MB)", median(empty)), figure, "+ ≤ 30 MB", median(more) <= 30,
	}}, nil
}

// weighPair is the memory, in MB, of a gateway over the empty database and of one over
// the full one.
func (w *world) weighPair(ctx context.Context, p *platform, binary string) (mb [2]float64, err error) {
	var pair [2]*weighed
	for i, database := range []string{w.empty, w.full} {
		if pair[i], err = w.startWeighed(ctx, p, binary, database); err != nil {
			return mb, err
		}
		defer func() { err = errors.Join(err, pair[i].stop()) }()
	}
	for i, keys := range [][]string{slices.Repeat([]string{w.admin}, len(w.keys)), w.keys} {
		if err := pair[i].callWith(ctx, keys); err != nil {
			return mb, errors.Join(err, errors.New(pair[i].tail()))
		}
	}
	select {
	case <-time.After(rest):
	case <-ctx.Done():
		return mb, ctx.Err()
	}
	for i, g := range pair {
		n, err := g.resident()
		if err != nil {
			return mb, err
		}
		mb[i] = float64(n) / 1e6
	}
	return mb, nil
}

// weighed is the gateway's own program.
type weighed struct {
	*process
	address, metrics string
}

func (w *world) startWeighed(ctx context.Context, p *platform, binary, database string) (*weighed, error) {
	g := &weighed{}
	var err error
	if g.address, err = freeport.Address(ctx); err != nil {
		return nil, err
	}
	if g.metrics, err = freeport.Address(ctx); err != nil {
		return nil, err
	}
	env, err := w.environment(p, g, database)
	if err != nil {
		return nil, err
	}
	if g.process, err = startProcess(binary, env); err != nil {
		return nil, err
	}
	if err := waitReady(ctx, "http://"+g.address+"/readyz"); err != nil {
		return nil, errors.Join(err, g.stop(), errors.New(g.tail()))
	}
	return g, nil
}

// settled is how often a gateway has collected its garbage, from its start on, before
// its memory is read.
const settled = 10

// callWith calls once with each key, and goes on until the gateway has collected its
// garbage a few times.
func (g *weighed) callWith(ctx context.Context, keys []string) error {
	for {
		if err := g.round(ctx, keys); err != nil {
			return err
		}
		n, err := collections(ctx, g.metrics)
		if err != nil || n >= settled {
			return err
		}
	}
}

func (g *weighed) round(ctx context.Context, keys []string) error {
	var c *conn
	for _, key := range keys {
		t, err := v2(g.address, tinyModel, false, tinyInput(), "Host", tinyModel+".default.models.test", "X-API-Key", key)
		if err != nil {
			return err
		}
		if c == nil {
			if c, err = t.dial(ctx); err != nil {
				return err
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(longestAnswer)); err != nil {
				return err
			}
		}
		if err := c.exchange(t.request); err != nil {
			return err
		}
	}
	return nil
}

// writeRoutes writes the routes of a gateway, whose one function has the model.
func (w *world) writeRoutes(dir string) error {
	w.routes = filepath.Join(dir, "callers-routes.yaml")
	text := fmt.Sprintf("functions:\n- {name: %s, url: 'http://%s', models: [%s@1]}\n", tinyModel, w.function, tinyModel)
	return os.WriteFile(w.routes, []byte(text), 0o600)
}
