package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"context"
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

// elsewhere is an output that is where ONNX Runtime has it.
type elsewhere struct {
	tensor infer.Tensor // without its data
	size   int          // of that, in bytes
	beside int64        // bytes that reading it takes beside its buffer
}

// measure describes the outputs that are not in their buffers, and charges for them
// together, so that a run has room for all or for none.
func (c *call) measure(ctx context.Context) ([]elsewhere, error) {
	var all []elsewhere
	sum := int64(0)
	for i, name := range c.wanted {
		if c.inPlace(i) {
			continue
		}
		if b := c.buffers[i]; b != nil {
			c.give(b.size())
			c.dropBuffer(i)
		}
		if all == nil {
			all = make([]elsewhere, len(c.wanted))
		}
		if err := c.describe(i, &all[i]); err != nil {
			return nil, fmt.Errorf("output %q: %w", name, err)
		}
		if err := c.admitOutput(int64(all[i].size)); err != nil {
			return nil, err
		}
		sum += buffersSize(all[i].size) + all[i].beside
	}
	return all, c.charge(ctx, sum)
}

// describe finds out what the i-th output is.
func (c *call) describe(i int, o *elsewhere) error {
	l, v := c.s.lib, c.outputs()[i].value
	if v == nil {
		return errors.New("the model gave no value")
	}
	var kind, element C.int
	var rank C.size_t
	if err := l.check(C.ms_value_type(l.api, v, &kind, &element, &rank)); err != nil {
		return err
	}
	if kind != C.ONNX_TYPE_TENSOR {
		return fmt.Errorf("the model gave %s in place of a tensor", kindName(kind))
	}
	t := &o.tensor
	t.Name, t.Shape = c.wanted[i], make([]int64, rank)
	var err error
	if t.DataType, err = dataTypeOf(element); err != nil {
		return err
	}
	if rank > 0 {
		if err := l.check(C.ms_value_dims(l.api, v, (*C.int64_t)(unsafe.Pointer(&t.Shape[0])), rank)); err != nil {
			return err
		}
	}
	n := t.Elements()
	switch {
	case n < 0:
		return fmt.Errorf("the model gave the shape %v", t.Shape)
	case t.DataType != infer.Bytes:
		o.size = int(n) * t.DataType.Size()
	case n > 0:
		var total C.size_t
		if err := l.check(C.ms_value_strings_len(l.api, v, &total)); err != nil {
			return err
		}
		const length, offset = 4, 8
		o.size, o.beside = int(total)+length*int(n), int64(total)+offset*(n+1)
	}
	return nil
}

// read copies the i-th output from where ONNX Runtime has it, and frees it.
func (c *call) read(i int, o *elsewhere) (infer.Tensor, error) {
	slot := &c.outputs()[i]
	defer func() {
		C.ms_call_drop(c.s.lib.api, c.c, slot)
		c.count()
	}()
	t := o.tensor
	c.buffers[i] = c.s.lib.buffers.take(o.size)
	t.Data = c.buffers[i].bytes(o.size)
	if o.size == 0 {
		return t, nil
	}
	if t.DataType == infer.Bytes {
		return t, c.readStrings(t.Data[:0], slot.value, int(t.Elements()))
	}
	var src unsafe.Pointer
	if err := c.s.lib.check(C.ms_value_data(c.s.lib.api, slot.value, &src)); err != nil {
		return infer.Tensor{}, err
	}
	copy(t.Data, unsafe.Slice((*byte)(src), o.size))
	return t, nil
}

// admitOutput refuses an output that is larger than may be.
func (c *call) admitOutput(size int64) error {
	if most := c.s.maxOutput; most > 0 && size > most {
		return problem.New(problem.PayloadTooLarge, "the model answers with %d bytes; expected at most %d (MODELSERVE_MAX_OUTPUT): ask for fewer rows, or for fewer of the outputs", size, most)
	}
	return nil
}

// readStrings appends each of n strings, behind its length, to data, which has room.
func (c *call) readStrings(data []byte, v *C.OrtValue, n int) error {
	l := c.s.lib
	total := cap(data) - 4*n
	text := make([]byte, max(total, 1))
	offsets := make([]C.size_t, n, n+1)
	err := l.check(C.ms_value_strings(l.api, v, unsafe.Pointer(&text[0]), C.size_t(total), &offsets[0], C.size_t(n)))
	if err != nil {
		return err
	}
	offsets = append(offsets, C.size_t(total))
	for j := range n {
		s := text[offsets[j]:offsets[j+1]]
		if len(s) > math.MaxUint32 {
			return fmt.Errorf("string %d has %d bytes", j, len(s))
		}
		data = binary.LittleEndian.AppendUint32(data, uint32(len(s)))
		data = append(data, s...)
	}
	return nil
}
