package infer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
)

// Encoded is a V2 REST body: JSON, and behind it the data of the tensors that
// go in binary, which is not copied.
type Encoded struct {
	JSON   []byte
	Binary [][]byte

	isBinary bool
}

// HeaderLength is the Inference-Header-Content-Length to send with the body;
// NoHeader when it is all JSON, and none is to be sent.
func (e *Encoded) HeaderLength() int {
	if !e.isBinary {
		return NoHeader
	}
	return len(e.JSON)
}

// ContentType is the body's media type.
func (e *Encoded) ContentType() string {
	if e.isBinary {
		return "application/octet-stream"
	}
	return "application/json"
}

// Size is the body's length in bytes.
func (e *Encoded) Size() int64 {
	n := int64(len(e.JSON))
	for _, b := range e.Binary {
		n += int64(len(b))
	}
	return n
}

// WriteTo writes the body.
func (e *Encoded) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(e.JSON)
	total := int64(n)
	for _, b := range e.Binary {
		if err != nil {
			break
		}
		n, err = w.Write(b)
		total += int64(n)
	}
	return total, err
}

// Bytes is the whole body in one slice.
func (e *Encoded) Bytes() []byte {
	out := make([]byte, 0, e.Size())
	out = append(out, e.JSON...)
	for _, b := range e.Binary {
		out = append(out, b...)
	}
	return out
}

// EncodeResponse writes a response as req wants each output: in binary or in
// JSON. The response's outputs are those it has, in its order. A BYTES output
// that is not UTF-8 cannot go into JSON, and is problem.InvalidArgument.
func EncodeResponse(resp *Response, req *Request) (*Encoded, error) {
	wanted := req.inBinary
	e := encoder{buf: make([]byte, 0, 512+sizeInJSON(resp.Outputs, wanted))}
	e.buf = append(e.buf, '{')
	if resp.ID != "" {
		e.member("id")
		e.text(resp.ID)
	}
	e.member("model_name")
	e.text(resp.Model)
	e.member("model_version")
	e.text(resp.Version)
	if len(resp.Parameters) > 0 {
		e.member("parameters")
		e.parameters(resp.Parameters)
	}
	e.member("outputs")
	e.tensors("outputs", resp.Outputs, wanted)
	e.buf = append(e.buf, '}')
	return e.done()
}

// ResponseBytes bounds what EncodeResponse allocates for the same, in bytes.
func ResponseBytes(resp *Response, req *Request) int64 {
	return int64(512 + sizeInJSON(resp.Outputs, req.inBinary) + len(resp.ID))
}

// inBinary reports whether an output goes in binary.
func (r *Request) inBinary(t *Tensor) bool {
	for i := range r.Outputs {
		if o := &r.Outputs[i]; o.Name == t.Name && o.Binary != nil {
			return *o.Binary
		}
	}
	return r.BinaryOutput
}

// EncodeRequest writes a request, for clients. inBinary reports which inputs go in
// binary; nil is all of them.
func EncodeRequest(req *Request, inBinary func(*Tensor) bool) (*Encoded, error) {
	if inBinary == nil {
		inBinary = func(*Tensor) bool { return true }
	}
	e := encoder{buf: make([]byte, 0, 512+sizeInJSON(req.Inputs, inBinary))}
	e.buf = append(e.buf, '{')
	if req.ID != "" {
		e.member("id")
		e.text(req.ID)
	}
	if p := requestParameters(req); len(p) > 0 {
		e.member("parameters")
		e.parameters(p)
	}
	e.member("inputs")
	e.tensors("inputs", req.Inputs, inBinary)
	if len(req.Outputs) > 0 {
		e.member("outputs")
		e.requestedOutputs(req.Outputs)
	}
	e.buf = append(e.buf, '}')
	return e.done()
}

// requestParameters are all of a request's parameters, those with fields of
// their own included.
func requestParameters(req *Request) Parameters {
	p := maps.Clone(req.Parameters)
	if req.Timeout > 0 {
		p = p.with("timeout", int64(req.Timeout/time.Microsecond))
	}
	if req.Priority > 0 {
		p = p.with("priority", int64(min(req.Priority, math.MaxInt64)))
	}
	if req.BinaryOutput {
		p = p.with("binary_data_output", true)
	}
	return p
}

