package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// onslaught is an attack, and the call of a light tenant that is measured beside it.
type onslaught struct {
	name  string // as -attacks takes it
	what  string
	conns int
	kinds []string
	light string // a model

	target       *target
	attacker     *attacker
	quiet, under lightOutcome // of all rounds: a hundredth of one is few answers
	ratios       []float64
	result       attackResult
}

// onslaughts are those that were found. The light tenant calls where the attack goes,
// but of the slow model's: there it calls another model beside, and the slow one.
func onslaughts() []*onslaught {
	return []*onslaught{
		{name: "protobuf", what: "2 of 31 MiB of protobuf, 32 kB compressed, of empty messages", conns: 2, kinds: []string{"empty inputs", "empty outputs", "empty contents"}, light: tinyModel},
		{name: "messages", what: "12 of gRPC messages and streams of 31 MiB, 32 kB compressed, and answers of 240 MiB", conns: 12, kinds: []string{"zeros", "a stream of zeros", "wide answers"}, light: tinyModel},
		{name: "senders", what: "32 that announce 32 MiB and send a byte a second, or all but one", conns: 32, kinds: []string{"a byte a second", "a byte short"}, light: tinyModel},
		{name: "readers", what: "6 that do not read answers of 240 MiB", conns: 6, kinds: []string{"unread answers"}, light: tinyModel},
		{name: "webp", what: "16 of WebP's groups", conns: 16, kinds: []string{"groups"}, light: pictureModel},
		{name: "json", what: "2 of 24 MiB of names and texts in JSON", conns: 2, kinds: []string{"parameters", "skipped names", "texts"}, light: tinyModel},
		{name: "slow", what: "120 that call a slow model, the light tenant another", conns: 120, kinds: []string{"slow runs"}, light: tinyModel},
		{name: "same", what: "120 that call a slow model, the light tenant the same", conns: 120, kinds: []string{"slow runs"}, light: slowModel},
	}
}

// chooseAttacks picks some by a list of names, "" being all of them.
func chooseAttacks(names string) (chosen []*onslaught, err error) {
	all := onslaughts()
	if names == "" {
		return all, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(a *onslaught) bool { return a.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-attacks: there is no attack %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// attackLead is how long an attack lasts before the light tenant's times beside it count.
const attackLead = 500 * time.Millisecond

// What was attacked is at rest when it uses less than a twentieth of a processor; it has
// a while for that, in which runs end that nobody waits for any more.
const (
	restProbe   = 100 * time.Millisecond
	longestRest = 30 * time.Second
)

// attacks holds what a light tenant waits beside each of the attacks of another
// against what it waits alone, in turns, on a platform of its own. No call of the light
// tenant may fail.
func (o *options) attacks(ctx context.Context, _ *platform, dir string) (rows []row, err error) {
	all, err := chooseAttacks(o.onslaughts)
	if err != nil {
		return nil, err
	}
	overlay, err := writeOverlay(dir, []string{"pool", pictureModel})
	if err != nil {
		return nil, err
	}
	p, err := startPlatform(ctx, filepath.Join(dir, "attacks", ".modelserve"), "--overlay", overlay)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	defer func() {
		for _, a := range all {
			if a.attacker != nil {
				err = errors.Join(err, a.attacker.end())
			}
		}
	}()
	if err := p.prepareAttacks(ctx, dir, all); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.tail())
	}
	for round := range o.rounds {
		progress("attacks: round %d of %d", round+1, o.rounds)
		for _, a := range all {
			if err := a.round(ctx, p, o.turn); err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", a.what, err, p.tail())
			}
		}
	}
	for _, a := range all {
		rows = append(rows, a.row())
	}
	return rows, nil
}

// prepareAttacks publishes the models, starts the attackers, and calls each model until
// it has answered often enough to be warm.
func (p *platform) prepareAttacks(ctx context.Context, dir string, all []*onslaught) error {
	progress("attacks: publish the models")
	for name, m := range map[string]struct {
		model onnxtest.Model
		shape string
	}{
		tinyModel: {onnxtest.Scale(16, 2), "x=1,16"},
		wideModel: {onnxtest.Wide(), ""},
		slowModel: {onnxtest.Slow(slowSteps), fmt.Sprintf("x=%d,%d", slowWidth, slowWidth)},
	} {
		path := filepath.Join(dir, name+".onnx")
		if err := os.WriteFile(path, m.model.Marshal(), 0o600); err != nil {
			return err
		}
		args := []string{"models", "push", name, path}
		if m.shape != "" {
			args = append(args, "--shape", m.shape)
		}
		if err := p.modelserve(ctx, args...); err != nil {
			return err
		}
	}
	keys := map[string]string{"light": "", "attacker": ""}
	for tenant := range keys {
		var err error
		if keys[tenant], err = p.makeKey(ctx, http.DefaultClient, tenant); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.target, err = p.lightTarget(a.light, keys["light"]); err != nil {
			return err
		}
		if err := a.target.times(ctx, 1, warmCalls); err != nil {
			return fmt.Errorf("%s: %w", a.light, err)
		}
		if a.attacker, err = startAttacker(self, &attack{Address: p.address, Key: keys["attacker"], Kinds: a.kinds, Conns: a.conns}); err != nil {
			return err
		}
	}
	return nil
}

