package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// learned is the size of the contestant that finds its own.
const learned = 0

// contestant is a function that serves a model with one maximum batch size. It
// is another process in each round: where the kernel puts a model's memory makes
// a tenth of difference, and lasts as long as the process.
type contestant struct {
	*function
	model  string // as published
	size   int
	target *target
	rates  []float64 // by round
	costs  []float64 // by round: seconds of the server's processor time for an answer
}

// begin starts the function, and warms it up.
func (c *contest) begin(ctx context.Context, one *contestant, clients int) (err error) {
	if one.function, err = c.platform.startFunction(ctx, c.dir, "./functions/onnx", one.model+"@1"); err != nil {
		return err
	}
	if one.target, err = v2(one.address, one.model, true, c.subject.tensors(1)); err != nil {
		return err
	}
	_, err = one.target.load(ctx, clients, c.turn)
	return err
}

// end stops the function, if it runs.
func (c *contestant) end() error {
	if c.function == nil {
		return nil
	}
	f := c.function
	c.function = nil
	return f.stop()
}

func (c *contestant) turn(ctx context.Context, clients int, turn time.Duration) error {
	before, err := c.cpu()
	if err != nil {
		return err
	}
	out, err := c.target.load(ctx, clients, turn)
	if err != nil {
		return fmt.Errorf("batch size %s: %w\n%s", c.label(), err, c.tail())
	}
	after, err := c.cpu()
	if err != nil {
		return err
	}
	c.rates = append(c.rates, out.rate)
	c.costs = append(c.costs, (after-before).Seconds()/float64(out.answers))
	return nil
}

func (c *contestant) label() string {
	if c.size == learned {
		return "learned"
	}
	return strconv.Itoa(c.size)
}

// batching holds what the server learned against every fixed batch size, and
// against none. A batch never holds more rows than there are clients, so the
// sizes above that are left out: they would be the same again.
func (o *options) batching(ctx context.Context, p *platform, dir string) ([]row, error) {
	return o.contests(ctx, p, dir, true)
}

// bareLoops holds the learned size against the bare loop at the best fixed
// one. It comes with batching, which knows the best size, where that runs.
func (o *options) bareLoops(ctx context.Context, p *platform, dir string) ([]row, error) {
	if o.has("batching") {
		return nil, nil
	}
	return o.contests(ctx, p, dir, false)
}

