package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// tenantHeader names the caller's tenant; the gateway sets it, and these calls go past it.
const tenantHeader = "Modelserve-Tenant"

// fair holds what a light tenant waits while another floods the function with
// ten times what it can do against what it waits alone. It sends one request
// at a time; the flood does not wait for answers.
func (o *options) fair(ctx context.Context, p *platform, dir string) (rows []row, err error) {
	models, err := choose(o.models, dir)
	if err != nil {
		return nil, err
	}
	for _, s := range models {
		if o.models == "" && !slices.Contains([]string{"text-recognize", "mlp"}, s.name) {
			continue
		}
		r, err := o.fairFor(ctx, p, dir, s)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", s.name, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (o *options) fairFor(ctx context.Context, p *platform, dir string, s *subject) (r row, err error) {
	name, err := p.push(ctx, s, learned)
	if err != nil {
		return r, err
	}
	f, err := p.startFunction(ctx, dir, "./functions/onnx", name+"@1")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	light, err := v2(f.address, name, true, s.tensors(1), tenantHeader, "light")
	if err != nil {
		return r, err
	}
	heavy, err := v2(f.address, name, true, s.tensors(1), tenantHeader, "flood")
	if err != nil {
		return r, err
	}
	full, err := heavy.load(ctx, 32, o.turn)
	if err != nil {
		return r, err
	}
	turn := max(fairTurn, o.turn)
	var ratio []float64
	var quiets, busies outcome // of all rounds: a hundredth of one is a single answer
	var flooded floodResult
	for round := range o.rounds {
		quiet, err := light.load(ctx, 1, turn)
		if err != nil {
			return r, err
		}
		busy, result, err := underFlood(ctx, light, heavy, flood{Rate: floodTimes * full.rate, Turn: turn + floodLead})
		if err != nil {
			return r, fmt.Errorf("%w\n%s", err, f.tail())
		}
		a, b := quiet.percentile(0.99), busy.percentile(0.99)
		ratio = append(ratio, float64(b)/float64(a))
		quiets.each, busies.each = append(quiets.each, quiet.each...), append(busies.each, busy.each...)
		flooded.add(result)
		progress("fair, %s, round %d of %d: light p50 %s, p99 %s of %d alone; p50 %s, p99 %s of %d flooded; flood %s", s.name, round+1, o.rounds,
			short(quiet.percentile(0.5)), short(a), len(quiet.each), short(busy.percentile(0.5)), short(b), len(busy.each), result)
	}
	a, b := quiets.percentile(0.99), busies.percentile(0.99)
	all := float64(b) / float64(a)
	return row{
		fmt.Sprintf("p99 of a light tenant, %s, another flooding at %d × %.0f/s (%s of %d answers; the flood: %s)", s.name, floodTimes, full.rate, short(b), len(busies.each), flooded),
		fmt.Sprintf("the light tenant alone (%s of %d)", short(a), len(quiets.each)),
		fmt.Sprintf("%.2f of all rounds together (%.2f to %.2f)", all, slices.Min(ratio), slices.Max(ratio)), "≤ 3", all <= 3,
	}, nil
}

// floodTimes is how much more than the function can do is asked of it; it is
// flooded for a while before the light tenant's times count.
const (
	floodTimes = 10
	fairTurn   = 3 * time.Second
	floodLead  = time.Second
)

// underFlood loads the light target while a process of its own floods the
// heavy one.
func underFlood(ctx context.Context, light, heavy *target, f flood) (busy *outcome, result floodResult, err error) {
	child, err := startFlood(heavy, f)
	if err != nil {
		return nil, result, err
	}
	select {
	case <-time.After(floodLead / 2):
	case <-ctx.Done():
	}
	busy, err = light.load(ctx, 1, f.Turn-floodLead)
	result, floodErr := child.wait()
	return busy, result, errors.Join(err, floodErr)
}

func short(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }
