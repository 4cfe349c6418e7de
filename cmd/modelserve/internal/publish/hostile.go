package publish

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// hostileTime bounds one run with a hostile row: what a caller sends may make a
// model loop.
const hostileTime = time.Minute

// hostility is a kind of row that somebody may send, and whose company must not
// change what others get. Two rows of usual values do not show it: a scale that
// is taken over the whole tensor, as dynamic quantization does, is nearly the
// same for both.
type hostility struct {
	name   string
	number func(v float64, i int) float64 // in place of a usual one, the ith of its row
	other  bool                           // integers and strings that are others, too
}

func hostilities() []hostility {
	strange := []float64{math.NaN(), math.Inf(1), math.Inf(-1)}
	return []hostility{
		{name: "large values", number: func(v float64, _ int) float64 { return 1000 * (v + 1) }},
		{name: "large negative values", number: func(v float64, _ int) float64 { return -1000 * (v + 1) }},
		{name: "NaN and infinities", number: func(_ float64, i int) float64 { return strange[i%len(strange)] }},
		{name: "other values", number: func(float64, int) float64 { return 0 }, other: true},
	}
}

// withstands reports why requests may not be joined although usual rows may: a
// hostile row before or behind the usual one changes what the model answers to
// that. "" is that none does. sig has what the usual rows proved, and alone is
// the answer to the usual one.
//
// A row that the model refuses to run says nothing: the server runs the others
// without it.
func withstands(ctx context.Context, model runner, sig *infer.Signature, usual, alone []infer.Tensor) (why string, err error) {
	for _, kind := range hostilities() {
		row := hostileRow(sig, usual, kind)
		if row == nil {
			continue
		}
		for place := range 2 { // of the usual row
			rows := [2][]infer.Tensor{row, row}
			rows[place] = usual
			output, err := changed(ctx, model, sig, joinRows(sig, rows), alone, place)
			switch {
			case ctx.Err() != nil:
				return "", context.Cause(ctx)
			case errors.Is(err, context.DeadlineExceeded):
				return fmt.Sprintf("beside a row of %s it does not answer within %s", kind.name, hostileTime), nil
			case err == nil && output != "":
				return fmt.Sprintf("a row of %s changes the others' answers (output %q): something in the model is computed over all rows, "+
					"as the scales of dynamic quantization are", kind.name, output), nil
			}
		}
	}
	return "", nil
}

// hostileRow is the usual row with other values; nil where the kind changes
// none of the inputs that have a row of each request.
func hostileRow(sig *infer.Signature, usual []infer.Tensor, kind hostility) []infer.Tensor {
	row := slices.Clone(usual)
	changed := false
	for i := range row {
		t := &row[i]
		if specOf(sig, t.Name).Unbatched {
			continue
		}
		switch {
		case tolerance(t.DataType) > 0:
			t.Data = bytes.Clone(t.Data)
			width := t.DataType.Size()
			for i := range len(t.Data) / width {
				element := t.Data[i*width:]
				putFloat(element, t.DataType, kind.number(float(t.DataType, element), i))
			}
		case kind.other && t.DataType == infer.Bytes:
			t.Data = nil
			for i := range t.Elements() {
				t.Data = infer.AppendBytes(t.Data, string(rune('a'+i%26)))
			}
		case kind.other:
			t.Data = otherIntegers(t)
		}
		changed = changed || !bytes.Equal(t.Data, usual[i].Data)
	}
	if !changed {
		return nil
	}
	return row
}

// otherIntegers spreads over what the integer types have in common, and most
// tables of indices, too.
func otherIntegers(t *infer.Tensor) []byte {
	const most = 127
	width := t.DataType.Size()
	data := make([]byte, len(t.Data))
	for i := range len(data) / width {
		v := byte((i + 1) * 89 % (most + 1)) // 89, then all the others
		if t.DataType == infer.Bool {
			v &= 1
		}
		data[i*width] = v
	}
	return data
}

// joinRows puts two rows of one shape behind each other.
func joinRows(sig *infer.Signature, rows [2][]infer.Tensor) []infer.Tensor {
	joined := slices.Clone(rows[0])
	for i := range joined {
		if t := &joined[i]; !specOf(sig, t.Name).Unbatched {
			t.Shape = slices.Clone(t.Shape)
			t.Shape[batchAxis] = 2
			t.Data = slices.Concat(rows[0][i].Data, rows[1][i].Data)
		}
	}
	return joined
}

// changed runs two rows and names the first output of which the one at place,
// or what all rows share, is not as it was alone; "" is none.
func changed(ctx context.Context, model runner, sig *infer.Signature, both, alone []infer.Tensor, place int) (output string, err error) {
	ctx, cancel := context.WithTimeout(ctx, hostileTime)
	defer cancel()
	together, release, err := model.Run(ctx, both, nil)
	if err != nil {
		return "", err
	}
	defer release()
	for o := range together {
		got := together[o]
		if !sig.Outputs[o].Unbatched {
			if len(got.Shape) == 0 || got.Shape[batchAxis] != 2 {
				return sig.Outputs[o].Name, nil
			}
			got = oneOfTwo(&got, place)
		}
		if !alike(&alone[o], &got) {
			return sig.Outputs[o].Name, nil
		}
	}
	return "", nil
}

// oneOfTwo cuts a row out of two.
func oneOfTwo(t *infer.Tensor, place int) infer.Tensor {
	one := *t
	half := halfOf(t)
	one.Shape = slices.Clone(t.Shape)
	one.Shape[batchAxis] = 1
	one.Data = [][]byte{t.Data[:half], t.Data[half:]}[place]
	return one
}

func specOf(sig *infer.Signature, name string) *infer.TensorSpec {
	i := slices.IndexFunc(sig.Inputs, func(s infer.TensorSpec) bool { return s.Name == name })
	return &sig.Inputs[i]
}

// putFloat writes a floating-point element.
func putFloat(element []byte, d infer.DataType, v float64) {
	switch d {
	case infer.FP16:
		binary.LittleEndian.PutUint16(element, infer.Float16(v))
	case infer.BF16:
		binary.LittleEndian.PutUint16(element, infer.BFloat16(v))
	case infer.FP32:
		binary.LittleEndian.PutUint32(element, math.Float32bits(float32(v)))
	default:
		binary.LittleEndian.PutUint64(element, math.Float64bits(v))
	}
}
