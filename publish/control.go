package publish

import (
	"context"
	"errors"
	"slices"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/graph"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// shownRows is how many rows are run at once to see how large outputs usually
// are, and whether what stands in place of the padding shows in them.
const shownRows = 16

// off is why two answers differ, by the scale of usual rows or of rows of the
// filling; "" is that they do not.
func (p *prover) off(ctx context.Context, o int, fill filling, differs func(*scale) string) (why string, s *scale, err error) {
	for _, f := range []filling{{}, fill} {
		if s, err = p.scale(ctx, o, f); err != nil {
			return "", nil, err
		}
		if why = differs(s); why == "" {
			return "", s, nil
		}
	}
	return why, s, nil
}

// scale is how large an output's elements are in rows of the filling, and no
// smaller than in usual ones.
func (p *prover) scale(ctx context.Context, o int, fill filling) (*scale, error) {
	fill.seed, fill.from = 1, 0
	if known := p.scales[fill]; known != nil {
		return known[o], nil
	}
	usual := filling{seed: 1}
	outputs, release, err := p.several(ctx, p.all(p.length), fill)
	if err != nil && (fill == usual || ctx.Err() != nil) {
		return nil, err
	}
	if err != nil { // the model does not run with it everywhere
		s, err := p.scale(ctx, o, usual)
		p.scales[fill] = p.scales[usual]
		return s, err
	}
	defer release()
	all := make([]*scale, len(outputs))
	for i := range outputs {
		all[i] = scaleOf(outputs[i:i+1], p.mergedOf(i)...)
		all[i].strict = true
		if fill != usual {
			u, err := p.scale(ctx, i, usual)
			if err != nil {
				return nil, err
			}
			all[i] = all[i].with(u)
		}
	}
	p.scales[fill] = all
	return all[o], nil
}

// several runs as many rows as the model takes, and bounds allow.
func (p *prover) several(ctx context.Context, lengths []int64, fill filling) (outputs []infer.Tensor, release func(), err error) {
	for _, rows := range []int{shownRows, 4, 1} {
		var row []infer.Tensor
		if row, err = p.many(lengths, fill, 1, rows); err != nil {
			continue
		}
		if outputs, release, err = p.model.Run(ctx, memory.Unbounded{}, row, nil); err == nil || ctx.Err() != nil {
			break
		}
	}
	return outputs, release, err
}

// mergedOf are an output's axes whose sizes differ from run to run.
func (p *prover) mergedOf(o int) (axes []int) {
	if !p.sig.Outputs[o].Unbatched {
		axes = append(axes, batchAxis)
	}
	if p.follow[o].Of != "" {
		axes = append(axes, p.follow[o].Axis)
	}
	return axes
}

// stable reports whether an output stays what it is when numbers change by as
// little as rounding does. Where it does not, as where all of a row cancels out,
// a difference shows nothing of padding.
func (p *prover) stable(ctx context.Context, o int, scale *scale, row []infer.Tensor, alone *infer.Tensor) (bool, error) {
	moved := slices.Clone(row)
	for i := range moved {
		within := tolerance(moved[i].DataType)
		if within == 0 || p.isMask(moved[i].Name) {
			continue
		}
		by := within / 100
		if within > 1e-3 { // of few bits
			by = within / 10
		}
		values := floats(&moved[i])
		data := make([]byte, len(moved[i].Data))
		width := moved[i].DataType.Size()
		for k, v := range values {
			putFloat(data[k*width:], moved[i].DataType, v*(1+by*(2*weyl(k)-1)))
		}
		moved[i].Data = data
	}
	outputs, release, err := p.model.Run(ctx, memory.Unbounded{}, moved, nil)
	if err != nil {
		return true, context.Cause(ctx)
	}
	defer release()
	return scale.alike(alone, &outputs[o]), nil
}

// control sees whether the trials of a group can show anything: rows, and the
// same rows with what pads in place of their second half, must differ in the
// outputs. Where they never do, as where all is NaN or the same label, equal
// answers show nothing of padding.
func (p *prover) control(ctx context.Context, g int, group []int, base int64) error {
	// An input may bound how much of base is there, which is no more (widen).
	short, long := p.with(base, group, base/2), p.all(base)
	for seed := 1; seed <= 3; seed++ {
		for _, fill := range fillings() {
			if !slices.Contains(p.moved[g], false) {
				return nil
			}
			if fill.pads || fill.zeros {
				continue
			}
			fill.seed = seed
			if err := p.controlWith(ctx, g, short, long, fill); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *prover) controlWith(ctx context.Context, g int, short, long []int64, fill filling) error {
	for _, rows := range []int{shownRows, 1} {
		row, err := p.many(long, fill, 1, rows)
		if err != nil {
			continue // beyond the bounds on a request
		}
		whole, release, err := p.model.Run(ctx, memory.Unbounded{}, row, nil)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue
		}
		defer release()
		padded, release, err := p.model.Run(ctx, memory.Unbounded{}, p.padded(p.padded(row, short), long), nil)
		if err != nil {
			return context.Cause(ctx)
		}
		defer release()
		for o := range whole {
			if p.moved[g][o] {
				continue
			}
			s, err := p.scale(ctx, o, fill)
			if err != nil {
				return err
			}
			p.moved[g][o] = s.moves(&whole[o], &padded[o])
		}
		return nil
	}
	return nil
}

// checkControls refuses groups where the trials could not have shown a change.
func (p *prover) checkControls(groups [][]int) error {
	for o := range p.sig.Outputs {
		if p.sig.Outputs[o].Unbatched {
			continue // no row changes it
		}
		some := false
		for g, group := range groups {
			some = some || p.moved[g][o]
			if p.reach != nil && p.reaches(group, o) && !p.moved[g][o] {
				return p.unaffected(o, group)
			}
		}
		if p.reach == nil && !some {
			return p.unaffected(o, nil)
		}
	}
	for g, group := range groups {
		if !slices.Contains(p.moved[g], true) {
			return refuse("--ragged: no output changes with what %s holds in place of the padding, with any values that were tried, so nothing shows that padding does not change them; "+
				"give a request that it answers otherwise: --example request.json, or publish without --ragged", p.names(group))
		}
	}
	return nil
}

func (p *prover) unaffected(o int, group []int) error {
	return refuse("--ragged: output %q does not change with what %s holds in place of the padding, with any values that were tried (or is no finite number), "+
		"so nothing shows that padding does not change it; give a request with values that it is made for: --example request.json, or publish without --ragged",
		p.sig.Outputs[o].Name, p.names(group))
}

// reaches reports whether an output is made of a ragged input of the group.
func (p *prover) reaches(group []int, o int) bool {
	return slices.ContainsFunc(group, func(i int) bool { return p.reach[p.asked[i].Input][p.sig.Outputs[o].Name] })
}

// reachOf reads off the graph that is served which outputs are made of which of
// the ragged inputs; nil where there is none.
func reachOf(served string, asked []Ragged) (map[string]map[string]bool, error) {
	if served == "" {
		return nil, nil //nolint:nilnil // nothing is known
	}
	g, err := graph.Open(served)
	if errors.Is(err, graph.ErrInvalid) {
		return nil, nil //nolint:nilnil // nor is there
	}
	if err != nil {
		return nil, err
	}
	order, err := g.Order()
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // nor is there
	}
	reach := map[string]map[string]bool{}
	for _, r := range asked {
		made := map[string]bool{r.Input: true}
		for _, i := range order {
			if uses(&g.Nodes[i], made) {
				for _, name := range g.Nodes[i].Outputs {
					made[name] = true
				}
			}
		}
		delete(made, "")
		reach[r.Input] = made
	}
	return reach, nil
}

// uses reports whether an operator, or a graph in it, takes any of the values.
func uses(n *graph.Node, made map[string]bool) bool {
	if slices.ContainsFunc(n.Inputs, func(name string) bool { return made[name] }) {
		return true
	}
	for i := range n.Attributes {
		body := n.Attributes[i].Graph
		if body == nil {
			continue
		}
		if slices.ContainsFunc(body.Outputs, func(name string) bool { return made[name] }) {
			return true
		}
		for k := range body.Nodes {
			if uses(&body.Nodes[k], made) {
				return true
			}
		}
	}
	return false
}
