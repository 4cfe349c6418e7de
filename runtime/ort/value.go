package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// invalid is what ONNX Runtime would call an input that does not fit.
func invalid(format string, args ...any) error {
	return &Error{Code: CodeInvalidArgument, Message: fmt.Sprintf(format, args...)}
}

// checkData checks that a tensor's bytes are as many as its shape and type require.
func checkData(t *infer.Tensor) error {
	n := t.Elements()
	if n < 0 || len(t.Shape) > maxRank {
		return invalid("shape %v is not one of a tensor", t.Shape)
	}
	if t.DataType == infer.Bytes {
		return checkStrings(t.Data, n)
	}
	size := int64(t.DataType.Size())
	if n > math.MaxInt64/size || n*size != int64(len(t.Data)) {
		return invalid("shape %v of %s takes %d elements of %d bytes, got %d bytes",
			t.Shape, t.DataType, n, size, len(t.Data))
	}
	if t.DataType == infer.Bool {
		for _, b := range t.Data {
			if b > 1 { // C++ may do anything with such a bool
				return invalid("BOOL elements are 0 or 1, got %d", b)
			}
		}
	}
	return nil
}

// checkStrings walks the protocol's raw BYTES: n elements, each behind its
// length, and nothing after them.
func checkStrings(data []byte, n int64) error {
	if n > int64(len(data)/4) {
		return invalid("%d BYTES elements take at least %d bytes, got %d", n, n*4, len(data))
	}
	for i := range n {
		if len(data) < 4 {
			return invalid("BYTES element %d: its length is cut off", i)
		}
		size := binary.LittleEndian.Uint32(data)
		data = data[4:]
		if uint64(size) > uint64(len(data)) {
			return invalid("BYTES element %d: %d bytes announced, %d left", i, size, len(data))
		}
		data = data[size:]
	}
	if len(data) > 0 {
		return invalid("%d bytes are left after the last BYTES element", len(data))
	}
	return nil
}

// read copies the i-th output from where ONNX Runtime has it, and frees it.
func (c *call) read(i int) (infer.Tensor, error) {
	l, slot := c.s.lib, &c.outputs()[i]
	v := slot.value
	if v == nil {
		return infer.Tensor{}, errors.New("the model gave no value")
	}
	defer func() {
		C.ms_call_drop(l.api, c.c, slot)
		c.count()
	}()

	var kind, element C.int
	var rank C.size_t
	if err := l.check(C.ms_value_type(l.api, v, &kind, &element, &rank)); err != nil {
		return infer.Tensor{}, err
	}
	if kind != C.ONNX_TYPE_TENSOR {
		return infer.Tensor{}, fmt.Errorf("the model gave %s in place of a tensor", kindName(kind))
	}
	t := infer.Tensor{Shape: make([]int64, rank)}
	var err error
	if t.DataType, err = dataTypeOf(element); err != nil {
		return infer.Tensor{}, err
	}
	if rank > 0 {
		if err := l.check(C.ms_value_dims(l.api, v, (*C.int64_t)(unsafe.Pointer(&t.Shape[0])), rank)); err != nil {
			return infer.Tensor{}, err
		}
	}
	n := t.Elements()
	if n < 0 {
		return infer.Tensor{}, fmt.Errorf("the model gave the shape %v", t.Shape)
	}
	if t.DataType == infer.Bytes {
		t.Data, err = c.readStrings(i, v, int(n))
	} else {
		t.Data, err = c.readElements(i, v, int(n)*t.DataType.Size())
	}
	return t, err
}

// admitOutput refuses an output that is larger than may be.
func (c *call) admitOutput(size int64) error {
	if most := c.s.maxOutput; most > 0 && size > most {
		return problem.New(problem.PayloadTooLarge, "the model answers with %d bytes; expected at most %d (MODELSERVE_MAX_OUTPUT): ask for fewer rows, or for fewer of the outputs", size, most)
	}
	return nil
}

func (c *call) readElements(i int, v *C.OrtValue, size int) ([]byte, error) {
	if err := c.admitOutput(int64(size)); err != nil {
		return nil, err
	}
	b := c.s.lib.buffers.take(size)
	c.buffers[i] = b
	data := b.bytes(size)
	if size == 0 {
		return data, nil
	}
	var src unsafe.Pointer
	if err := c.s.lib.check(C.ms_value_data(c.s.lib.api, v, &src)); err != nil {
		return nil, err
	}
	copy(data, unsafe.Slice((*byte)(src), size))
	return data, nil
}

// readStrings puts each of n strings behind its length.
func (c *call) readStrings(i int, v *C.OrtValue, n int) ([]byte, error) {
	if n == 0 {
		return []byte{}, nil
	}
	l := c.s.lib
	var total C.size_t
	if err := l.check(C.ms_value_strings_len(l.api, v, &total)); err != nil {
		return nil, err
	}
	if err := c.admitOutput(int64(total) + 4*int64(n)); err != nil {
		return nil, err
	}
	text := make([]byte, max(int(total), 1))
	offsets := make([]C.size_t, n, n+1)
	err := l.check(C.ms_value_strings(l.api, v, unsafe.Pointer(&text[0]), total, &offsets[0], C.size_t(n)))
	if err != nil {
		return nil, err
	}
	offsets = append(offsets, total)
	b := l.buffers.take(int(total) + 4*n)
	c.buffers[i] = b
	data := b.bytes(int(total) + 4*n)[:0]
	for j := range n {
		s := text[offsets[j]:offsets[j+1]]
		if len(s) > math.MaxUint32 {
			return nil, fmt.Errorf("string %d has %d bytes", j, len(s))
		}
		data = binary.LittleEndian.AppendUint32(data, uint32(len(s)))
		data = append(data, s...)
	}
	return data, nil
}
