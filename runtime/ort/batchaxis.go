package ort

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Batching is what FindBatchAxis learned of a model.
type Batching struct {
	// Signature is the model's, with BatchAxis and the Unbatched marks set when
	// rows were proven to be independent, and with a shape for the outputs that
	// declare none.
	Signature infer.Signature

	// Sample is the inputs of one row that the model ran on, for warming up.
	Sample []infer.Tensor

	// Reason says why there is no batch axis; "" when there is one.
	Reason string
}

// ErrNoSample is returned when the model refused every input that was made up
// for it. It says nothing against the model.
var ErrNoSample = errors.New("the model ran on none of the inputs that were tried")

// maxProbe bounds the elements of an input that is made up.
const maxProbe = 4 << 20

// FindBatchAxis runs the model on one row, on another, and on both at once, and
// compares: axis 0 is the batch axis where the rows of the answer are the
// answers of the rows, whatever row stands beside them.
//
// sample is the inputs of one row. Without it inputs are made up: axes that the
// model leaves open get sizes that models commonly accept.
//
// Inputs and outputs without that axis are marked Unbatched; an output without
// it that depends on the rows means that the model has no batch axis.
func FindBatchAxis(ctx context.Context, s *Session, sample []infer.Tensor) (*Batching, error) {
	b := &Batching{Signature: cloneSignature(&s.signature)}
	sources := []rowSource{givenRows(sample)}
	if sample == nil {
		sources = madeUpRows(s.signature.Inputs)
	}
	var found *axisProof
	var last error
	for _, rows := range sources {
		p := &axisProof{s: s, rows: rows, batched: batchedInputs(&s.signature)}
		if b.Sample, last = p.alone(ctx, 0); last == nil {
			found = p
			break
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSample, last)
	}
	b.fillShapes(found.single[0])
	if !slices.Contains(found.batched, true) {
		b.Reason = "no input has a first axis whose size is left open"
		return b, nil
	}
	marks, reason := found.prove(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if reason != "" {
		b.Reason = reason
		return b, nil
	}
	axis := 0
	b.Signature.BatchAxis = &axis
	for i := range b.Signature.Inputs {
		b.Signature.Inputs[i].Unbatched = !found.batched[i]
	}
	for i := range b.Signature.Outputs {
		b.Signature.Outputs[i].Unbatched = !marks[i]
	}
	return b, nil
}

// rowSource gives the inputs of the rows named, which is the same bytes for
// the same row each time, and the other inputs whole.
type rowSource func(specs []infer.TensorSpec, batched []bool, rows ...int) ([]infer.Tensor, error)

// axisProof is the answers that a batch axis is proven by.
type axisProof struct {
	s       *Session
	rows    rowSource
	batched []bool            // per input
	single  [2][]infer.Tensor // of each row alone
}

// alone runs one row and keeps its answer; it returns the inputs.
func (p *axisProof) alone(ctx context.Context, row int) ([]infer.Tensor, error) {
	inputs, err := p.rows(p.s.signature.Inputs, p.batched, row)
	if err != nil {
		return nil, err
	}
	p.single[row], err = p.s.runCopy(ctx, inputs)
	return inputs, err
}

// prove compares rows alone with rows together. marks says which outputs have
// the axis; a reason says why there is none.
func (p *axisProof) prove(ctx context.Context) (marks []bool, reason string) {
	if _, err := p.alone(ctx, 1); err != nil {
		return nil, "it refused another row: " + err.Error()
	}
	var joined [3][]infer.Tensor
	for i, rows := range [][]int{{0, 1}, {0, 0}, {1, 1}} {
		inputs, err := p.rows(p.s.signature.Inputs, p.batched, rows...)
		if err == nil {
			joined[i], err = p.s.runCopy(ctx, inputs)
		}
		if err != nil {
			return nil, "it refused two rows at once: " + err.Error()
		}
	}
	marks = make([]bool, len(joined[0]))
	for i := range joined[0] {
		marks[i], reason = compareRows(&p.single[0][i], &p.single[1][i], &joined[0][i], &joined[1][i], &joined[2][i])
		if reason != "" {
			return nil, fmt.Sprintf("output %q %s", joined[0][i].Name, reason)
		}
	}
	if !slices.Contains(marks, true) {
		return nil, "no output has a row for each row of the input"
	}
	return marks, ""
}

// How far floats may be from each other. A row beside another than before goes
// through the same kernels, so it must be the same but for the order of
// additions; one and two rows may take different kernels, whose rounding some
// models magnify.
const (
	besideAnother = 1e-4
	againstAlone  = 3e-2
)

// compareRows reports whether the outputs have a row per row of the input: ab
// is the rows of a and b one after the other, aa and bb each twice. A reason
// says why it is neither that nor an output without rows.
func compareRows(a, b, ab, aa, bb *infer.Tensor) (rows bool, reason string) {
	const mix = "differs between rows run alone and together"
	single := a.Shape
	if len(single) > 0 && single[0] == 1 && slices.Equal(b.Shape, single) {
		double := append([]int64{2}, single[1:]...)
		if slices.Equal(ab.Shape, double) && slices.Equal(aa.Shape, double) && slices.Equal(bb.Shape, double) {
			same := alike(ab.DataType, ab.Data, slices.Concat(a.Data, b.Data), againstAlone) &&
				alike(ab.DataType, ab.Data, firstAndLast(aa, bb), besideAnother)
			if !same {
				return false, mix
			}
			return true, ""
		}
	}
	for _, t := range []*infer.Tensor{b, ab, aa, bb} {
		if !slices.Equal(t.Shape, single) {
			return false, fmt.Sprintf("has the shape %v for one row and %v for two", single, ab.Shape)
		}
		if !alike(t.DataType, t.Data, a.Data, besideAnother) {
			return false, "has no row for each row of the input, and depends on them"
		}
	}
	return false, ""
}

// firstAndLast is the first row of one tensor of two rows and the last of
// another.
func firstAndLast(first, last *infer.Tensor) []byte {
	if first.DataType == infer.Bytes {
		// Rows of strings have no fixed size: take the elements apart.
		n := int(first.Elements())
		cut := stringsEnd(first.Data, n/2)
		from := stringsEnd(last.Data, n/2)
		return slices.Concat(first.Data[:cut], last.Data[from:])
	}
	return slices.Concat(first.Data[:len(first.Data)/2], last.Data[len(last.Data)/2:])
}

// stringsEnd is where the first n elements of raw BYTES end.
func stringsEnd(data []byte, n int) int {
	end := 0
	for range n {
		end += 4 + int(binary.LittleEndian.Uint32(data[end:]))
	}
	return end
}

// alike compares floats within a tolerance and all else exactly.
func alike(d infer.DataType, got, want []byte, tolerance float64) bool {
	if len(got) != len(want) {
		return false
	}
	var at func([]byte) float64
	switch d {
	case infer.FP32:
		at = func(b []byte) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(b))) }
	case infer.FP64:
		at = func(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }
	case infer.FP16:
		tolerance = max(tolerance, 2e-3)
		at = func(b []byte) float64 { return half(binary.LittleEndian.Uint16(b)) }
	case infer.BF16:
		tolerance = max(tolerance, 1e-2)
		at = func(b []byte) float64 {
			return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
		}
	default:
		return bytes.Equal(got, want)
	}
	size := d.Size()
	for i := 0; i+size <= len(got); i += size {
		x, y := at(got[i:]), at(want[i:])
		same := x == y || (math.IsNaN(x) && math.IsNaN(y)) ||
			math.Abs(x-y) <= tolerance*max(1, math.Abs(x), math.Abs(y))
		if !same {
			return false
		}
	}
	return true
}

