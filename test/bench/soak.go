package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/runtime/model"
)

// soak calls, publishes, swaps, evicts and unloads for a turn, all at once, on a
// platform of its own whose pool has too little memory for all models. Every
// answer is checked. No request may fail, and the pool must not grow.
func (o *options) soak(ctx context.Context, _ *platform, dir string) (rows []row, err error) {
	models, err := soakSubjects(dir)
	if err != nil {
		return nil, err
	}
	if err := learnAnswers(ctx, models); err != nil {
		return nil, err
	}
	overlay, err := writeOverlay(dir, []string{"pool"}, "MODELSERVE_MEMORY", soakMemory)
	if err != nil {
		return nil, err
	}
	p, err := startPlatform(ctx, filepath.Join(dir, "soak", ".modelserve"), "--overlay", overlay)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	s := &soaking{publisher: publisher{
		platform: p, dir: dir, newest: newLineage("soak-newest"), stable: newLineage("soak-stable"), split: newLineage("soak-split"),
	}, fixed: models, http1: &http.Client{Transport: transport(false)}, http2: &http.Client{Transport: transport(true)}}
	if err := s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.tail())
	}
	if err := s.run(ctx, o.turn); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.tail())
	}
	if rows, err = s.verdict(ctx); err != nil {
		return rows, err
	}
	for _, r := range rows {
		if !r.holds {
			err = errors.New("the soak failed")
		}
	}
	return rows, err
}

// soaking is a soak under way.
type soaking struct {
	publisher

	fixed   []*fixed
	tenants []string // their keys
	http1   *http.Client
	http2   *http.Client
	pool    *watched
	tally   tally
	unloads int
	took    time.Duration
}

// transport keeps connections for every caller.
func transport(h2c bool) *http.Transport {
	t := &http.Transport{Protocols: new(http.Protocols), MaxIdleConnsPerHost: 64, ExpectContinueTimeout: time.Minute}
	t.Protocols.SetHTTP1(!h2c)
	t.Protocols.SetUnencryptedHTTP2(h2c)
	return t
}

// prepare publishes every model, makes the tenants' keys, and starts the pool.
func (s *soaking) prepare(ctx context.Context) error {
	progress("soak: publish the models")
	for _, m := range s.fixed {
		if err := s.modelserve(ctx, append([]string{"models", "push", m.name, m.path()}, m.shapeFlags()...)...); err != nil {
			return err
		}
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	for _, tenant := range []string{"soak-a", "soak-b", "soak-c"} {
		key, err := s.makeKey(ctx, s.http1, tenant)
		if err != nil {
			return err
		}
		s.tenants = append(s.tenants, key)
	}
	q := s.newest.ask("", nil)
	if _, err := restCaller(s.http1, s.address, s.tenants[0], true)(ctx, &q); err != nil {
		return fmt.Errorf("the first call: %w", err)
	}
	var err error
	s.pool, err = s.findPool(ctx)
	return err
}

// run does everything at once for a turn.
func (s *soaking) run(ctx context.Context, turn time.Duration) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, turn)
	defer cancel()
	var wg sync.WaitGroup
	s.callers(ctx, &wg)
	errs := make([]error, 3)
	fail := func(at *error, err error) {
		if *at = err; err != nil {
			cancel()
		}
	}
	wg.Go(func() { fail(&errs[0], s.publish(ctx)) })
	wg.Go(func() { fail(&errs[1], s.pool.watch(ctx)) })
	wg.Go(func() {
		n, err := s.unload(ctx, s.http1, s.names(), 1500*time.Millisecond)
		s.unloads = n
		fail(&errs[2], err)
	})
	wg.Go(func() { s.report(ctx) })
	wg.Wait()
	s.took = time.Since(began)
	return errors.Join(errs...)
}

func (s *soaking) names() []string {
	names := []string{s.newest.name, s.stable.name, s.split.name}
	for _, m := range s.fixed {
		names = append(names, m.name)
	}
	return names
}

// report prints every ten seconds how the soak goes, until ctx ends.
func (s *soaking) report(ctx context.Context) {
	for pause(ctx, 10*time.Second) == nil {
		found, err := s.pool.read(ctx)
		resident, _ := s.pool.resident()
		progress("soak: %s; %.0f loads, %.0f evicted for memory, %.0f MB of models, %.0f MB resident (%v)", s.tally.String(),
			found.sum("modelserve_model_loads_total"), found.sum("modelserve_model_evictions_total", `reason="memory"`),
			found.sum("modelserve_models_memory_bytes", `kind="used"`)/1e6, float64(resident)/1e6, err)
	}
}

// callers start: each tenant calls every lineage in each way, by a protocol of
// its own.
func (s *soaking) callers(ctx context.Context, wg *sync.WaitGroup) {
	start := func(call caller, rest time.Duration, next func() question) {
		wg.Go(func() {
			for ctx.Err() == nil {
				s.tally.one(ctx, call, next())
				_ = pause(ctx, rand.N(rest))
			}
		})
	}
	var ways []caller
	for i, key := range s.tenants {
		call := grpcCaller(s.http2, s.address, key)
		if i > 0 {
			call = restCaller(s.http1, s.address, key, i == 1)
		}
		ways = append(ways, call)
		for _, line := range []struct {
			of   *lineage
			want string
		}{{s.newest, ""}, {s.stable, ""}, {s.stable, model.Stable}, {s.split, model.Latest}} {
			var last int
			start(call, 60*time.Millisecond, func() question { return line.of.ask(line.want, &last) })
		}
		start(call, 60*time.Millisecond, func() question { return s.split.ask("", nil) })
		start(call, 60*time.Millisecond, func() question {
			return []*lineage{s.stable, s.split}[rand.IntN(2)].askNumber()
		})
	}
	var fillers []*fixed
	for i, m := range s.fixed {
		if strings.HasPrefix(m.name, "soak-filler") {
			fillers = append(fillers, m)
			continue
		}
		start(ways[i%2], 300*time.Millisecond, m.ask)
	}
	for i := range 2 { // through all of them, a while each
		n := i * len(fillers) / 2 * fillerCalls
		start(ways[i], 50*time.Millisecond, func() question {
			n++
			return fillers[n/fillerCalls%len(fillers)].ask()
		})
	}
	wg.Go(func() { s.tooLarge(ctx, ways) })
}

const fillerCalls = 10

// tooLarge sends what has to be refused: too many elements, and a body over the
// bound.
func (s *soaking) tooLarge(ctx context.Context, ways []caller) {
	for n := 0; pause(ctx, 300*time.Millisecond) == nil; n++ {
		q := s.newest.ask("", nil)
		q.input.Shape = []int64{soakElements/soakWidth + 1, soakWidth}
		q.input.Data = make([]byte, 4*(soakElements+soakWidth))
		if n%10 == 0 {
			s.tally.refused(s.sendHuge(context.WithoutCancel(ctx)), errTooLarge)
			continue
		}
		_, err := ways[n%len(ways)](context.WithoutCancel(ctx), &q)
		s.tally.refused(err, errInvalid)
	}
}

// hugeBody is over every bound on bodies.
const hugeBody = 1 << 30

// sendHuge announces a huge body, and sends it only to a server that wants it.
func (s *soaking) sendHuge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.address+"/v2/models/"+s.newest.name+"/infer", zeros{})
	if err != nil {
		return err
	}
	req.ContentLength = hugeBody
	req.Header.Set("Expect", "100-continue")
	req.Header.Set("X-API-Key", s.tenants[0])
	_, _, err = send(s.http1, req)
	return err
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
