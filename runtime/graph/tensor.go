package graph

import (
	"encoding/binary"
	"fmt"
	"math"
)

func (g *Graph) initializer(name string, t Tensor) error {
	if _, twice := g.Initializers[name]; twice {
		return fmt.Errorf("%w: initializer %.100q is there twice", ErrInvalid, name)
	}
	g.Initializers[name] = t
	return nil
}

func appendDim(dims []int64, d int64) ([]int64, error) {
	if len(dims) >= maxRank || d < 0 {
		return nil, fmt.Errorf("%w: a constant has a negative dimension, or more than %d", ErrInvalid, maxRank)
	}
	return append(dims, d), nil
}

// truth leaves of a bool nothing but 0 and 1.
func (t *Tensor) truth() {
	if t.DataType != TypeBool {
		return
	}
	for i, v := range t.Ints {
		if v != 0 {
			t.Ints[i] = 1
		}
	}
}

// fromRaw gives t the elements that little-endian bytes hold, if they are few
// and as many as its dimensions require.
func (t *Tensor) fromRaw(raw []byte) {
	n := t.Elements()
	if n < 0 || n > maxInts {
		return
	}
	size := map[int32]int64{TypeInt64: 8, TypeInt32: 4, TypeFloat: 4, TypeBool: 1}[t.DataType]
	if size == 0 || int64(len(raw)) != n*size {
		return
	}
	switch t.DataType {
	case TypeFloat:
		t.Floats = []float32{}
	default:
		t.Ints = []int64{}
	}
	for ; len(raw) > 0; raw = raw[size:] {
		switch t.DataType {
		case TypeInt64:
			t.Ints = append(t.Ints, int64(binary.LittleEndian.Uint64(raw)))
		case TypeInt32:
			t.Ints = append(t.Ints, int64(int32(binary.LittleEndian.Uint32(raw))))
		case TypeBool:
			t.Ints = append(t.Ints, int64(raw[0]))
		case TypeFloat:
			t.Floats = append(t.Floats, math.Float32frombits(binary.LittleEndian.Uint32(raw)))
		}
	}
	t.truth()
}