// sizeInJSON is the most JSON that tensors will take, to allocate once.
func sizeInJSON(tensors []Tensor, inBinary func(*Tensor) bool) int {
	n := 0
	for i := range tensors {
		t := &tensors[i]
		n += 128 + len(t.Name) + 21*len(t.Shape)
		if size := t.DataType.Size(); size > 0 && !inBinary(t) {
			n += len(t.Data) / size * longest(t.DataType)
		} else if !inBinary(t) {
			n += len(t.Data) + escapes(t.Data)
		}
	}
	return n
}

// longest is the bytes of a type's longest element in JSON, with a comma.
func longest(d DataType) int {
	switch d {
	case Bool:
		return len("false,")
	case Uint8, Int8:
		return len("-128,")
	case Uint16, Int16:
		return len("-32768,")
	case Uint32, Int32:
		return len("-2147483648,")
	case FP16, BF16, FP32:
		return len("-1.17549435e-38,")
	default:
		return len("-2.2250738585072014e-308,")
	}
}

// escapes is how many bytes more JSON has for texts. The lengths between them are
// as long as quotes and commas; their bytes may be counted, too.
func escapes(data []byte) int {
	n := 0
	for _, c := range data {
		switch {
		case c < ' ':
			n += len(`\u0000`) - 1
		case c == '"', c == '\\':
			n++
		}
	}
	return n
}

// encoder appends one body. It remembers the first error.
type encoder struct {
	buf      []byte
	binary   [][]byte
	isBinary bool
	err      error
}

func (e *encoder) done() (*Encoded, error) {
	if e.err != nil {
		return nil, e.err
	}
	return &Encoded{JSON: e.buf, Binary: e.binary, isBinary: e.isBinary}, nil
}

// separate puts a comma between what was written and what comes.
func (e *encoder) separate() {
	switch e.buf[len(e.buf)-1] {
	case '{', '[', ':':
	default:
		e.buf = append(e.buf, ',')
	}
}

func (e *encoder) member(name string) {
	e.separate()
	e.text(name)
	e.buf = append(e.buf, ':')
}

// text writes a string; bytes that are not UTF-8 become the replacement
// character.
func (e *encoder) text(s string) {
	buf, err := jsontext.AppendQuote(e.buf, s)
	if err == nil || utf8.ValidString(s) {
		e.buf, e.err = buf, errors.Join(e.err, err)
		return
	}
	e.buf, _ = jsontext.AppendQuote(e.buf, string([]rune(s))) // runes are always valid
}

func (e *encoder) parameters(p Parameters) {
	e.buf = append(e.buf, '{')
	for _, name := range slices.Sorted(maps.Keys(p)) {
		e.member(name)
		switch v := p[name].(type) {
		case bool:
			e.buf = strconv.AppendBool(e.buf, v)
		case int64:
			e.buf = strconv.AppendInt(e.buf, v, 10)
		case uint64:
			e.buf = strconv.AppendUint(e.buf, v, 10)
		case float64:
			e.float(v, 64)
		case string:
			e.text(v)
		default:
			e.err = errors.Join(e.err, fmt.Errorf("parameter %s is a %T, not a bool, int64, float64 or string", name, v))
		}
	}
	e.buf = append(e.buf, '}')
}

func (e *encoder) requestedOutputs(outputs []RequestedOutput) {
	e.buf = append(e.buf, '[')
	for _, o := range outputs {
		e.separate()
		e.buf = append(e.buf, '{')
		e.member("name")
		e.text(o.Name)
		if o.Binary != nil {
			e.member("parameters")
			e.buf = append(e.buf, '{')
			e.member("binary_data")
			e.buf = strconv.AppendBool(e.buf, *o.Binary)
			e.buf = append(e.buf, '}')
		}
		e.buf = append(e.buf, '}')
	}
	e.buf = append(e.buf, ']')
}