// half is the value of an IEEE 754 binary16.
func half(h uint16) float64 {
	sign, exponent, fraction := 1.0, int(h>>10&31), float64(h&1023)
	if h>>15 != 0 {
		sign = -1
	}
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction == 0 {
			return sign * math.Inf(1)
		}
		return math.NaN()
	}
	return sign * math.Ldexp(1+fraction/1024, exponent-15)
}

// batchedInputs marks the inputs whose first axis is open.
func batchedInputs(s *infer.Signature) []bool {
	marks := make([]bool, len(s.Inputs))
	for i, in := range s.Inputs {
		marks[i] = !in.Optional && len(in.Shape) > 0 && in.Shape[0] == infer.Dynamic
	}
	return marks
}

// fillShapes gives the outputs that declare no shape the rank they had.
func (b *Batching) fillShapes(outputs []infer.Tensor) {
	for i := range outputs {
		if b.Signature.Outputs[i].Shape != nil {
			continue
		}
		shape := make([]infer.Dim, len(outputs[i].Shape))
		for j := range shape {
			shape[j] = infer.Dynamic
		}
		b.Signature.Outputs[i].Shape = shape
	}
}

// runCopy runs on all outputs and keeps them.
func (s *Session) runCopy(ctx context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	outputs, release, err := s.Run(ctx, inputs, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	for i := range outputs {
		outputs[i].Data = slices.Clone(outputs[i].Data)
	}
	return outputs, nil
}

func cloneSignature(s *infer.Signature) infer.Signature {
	c := *s
	c.Inputs, c.Outputs = slices.Clone(s.Inputs), slices.Clone(s.Outputs)
	return c
}
