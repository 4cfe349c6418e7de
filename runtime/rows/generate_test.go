package rows_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// gen makes a graph of operators that are drawn.
type gen struct {
	*rand.Rand
	m      model
	values []val
}

// val is a value in a graph: its shape has -1 for the rows, and -2 for a size
// that is not followed. A rank that is not is nil.
type val struct {
	name  string
	kind  infer.DataType
	shape []int64
}

const (
	rowsDim  = int64(-1)
	otherDim = int64(-2)
)

// newGen begins a graph: with inputs that have rows, and one that has none.
func newGen(seed uint64) *gen {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 7))}
	rank := 1 + g.IntN(4)
	shape := []int64{rowsDim}
	for range rank - 1 {
		shape = append(shape, 1+g.Int64N(4))
	}
	g.input("x", infer.FP32, shape)
	g.input("y", infer.FP32, g.varied(shape))
	g.input("ids", infer.Int64, []int64{rowsDim, 1 + g.Int64N(3)})
	if g.IntN(3) == 0 {
		g.input("shared", infer.FP32, g.varied(shape[1:]))
	}
	return g
}

// varied is a shape that may be broadcast with another.
func (g *gen) varied(shape []int64) []int64 {
	out := slices.Clone(shape)
	for i, d := range out {
		if d != rowsDim && g.IntN(3) == 0 {
			out[i] = 1
		}
	}
	return out
}

func (g *gen) input(name string, kind infer.DataType, shape []int64) {
	g.m.inputs = append(g.m.inputs, port{name, kind, shape})
	g.values = append(g.values, val{name, kind, shape})
}

// pick is a value of a kind, of at least so many axes; most often a late one.
func (g *gen) pick(kind infer.DataType, rank int) val {
	for range 20 {
		i := len(g.values) - 1 - min(g.IntN(len(g.values)), g.IntN(len(g.values)))
		if v := g.values[i]; v.kind == kind && len(v.shape) >= rank {
			return v
		}
	}
	shape := []int64{rowsDim}
	for range max(rank, 1) - 1 {
		shape = append(shape, 1+g.Int64N(4))
	}
	name := "in" + strconv.Itoa(len(g.m.inputs))
	g.input(name, kind, shape)
	return g.values[len(g.values)-1]
}

// node adds an operator of one output.
func (g *gen) node(op string, kind infer.DataType, shape []int64, inputs []val, attributes ...attribute) val {
	return g.of("", op, kind, shape, inputs, attributes...)
}

func (g *gen) of(domain, op string, kind infer.DataType, shape []int64, inputs []val, attributes ...attribute) val {
	out := val{"v" + strconv.Itoa(len(g.values)), kind, shape}
	n := node{domain: domain, op: op, outputs: []string{out.name}, attributes: attributes}
	for _, v := range inputs {
		n.inputs = append(n.inputs, v.name)
	}
	g.m.nodes = append(g.m.nodes, n)
	g.values = append(g.values, out)
	return out
}

// more adds outputs to the last operator.
func (g *gen) more(kinds ...infer.DataType) {
	n := &g.m.nodes[len(g.m.nodes)-1]
	for _, kind := range kinds {
		out := val{name: "v" + strconv.Itoa(len(g.values)), kind: kind}
		n.outputs = append(n.outputs, out.name)
		g.values = append(g.values, out)
	}
}

func (g *gen) weight(t infer.Tensor) val {
	t.Name = "w" + strconv.Itoa(len(g.m.weights))
	g.m.weights = append(g.m.weights, t)
	return val{t.Name, t.DataType, t.Shape}
}

// ints are a constant of one axis, and number one of none.
func (g *gen) ints(list ...int64) val {
	t := infer.Tensor{DataType: infer.Int64, Shape: []int64{int64(len(list))}, Data: []byte{}}
	for _, n := range list {
		t.Data = binary.LittleEndian.AppendUint64(t.Data, uint64(n))
	}
	return g.weight(t)
}

func (g *gen) number(n int64) val {
	return g.weight(infer.Tensor{DataType: infer.Int64, Shape: []int64{}, Data: binary.LittleEndian.AppendUint64(nil, uint64(n))})
}

// floats are a constant of a shape, of numbers that are drawn.
func (g *gen) floats(shape ...int64) val {
	return g.weight(g.tensor(infer.FP32, shape))
}

func (g *gen) float(f float32, shape ...int64) val {
	t := infer.Tensor{DataType: infer.FP32, Shape: slices.Clone(shape)}
	if t.Shape == nil {
		t.Shape = []int64{}
	}
	for range t.Elements() {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(f))
	}
	return g.weight(t)
}

