package infer

import (
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// NamedByJSON is how many rows and elements the beginning of a request's JSON names by
// the shapes of its inputs: the rows of the first one, the elements of all that are
// whole in it. It checks nothing else.
func NamedByJSON(text io.Reader) Usage {
	s := &scanner{from: text, window: make([]byte, 0, 4<<10)}
	if s.peek() == 0xEF { // a byte order mark
		s.at += len("\ufeff")
	}
	var u Usage
	s.members(func(name []byte) bool {
		if string(name) != "inputs" {
			return s.skip()
		}
		return s.elements(func() bool {
			return s.members(func(name []byte) bool {
				if string(name) != "shape" {
					return s.skip()
				}
				var shape []int64
				ended := s.elements(func() bool {
					n, ok := s.natural()
					shape = append(shape, n)
					return ok && len(shape) <= maxRank
				})
				if ended {
					u.name(shape)
				}
				return ended
			})
		})
	})
	return u
}

// elements calls value where each element of an array begins, until that is false. It
// is true at the array's end.
func (s *scanner) elements(value func() bool) bool {
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for {
		s.next()
		if !value() {
			return false
		}
		if !s.take(',') {
			return s.take(']')
		}
	}
}

// The fields of ModelInferRequest and its inputs.
const (
	fieldInputs protowire.Number = 5
	fieldShape  protowire.Number = 3
)

// NamedByMessage is what NamedByJSON is, of the beginning of a ModelInferRequest.
func NamedByMessage(head []byte) Usage {
	var u Usage
	for len(head) > 0 {
		number, kind, n := protowire.ConsumeTag(head)
		if n < 0 {
			break
		}
		head = head[n:]
		if number != fieldInputs || kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, head); n < 0 {
				break
			}
			head = head[n:]
			continue
		}
		size, n := protowire.ConsumeVarint(head)
		if n < 0 {
			break
		}
		input := head[n:]
		cut := uint64(len(input)) < size
		if !cut {
			input = input[:size]
		}
		if shape := shapeOf(input); shape != nil {
			u.name(shape)
		}
		if cut {
			break
		}
		head = head[n+int(size):]
	}
	return u
}

// shapeOf is the shape of the beginning of an InferInputTensor; nil where it is not
// whole.
func shapeOf(input []byte) []int64 {
	var shape []int64
	for len(input) > 0 {
		number, kind, n := protowire.ConsumeTag(input)
		if n < 0 {
			return shape
		}
		input = input[n:]
		switch {
		case number == fieldShape && kind == protowire.BytesType:
			packed, n := protowire.ConsumeBytes(input)
			if n < 0 {
				return nil
			}
			input = input[n:]
			for len(packed) > 0 && len(shape) <= maxRank {
				v, n := protowire.ConsumeVarint(packed)
				if n < 0 {
					return nil
				}
				shape, packed = append(shape, int64(v)), packed[n:]
			}
		case number == fieldShape && kind == protowire.VarintType:
			v, n := protowire.ConsumeVarint(input)
			if n < 0 || len(shape) > maxRank {
				return nil
			}
			shape, input = append(shape, int64(v)), input[n:]
		default:
			if n = protowire.ConsumeFieldValue(number, kind, input); n < 0 {
				return shape
			}
			input = input[n:]
		}
	}
	return shape
}

// product multiplies what is not negative.
func product(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64/b {
		return math.MaxInt64
	}
	return a * b
}

// name adds an input of a shape.
func (u *Usage) name(shape []int64) {
	elements := int64(1)
	for _, n := range shape {
		if n < 0 {
			return
		}
		if elements = product(elements, n); elements == 0 {
			break
		}
	}
	if u.Rows == 0 && len(shape) > 0 {
		u.Rows = shape[0]
	}
	u.Elements = sum(u.Elements, elements)
}
