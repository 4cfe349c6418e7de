package rows_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// extreme is rows with values in every other one that do not stay in their row
// where a kernel multiplies a neighbour's by 0, or computes all rows and selects:
// 0 times what is not finite is NaN. Texts stay as they are.
func extreme(single rowsOf) rowsOf {
	random := rand.New(rand.NewPCG(3, 4))
	out := make(rowsOf, len(single))
	for i, row := range single {
		out[i] = slices.Clone(row)
		if i%2 == 0 {
			continue
		}
		for j, t := range row {
			values := extremes(t.DataType)
			if len(values) == 0 {
				continue
			}
			t.Data = slices.Clone(t.Data)
			size := len(values[0])
			for at := 0; at < len(t.Data); at += size {
				// All of the first of them, some of the next.
				if i == 1 || random.IntN(3) == 0 {
					copy(t.Data[at:], values[random.IntN(len(values))])
				}
			}
			out[i][j] = t
		}
	}
	return out
}

// extremes are those of an element type; nil where it has none.
func extremes(kind infer.DataType) [][]byte {
	var out [][]byte
	switch kind {
	case infer.FP32:
		for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 3e38, -3e38, math.Copysign(0, -1)} {
			out = append(out, binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(f))))
		}
	case infer.FP64:
		for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, math.Copysign(0, -1)} {
			out = append(out, binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)))
		}
	case infer.FP16: // NaN, the infinities, ±65504, -0
		for _, bits := range []uint16{0x7e00, 0x7c00, 0xfc00, 0x7bff, 0xfbff, 0x8000} {
			out = append(out, binary.LittleEndian.AppendUint16(nil, bits))
		}
	case infer.BF16:
		for _, bits := range []uint16{0x7fc0, 0x7f80, 0xff80, 0x7f7f, 0xff7f, 0x8000} {
			out = append(out, binary.LittleEndian.AppendUint16(nil, bits))
		}
	case infer.Int64, infer.Uint64:
		for _, bits := range []uint64{1 << 63, 1<<63 - 1, math.MaxUint64, 0} {
			out = append(out, binary.LittleEndian.AppendUint64(nil, bits))
		}
	case infer.Int32, infer.Uint32:
		for _, bits := range []uint32{1 << 31, 1<<31 - 1, math.MaxUint32, 0} {
			out = append(out, binary.LittleEndian.AppendUint32(nil, bits))
		}
	case infer.Int16, infer.Uint16:
		for _, bits := range []uint16{1 << 15, 1<<15 - 1, math.MaxUint16, 0} {
			out = append(out, binary.LittleEndian.AppendUint16(nil, bits))
		}
	case infer.Int8, infer.Uint8:
		out = [][]byte{{1 << 7}, {1<<7 - 1}, {math.MaxUint8}, {0}}
	default:
	}
	return out
}
