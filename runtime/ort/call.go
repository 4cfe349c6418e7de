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
	"runtime"
	"slices"
	"unsafe"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// call owns the native values of one run.
type call struct {
	s      *Session
	pinner runtime.Pinner // keeps the memory that native tensors point at in its place

	in      []*C.OrtValue
	inNames []*C.char
	copies  []*buffer // of inputs that were not aligned

	wanted   []string
	out      []*C.OrtValue
	outNames []*C.char
	buffers  []*buffer // of outputs, where they have one
}

// invalid is what ONNX Runtime would call an input that does not fit.
func invalid(format string, args ...any) error {
	return &Error{Code: CodeInvalidArgument, Message: fmt.Sprintf(format, args...)}
}

// setInputs checks the inputs against the model and makes native tensors of
// them.
func (c *call) setInputs(inputs []infer.Tensor) error {
	c.in = make([]*C.OrtValue, 0, len(inputs))
	c.inNames = make([]*C.char, 0, len(inputs))
	for i := range inputs {
		t := &inputs[i]
		want, ok := c.s.inputs[t.Name]
		if !ok {
			return invalid("the model has no input %q", t.Name)
		}
		if t.DataType != want {
			return invalid("input %q: expected %s, got %s", t.Name, want, t.DataType)
		}
		name := c.s.names[t.Name]
		if slices.Contains(c.inNames, name) {
			return invalid("input %q is given twice", t.Name)
		}
		v, err := c.input(t)
		if err != nil {
			return fmt.Errorf("input %q: %w", t.Name, err)
		}
		c.in, c.inNames = append(c.in, v), append(c.inNames, name)
	}
	for _, spec := range c.s.signature.Inputs[:c.s.required] {
		if !slices.Contains(c.inNames, c.s.names[spec.Name]) {
			return invalid("input %q is missing", spec.Name)
		}
	}
	return nil
}

func (c *call) setOutputs(outputs []string) error {
	c.wanted = outputs
	c.out = make([]*C.OrtValue, len(outputs))
	c.buffers = make([]*buffer, len(outputs))
	c.outNames = make([]*C.char, 0, len(outputs))
	for _, o := range outputs {
		name := c.s.names[o]
		if _, ok := c.s.outputs[o]; !ok {
			return invalid("the model has no output %q", o)
		}
		if slices.Contains(c.outNames, name) {
			return invalid("output %q is asked for twice", o)
		}
		c.outNames = append(c.outNames, name)
	}
	return nil
}

// input makes a native tensor of t: over t's own memory where it may.
func (c *call) input(t *infer.Tensor) (*C.OrtValue, error) {
	if err := checkData(t); err != nil {
		return nil, err
	}
	if t.DataType == infer.Bytes {
		return c.stringTensor(t, t.Elements())
	}
	return c.tensor(c.aligned(*t))
}

// checkData holds that a tensor's bytes are what its shape and type say.
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

// aligned copies a tensor whose memory its element type may not be read from.
func (c *call) aligned(t infer.Tensor) infer.Tensor {
	if len(t.Data) == 0 || uintptr(unsafe.Pointer(&t.Data[0]))%uintptr(t.DataType.Size()) == 0 {
		return t
	}
	b := c.s.lib.buffers.get(len(t.Data))
	c.copies = append(c.copies, b)
	data := b.bytes(len(t.Data))
	copy(data, t.Data)
	t.Data = data
	return t
}

// tensor makes a native tensor over t's memory, which is pinned until destroy.
func (c *call) tensor(t infer.Tensor) (*C.OrtValue, error) {
	var data unsafe.Pointer
	if len(t.Data) > 0 {
		data = unsafe.Pointer(&t.Data[0])
		c.pinner.Pin(data)
	}
	l := c.s.lib
	var v *C.OrtValue
	err := l.check(C.ms_tensor(l.api, l.memory, data, C.size_t(len(t.Data)),
		(*C.int64_t)(unsafe.Pointer(first(t.Shape))), C.size_t(len(t.Shape)), elementOf(t.DataType), &v))
	if err != nil {
		return nil, err
	}
	l.live.values.Add(1)
	return v, nil
}

// stringTensor copies strings into a native tensor.
func (c *call) stringTensor(t *infer.Tensor, n int64) (*C.OrtValue, error) {
	l := c.s.lib
	var v *C.OrtValue
	err := l.check(C.ms_string_tensor(l.api, l.allocator, (*C.uint8_t)(unsafe.Pointer(first(t.Data))), C.size_t(n),
		(*C.int64_t)(unsafe.Pointer(first(t.Shape))), C.size_t(len(t.Shape)), &v))
	if v != nil {
		l.live.values.Add(1)
	}
	if err != nil {
		c.free(v)
		return nil, err
	}
	return v, nil
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

// read copies the i-th output out of ONNX Runtime's memory and frees it.
func (c *call) read(i int) (infer.Tensor, error) {
	l, v := c.s.lib, c.out[i]
	if v == nil {
		return infer.Tensor{}, errors.New("the model gave no value")
	}
	c.out[i] = nil
	defer c.free(v)

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

func (c *call) readElements(i int, v *C.OrtValue, size int) ([]byte, error) {
	b := c.s.lib.buffers.get(size)
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
	text := make([]byte, max(int(total), 1))
	offsets := make([]C.size_t, n, n+1)
	err := l.check(C.ms_value_strings(l.api, v, unsafe.Pointer(&text[0]), total, &offsets[0], C.size_t(n)))
	if err != nil {
		return nil, err
	}
	offsets = append(offsets, total)
	b := l.buffers.get(int(total) + 4*n)
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

func (c *call) free(v *C.OrtValue) {
	if v != nil {
		C.ms_value_free(c.s.lib.api, v)
		c.s.lib.live.values.Add(-1)
	}
}

// adopt counts the outputs that ONNX Runtime allocated in a run: those that
// were not given a buffer.
func (c *call) adopt() {
	for i, v := range c.out {
		if v != nil && c.buffers[i] == nil {
			c.s.lib.live.values.Add(1)
		}
	}
}

// dropOutputs frees the outputs that have a buffer, and the buffers.
func (c *call) dropOutputs() {
	for i, b := range c.buffers {
		if b == nil {
			continue
		}
		c.free(c.out[i])
		c.out[i], c.buffers[i] = nil, nil
		c.s.lib.buffers.put(b)
	}
}

// destroy frees the native values. The outputs' memory is the releaser's.
func (c *call) destroy() {
	for _, v := range c.in {
		c.free(v)
	}
	for _, v := range c.out {
		c.free(v)
	}
	for _, b := range c.copies {
		c.s.lib.buffers.put(b)
	}
	c.pinner.Unpin()
}
