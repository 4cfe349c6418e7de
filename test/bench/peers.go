package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tiny is the model whose run costs next to nothing: 16 numbers in, 4 out. It
// is called in JSON, so that the server is all that is measured.
func tiny(dir string) *subject {
	return &subject{"tiny", filepath.Join(dir, "tiny-mlp.onnx"), true, []input{{"x", "FP32", []int64{1, 16}}}}
}

// againstPeers holds the learned batch size against other servers that serve
// the same models, each in every setting: all are started, and each is loaded
// in its turn.
func (o *options) againstPeers(ctx context.Context, p *platform, dir string) (rows []row, err error) {
	names := strings.Split(o.models, ",")
	names = slices.DeleteFunc(names, func(name string) bool { return name == "tiny" || name == "" })
	var models []*subject
	if o.models == "" || len(names) > 0 {
		if models, err = choose(strings.Join(names, ","), dir); err != nil {
			return nil, err
		}
	}
	if o.models == "" || slices.Contains(strings.Split(o.models, ","), "tiny") {
		s := tiny(dir)
		if err := writeMLP(s.file, 16, 4); err != nil {
			return nil, err
		}
		models = append(models, s)
	}
	for _, s := range models {
		m := &match{options: o, subject: s, asJSON: s.name == "tiny"}
		measured, err := m.run(ctx, p, dir)
		rows = append(rows, measured...)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return rows, nil
}

// match is one model, served by all.
type match struct {
	*options
	subject *subject
	asJSON  bool
	servers []*peer // ours first
	notes   []string
}

// note reports a peer that failed; the others go on.
func (m *match) note(v variant, err error) {
	progress("NOTE: %s, %s: %v", m.subject.name, v, err)
	text, _, _ := strings.Cut(err.Error(), "\n")
	m.notes = append(m.notes, fmt.Sprintf("%s: %s", v, text))
}

func (m *match) run(ctx context.Context, p *platform, dir string) (rows []row, err error) {
	defer func() { err = errors.Join(err, m.stop()) }()
	if err := m.start(ctx, p, dir); err != nil {
		return nil, err
	}
	for _, clients := range m.clients {
		measured, err := m.at(ctx, clients)
		if err != nil {
			return rows, err
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

func (m *match) start(ctx context.Context, p *platform, dir string) error {
	name, err := p.push(ctx, m.subject, learned)
	if err != nil {
		return err
	}
	f, err := p.startFunction(ctx, dir, "./functions/onnx", name+"@1")
	if err != nil {
		return err
	}
	self := &peer{variant: variant{server: ours}, process: f.process}
	m.servers = append(m.servers, self)
	if self.target, err = v2(f.address, name, !m.asJSON, m.subject.tensors(1)); err != nil {
		return err
	}
	variants := peerVariants()
	if m.asJSON {
		variants = append(variants, variant{server: decoderOnly})
	}
	for _, v := range variants {
		if m.peers != "" && v.server != decoderOnly && !slices.Contains(strings.Split(m.peers, ","), v.server) ||
			v.batch > 1 && (!m.subject.joins || v.batch > slices.Max(m.clients)) {
			continue
		}
		progress("%s: start %s", m.subject.name, v)
		one, err := startPeer(ctx, dir, v, m.subject, m.asJSON)
		if err != nil && ctx.Err() == nil {
			m.note(v, err)
			continue
		} else if err != nil {
			return err
		}
		m.servers = append(m.servers, one)
	}
	return nil
}

func (m *match) stop() error {
	var errs []error
	for i, one := range m.servers {
		if i == 0 {
			errs = append(errs, one.process.stop())
		} else {
			errs = append(errs, one.stop())
		}
	}
	return errors.Join(errs...)
}

// at measures at so many clients, with the settings that can matter there: a
// batch never holds more requests than there are clients.
func (m *match) at(ctx context.Context, clients int) ([]row, error) {
	var running []*peer
	for _, one := range m.servers {
		if one.batch <= clients {
			one.rates, one.failed = nil, false
			running = append(running, one)
		}
	}
	for round := range m.rounds + 1 { // the first is to warm up
		for i := range running {
			one := running[(round+i)%len(running)]
			if one.failed {
				continue
			}
			err := one.turn(ctx, clients, m.turn, round == 0)
			switch {
			case err == nil:
			case ctx.Err() != nil || one == running[0]:
				return nil, fmt.Errorf("%s: %w\n%s", one.variant, err, one.tail())
			default:
				one.failed = true
				m.note(one.variant, err)
			}
		}
		progress("%s, %d clients, round %d of %d", m.subject.name, clients, round, m.rounds)
	}
	running = slices.DeleteFunc(running, func(one *peer) bool { return one.failed })
	m.print(running, clients)
	return m.rows(running, clients), nil
}

// turn loads the server; a warm-up is shorter and does not count.
func (p *peer) turn(ctx context.Context, clients int, turn time.Duration, warmUp bool) error {
	if warmUp {
		turn /= 2
	}
	out, err := p.target.load(ctx, clients, turn)
	if err == nil && !warmUp {
		p.rates = append(p.rates, out.rate)
	}
	return err
}

// print writes what every server did.
func (m *match) print(running []*peer, clients int) {
	fmt.Fprintf(os.Stdout, "\n%s, %d clients, answers per second:\n", m.subject.name, clients)
	for _, one := range running {
		fmt.Fprintf(os.Stdout, "  %9.1f  %s\n", median(one.rates), one.variant)
	}
	for _, text := range m.notes {
		fmt.Fprintln(os.Stdout, "    failed   ", text)
	}
}

func (m *match) rows(running []*peer, clients int) []row {
	self := running[0]
	what := fmt.Sprintf("throughput, %s, %d clients", m.subject.name, clients)
	var rows []row
	add := func(r []float64, name string, reach float64, sign string) {
		holds := rounded(r) >= reach
		if sign == ">" {
			holds = rounded(r) > reach
		}
		rows = append(rows, row{what, name, spread(r), fmt.Sprintf("%s %.2g", sign, reach), holds})
	}
	peers := slices.DeleteFunc(slices.Clone(running[1:]), func(one *peer) bool { return one.server == decoderOnly })
	if len(peers) > 0 {
		rates := make([][]float64, len(peers))
		for i, one := range peers {
			rates[i] = one.rates
		}
		add(againstBest(self.rates, rates), "the best peer of the other rounds; of all: "+peers[bestOf(rates, -1)].String(), 1, ">")
	}
	if !m.asJSON {
		return rows
	}
	for _, one := range running {
		switch one.variant {
		case variant{"kserve", 1, 1}:
			add(ratios(self.rates, one.rates), "KServe's REST, as it comes", 5, "≥")
		case variant{server: decoderOnly}:
			add(ratios(self.rates, one.rates), decoderOnly, 0.6, "≥")
		}
	}
	return rows
}