func (o *options) contests(ctx context.Context, p *platform, dir string, batching bool) (rows []row, err error) {
	models, err := choose(o.models, dir)
	if err != nil {
		return nil, err
	}
	for _, s := range models {
		c := &contest{options: o, subject: s, batching: batching, platform: p, dir: dir}
		measured, err := c.run(ctx)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", s.name, err)
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

// contest is one model under load.
type contest struct {
	*options
	subject  *subject
	platform *platform
	dir      string
	batching bool
	all      []*contestant // the learned one first
	bare     *bare
}

func (c *contest) run(ctx context.Context) (rows []row, err error) {
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.publish(ctx); err != nil {
		return nil, err
	}
	for _, clients := range c.clients {
		measured, err := c.at(ctx, clients)
		if err != nil {
			return nil, err
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

// publish publishes the model once for each size.
func (c *contest) publish(ctx context.Context) error {
	sizes, err := c.sizes(ctx, c.platform)
	if err != nil {
		return err
	}
	progress("%s: publish %d times", c.subject.name, len(sizes))
	for _, size := range sizes {
		name, err := c.platform.push(ctx, c.subject, size)
		if err != nil {
			return err
		}
		c.all = append(c.all, &contestant{model: name, size: size})
	}
	if c.has("bare") {
		c.bare, err = startBare(c.subject)
	}
	return err
}

func (c *contest) stop() error {
	var errs []error
	for _, one := range c.all {
		errs = append(errs, one.end())
	}
	if c.bare != nil {
		errs = append(errs, c.bare.stop())
	}
	return errors.Join(errs...)
}

// sizes are those to serve the model with: learned, none, and the fixed ones
// where rows can be joined.
func (c *contest) sizes(ctx context.Context, p *platform) ([]int, error) {
	sizes := []int{learned, 1}
	if !c.subject.joins {
		return sizes, nil
	}
	for size := 2; size <= slices.Max(c.clients); size *= 2 {
		sizes = append(sizes, size)
	}
	if ok, err := p.knowsBatchSizes(ctx); err != nil || !ok {
		progress("NOTE: this CLI's `models push` has no --max-batch-size: fixed sizes are left out, and none is the same as learned")
		return sizes[:2], err
	}
	return sizes, nil
}

// push publishes a subject with a maximum batch size and returns its name.
func (p *platform) push(ctx context.Context, s *subject, size int) (string, error) {
	name := s.published()
	args := append([]string{"models", "push", name, s.path()}, s.shapeFlags()...)
	if size != learned {
		name += "-" + strconv.Itoa(size)
		args[2] = name
		ok, err := p.knowsBatchSizes(ctx)
		if err != nil {
			return "", err
		}
		if ok {
			args = append(args, "--max-batch-size", strconv.Itoa(size))
		}
	}
	return name, p.modelserve(ctx, args...)
}

// at measures at so many clients.
func (c *contest) at(ctx context.Context, clients int) ([]row, error) {
	var running []*contestant
	for _, one := range c.all {
		one.rates, one.costs = nil, nil
		if one.size <= clients {
			running = append(running, one)
		}
	}
	if err := c.rounds(ctx, running, clients); err != nil {
		return nil, err
	}
	self := running[0]
	fixed := make([][]float64, 0, len(running))
	for _, one := range running[1:] {
		fixed = append(fixed, one.rates)
	}
	best := running[1+bestOf(fixed, -1)]
	what := fmt.Sprintf("%s, %d clients", c.subject.name, clients)
	var rows []row
	if c.batching {
		none := ratios(self.rates, running[1].rates)
		rows = append(rows, row{"throughput, " + what, "no batching", spread(none), "≥ 1.00", rounded(none) >= 1})
		if len(running) > 2 {
			ours := againstBest(self.rates, fixed)
			rows = append(rows, row{"throughput, " + what, "the best fixed size, " + best.label(), spread(ours), "≥ 0.97", rounded(ours) >= 0.97})
		}
	}
	if c.bare == nil {
		return rows, nil
	}
	measured, err := c.againstBare(ctx, self, best.size, clients, what)
	return append(rows, measured...), err
}

// rounds gives each contestant its turns, one after the other, beginning with
// another one in each round.
func (c *contest) rounds(ctx context.Context, running []*contestant, clients int) error {
	rounds := c.options.rounds
	if !c.batching {
		rounds = 1 // only to find the best size
	}
	for round := range rounds {
		if err := c.round(ctx, running, clients, round); err != nil {
			return err
		}
		progress("%s, %d clients, round %d of %d: %s", c.subject.name, clients, round+1, rounds, standing(running))
	}
	return nil
}

func (c *contest) round(ctx context.Context, running []*contestant, clients, round int) (err error) {
	defer func() {
		for _, one := range running {
			err = errors.Join(err, one.end())
		}
	}()
	for i := range running {
		if err := c.begin(ctx, running[(round+i)%len(running)], clients); err != nil {
			return err
		}
	}
	for i := range running {
		if err := running[(round+i)%len(running)].turn(ctx, clients, c.turn); err != nil {
			return err
		}
	}
	return nil
}

// againstBare holds the learned size against the bare loop at the best one.
func (c *contest) againstBare(ctx context.Context, self *contestant, size, clients int, what string) ([]row, error) {
	self.rates, self.costs = nil, nil
	var rate, cpu []float64
	for round := range c.options.rounds {
		l, err := c.bare.run(order{Rows: size, Loops: (clients + size - 1) / size, Turn: c.turn})
		if err != nil {
			return nil, err
		}
		err = c.begin(ctx, self, clients)
		if err == nil {
			err = self.turn(ctx, clients, c.turn)
		}
		if err = errors.Join(err, self.end()); err != nil {
			return nil, err
		}
		rate = append(rate, self.rates[round]/l.Rate)
		cpu = append(cpu, self.costs[round]/l.PerRow)
		progress("%s, %d clients, bare loop of %d, round %d of %d: %.1f/s and %.1f/s, %.0f and %.0f µs of processor", c.subject.name, clients, size,
			round+1, c.options.rounds, l.Rate, self.rates[round], l.PerRow*1e6, self.costs[round]*1e6)
	}
	against := fmt.Sprintf("a bare ONNX Runtime loop of %d", size)
	return []row{
		{"processor time of the server for a request, " + what, against, spread(cpu), "≤ 1.08", rounded(cpu) <= 1.08},
		{"throughput, the client on the same cores, " + what, against, spread(rate), "≥ 0.90", rounded(rate) >= 0.90},
	}, nil
}

func standing(running []*contestant) string {
	text := ""
	for _, one := range running {
		text += fmt.Sprintf(" %s %.1f/s", one.label(), one.rates[len(one.rates)-1])
	}
	return text[1:]
}