func (e *encoder) tensors(path string, tensors []Tensor, inBinary func(*Tensor) bool) {
	e.buf = append(e.buf, '[')
	for i := range tensors {
		t := &tensors[i]
		e.separate()
		e.buf = append(e.buf, '{')
		e.member("name")
		e.text(t.Name)
		e.member("datatype")
		e.text(string(t.DataType))
		e.member("shape")
		e.shape(t.Shape)
		if inBinary(t) {
			e.member("parameters")
			e.buf = append(e.buf, `{"binary_data_size":`...)
			e.buf = strconv.AppendInt(e.buf, int64(len(t.Data)), 10)
			e.buf = append(e.buf, '}')
			e.binary = append(e.binary, t.Data)
			e.isBinary = true
		} else {
			e.member("data")
			e.data(path+"["+strconv.Itoa(i)+"]", t)
		}
		e.buf = append(e.buf, '}')
	}
	e.buf = append(e.buf, ']')
}

func (e *encoder) shape(shape []int64) {
	e.buf = append(e.buf, '[')
	for i, n := range shape {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.buf = strconv.AppendInt(e.buf, n, 10)
	}
	e.buf = append(e.buf, ']')
}

// data writes a tensor's elements as one flat array.
func (e *encoder) data(path string, t *Tensor) {
	e.buf = append(e.buf, '[')
	if t.DataType == Bytes {
		e.strings(path, t.Data)
	} else {
		e.elements(t.DataType, t.Data)
		if last := len(e.buf) - 1; e.buf[last] == ',' {
			e.buf = e.buf[:last]
		}
	}
	e.buf = append(e.buf, ']')
}

// strings writes BYTES elements as strings.
func (e *encoder) strings(path string, data []byte) {
	for i := 0; len(data) > 0; i++ {
		element, rest, ok := cutBytes(data)
		if !ok {
			e.err = errors.Join(e.err, fmt.Errorf("%s: element %d is cut short", path, i))
			return
		}
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		buf, err := jsontext.AppendQuote(e.buf, element)
		if err != nil {
			e.err = errors.Join(e.err, problem.Invalid(path, "element %d is not UTF-8: it can only travel as binary data", i))
			return
		}
		e.buf, data = buf, rest
	}
}

// elements writes elements of a fixed size, each with a comma behind it.
func (e *encoder) elements(d DataType, data []byte) {
	le, size := binary.LittleEndian, d.Size()
	if size == 0 {
		e.err = errors.Join(e.err, fmt.Errorf("%q is no data type", d))
		return
	}
	for ; len(data) >= size; data = data[size:] {
		switch d {
		case Bool:
			e.buf = strconv.AppendBool(e.buf, data[0] != 0)
		case Uint8:
			e.buf = strconv.AppendUint(e.buf, uint64(data[0]), 10)
		case Uint16:
			e.buf = strconv.AppendUint(e.buf, uint64(le.Uint16(data)), 10)
		case Uint32:
			e.buf = strconv.AppendUint(e.buf, uint64(le.Uint32(data)), 10)
		case Uint64:
			e.buf = strconv.AppendUint(e.buf, le.Uint64(data), 10)
		case Int8:
			e.buf = strconv.AppendInt(e.buf, int64(int8(data[0])), 10)
		case Int16:
			e.buf = strconv.AppendInt(e.buf, int64(int16(le.Uint16(data))), 10)
		case Int32:
			e.buf = strconv.AppendInt(e.buf, int64(int32(le.Uint32(data))), 10)
		case Int64:
			e.buf = strconv.AppendInt(e.buf, int64(le.Uint64(data)), 10)
		case FP16:
			e.float(float64(FromFloat16(le.Uint16(data))), 32)
		case BF16:
			e.float(float64(FromBFloat16(le.Uint16(data))), 32)
		case FP32:
			e.float(float64(math.Float32frombits(le.Uint32(data))), 32)
		default:
			e.float(math.Float64frombits(le.Uint64(data)), 64)
		}
		e.buf = append(e.buf, ',')
	}
}

// float writes a number with the fewest digits that read back as itself, or
// the string that stands for it when it is not finite. The sign of a zero needs
// the fraction: many readers make an integer of -0.
func (e *encoder) float(f float64, bits int) {
	switch {
	case math.IsNaN(f):
		e.buf = append(e.buf, `"NaN"`...)
	case math.IsInf(f, 1):
		e.buf = append(e.buf, `"Infinity"`...)
	case math.IsInf(f, -1):
		e.buf = append(e.buf, `"-Infinity"`...)
	case f == 0 && math.Signbit(f):
		e.buf = append(e.buf, "-0.0"...)
	default:
		e.buf = jsontext.AppendFloat(e.buf, f, bits)
	}
}