// warmCalls are made of each model before anything is measured.
const warmCalls = 20

// lightTarget is a small call of a model.
func (p *platform) lightTarget(model, key string) (*target, error) {
	switch model {
	case slowModel:
		return v2(p.address, model, true, slowInput(), "X-API-Key", key)
	case pictureModel:
		s, err := find(subjects(""), model)
		if err != nil {
			return nil, err
		}
		return v2(p.address, model, true, s.tensors(1), "Host", pictureHost(p.address), "X-API-Key", key)
	default:
		return v2(p.address, model, false, tinyInput(), "X-API-Key", key)
	}
}

// round measures the light tenant alone, and then beside the attack.
func (a *onslaught) round(ctx context.Context, p *platform, turn time.Duration) error {
	if err := p.rests(ctx); err != nil {
		return err
	}
	quiet, err := lightTurn(ctx, a.target, turn)
	if err != nil {
		return err
	}
	if err := a.attacker.begin(); err != nil {
		return err
	}
	if err := pause(ctx, attackLead); err != nil {
		return err
	}
	before, err := p.used()
	if err != nil {
		return err
	}
	under, err := lightTurn(ctx, a.target, turn)
	if err != nil {
		return err
	}
	after, err := p.used()
	if err != nil {
		return err
	}
	result, err := a.attacker.stop()
	if err != nil {
		return err
	}
	a.quiet.add(quiet)
	a.under.add(under)
	a.result.add(result)
	alone, beside := quiet.percentile(0.99), under.percentile(0.99)
	a.ratios = append(a.ratios, float64(beside)/float64(alone))
	progress("attacks, beside %s: light p50 %s, p99 %s of %d; alone p50 %s, p99 %s of %d; %.2f processors of the platform; %s", a.what,
		short(under.percentile(0.5)), short(beside), len(under.each), short(quiet.percentile(0.5)), short(alone), len(quiet.each),
		(after-before).Seconds()/under.took.Seconds(), result)
	return nil
}

// rests waits until the platform has nothing to do.
func (p *platform) rests(ctx context.Context) error {
	for began := time.Now(); time.Since(began) < longestRest; {
		before, err := p.used()
		if err != nil {
			return err
		}
		if err := pause(ctx, restProbe); err != nil {
			return err
		}
		if after, err := p.used(); err != nil || after-before < restProbe/20 {
			return err
		}
	}
	return fmt.Errorf("it is still busy %s after the attack before", longestRest)
}

// used is the processor time that the platform and its functions have used.
func (p *platform) used() (time.Duration, error) {
	sum, err := p.cpu()
	if err != nil {
		return 0, err
	}
	functions, err := p.processes("")
	for _, pid := range functions {
		took, err := (&process{cmd: &exec.Cmd{Process: &os.Process{Pid: pid}}}).cpu()
		if err != nil {
			return 0, err
		}
		sum += took
	}
	return sum, err
}

// lightOutcome is what a light tenant saw.
type lightOutcome struct {
	outcome

	took   time.Duration
	failed int
	first  error // the first that failed
}

func (l *lightOutcome) add(more *lightOutcome) {
	l.each = append(l.each, more.each...)
	l.took += more.took
	l.failed += more.failed
	if l.first == nil {
		l.first = more.first
	}
}

// lightTurn sends one call at a time for a turn, over a connection that is kept. One
// that fails took its time as well.
func lightTurn(ctx context.Context, t *target, turn time.Duration) (*lightOutcome, error) {
	l := new(lightOutcome)
	began := time.Now()
	var c *conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for last := began; last.Sub(began) < turn; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		failed := func() (err error) {
			if c == nil {
				if c, err = t.dial(ctx); err != nil {
					return err
				}
			}
			if err := c.SetDeadline(time.Now().Add(longestAnswer)); err != nil {
				return err
			}
			return c.exchange(t.request)
		}()
		now := time.Now()
		l.each = append(l.each, now.Sub(last))
		last = now
		if failed == nil {
			continue
		}
		l.add(&lightOutcome{failed: 1, first: failed})
		if c != nil {
			c.Close()
			c = nil
		}
	}
	l.took = time.Since(began)
	return l, nil
}

func (a *onslaught) row() row {
	alone, beside := a.quiet.percentile(0.99), a.under.percentile(0.99)
	ratio := float64(beside) / float64(alone)
	var all lightOutcome
	all.add(&a.quiet)
	all.add(&a.under)
	figure := fmt.Sprintf("%.2f of all rounds together (%.2f to %.2f)", ratio, slices.Min(a.ratios), slices.Max(a.ratios))
	if all.failed > 0 {
		figure += fmt.Sprintf("; %d calls failed, the first: %v", all.failed, all.first)
	}
	return row{
		fmt.Sprintf("p99 of a light tenant's calls of %s (%s of %d) beside %s (%s)", a.light, short(beside), len(a.under.each), a.what, &a.result),
		fmt.Sprintf("the light tenant alone (%s of %d)", short(alone), len(a.quiet.each)),
		figure, "≤ 3", ratio <= 3 && all.failed == 0,
	}
}