// tensor is one of a kind and shape, of values that are drawn.
func (g *gen) tensor(kind infer.DataType, shape []int64) infer.Tensor {
	t := infer.Tensor{DataType: kind, Shape: slices.Clone(shape), Data: []byte{}}
	if t.Shape == nil {
		t.Shape = []int64{}
	}
	for range t.Elements() {
		switch kind {
		case infer.FP32:
			t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(float32(g.NormFloat64()*2)))
		case infer.FP64:
			t.Data = binary.LittleEndian.AppendUint64(t.Data, math.Float64bits(g.NormFloat64()*2))
		case infer.Int64:
			t.Data = binary.LittleEndian.AppendUint64(t.Data, g.Uint64N(4))
		case infer.Int32:
			t.Data = binary.LittleEndian.AppendUint32(t.Data, g.Uint32N(4))
		case infer.Bool:
			t.Data = append(t.Data, byte(g.IntN(2)))
		case infer.Uint8, infer.Int8:
			t.Data = append(t.Data, byte(g.IntN(100)))
		case infer.Bytes:
			text := []string{"a", "Cat a cat", "a a dog A cat", "", "b ?"}[g.IntN(5)]
			t.Data = append(binary.LittleEndian.AppendUint32(t.Data, uint32(len(text))), text...)
		}
	}
	return t
}

// axis is one of v's, from the front or the back; that of the rows too.
func (g *gen) axis(v val) int64 {
	rank := int64(max(len(v.shape), 1))
	a := g.Int64N(rank)
	if rank > 1 && a < rank && v.shape[a] == rowsDim && g.IntN(3) > 0 {
		a = (a + 1) % rank
	}
	if g.IntN(2) == 0 {
		return a - rank
	}
	return a
}

// partner is a value that may be broadcast to v: of its shape in parts, or a
// constant, which may have another size where the rows are.
func (g *gen) partner(v val) val {
	if g.IntN(2) == 0 {
		for range 8 {
			o := g.values[g.IntN(len(g.values))]
			if o.kind == v.kind && o.name != v.name {
				return o
			}
		}
	}
	var shape []int64
	from := g.IntN(len(v.shape) + 1)
	for _, d := range v.shape[min(from, len(v.shape)):] {
		switch {
		case d < 0:
			d = []int64{1, 1, 1, 2, 3}[g.IntN(5)]
		case g.IntN(3) == 0:
			d = 1
		}
		shape = append(shape, d)
	}
	return g.weight(g.tensor(v.kind, shape))
}

// joint is the shape that two are broadcast to.
func joint(a, b []int64) []int64 {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for i, d := range b {
		at := &out[len(a)-len(b)+i]
		switch {
		case *at == 1:
			*at = d
		case d != 1 && d != *at:
			*at = otherDim
			if d > 1 {
				*at = d
			}
		}
	}
	return out
}

// data makes n rows of what the graph takes, and what all of them share.
func (g *gen) data(sig *infer.Signature, rowInputs []string, n int) (rowsOf, []infer.Tensor) {
	single := make(rowsOf, n)
	var shared []infer.Tensor
	for _, p := range g.m.inputs {
		if infer.SpecOf(sig.Inputs, p.name) == nil {
			continue
		}
		shape := slices.Clone(p.shape)
		if !slices.Contains(rowInputs, p.name) {
			t := g.tensor(p.kind, shape)
			t.Name = p.name
			shared = append(shared, t)
			continue
		}
		shape[0] = 1
		for i := range single {
			t := g.tensor(p.kind, shape)
			t.Name = p.name
			single[i] = append(single[i], t)
		}
	}
	return single, shared
}

// finish takes for outputs what nothing else takes, and some of the rest, with
// the rows on the first axis again where they are known to be elsewhere.
func (g *gen) finish() {
	for _, v := range slices.Clone(g.values) {
		if at := slices.Index(v.shape, rowsDim); at > 0 && g.IntN(3) > 0 {
			perm, shape := []int64{int64(at)}, []int64{rowsDim}
			for i, d := range v.shape {
				if i != at {
					perm, shape = append(perm, int64(i)), append(shape, d)
				}
			}
			g.node("Transpose", v.kind, shape, []val{v}, attribute{"perm", perm})
		}
	}
	taken := map[string]bool{}
	for _, n := range g.m.nodes {
		for _, in := range n.inputs {
			taken[in] = true
		}
	}
	for _, n := range g.m.nodes {
		for _, out := range n.outputs {
			if !taken[out] || g.IntN(4) == 0 {
				g.m.outputs = append(g.m.outputs, out)
			}
		}
	}
}
