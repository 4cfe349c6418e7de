package graph

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// ReadONNX reads the graph of an ONNX model
// (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). A message that has
// twice what it may have once is refused: readers do not agree on what it
// means.
func ReadONNX(data []byte) (*Graph, error) {
	r := onnxReader{budget: newBudget()}
	var graphs int
	var body []byte
	versions := map[string]int{}
	var functions [][]byte
	err := r.fields(data, func(f field) error {
		switch {
		case f.is(7, protowire.BytesType):
			graphs++
			body = f.bytes
		case f.is(8, protowire.BytesType):
			return r.opset(f.bytes, versions)
		case f.is(25, protowire.BytesType):
			if err := r.node(); err != nil { // so that functions without nodes are bounded
				return err
			}
			functions = append(functions, f.bytes)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if graphs != 1 {
		return nil, fmt.Errorf("%w: it has %d graphs where one was expected", ErrInvalid, graphs)
	}
	g, err := r.graph(body, versions, 0)
	if err != nil {
		return nil, err
	}
	g.Functions = map[FunctionID]*Function{}
	for _, data := range functions {
		id, f, err := r.function(data)
		if err != nil {
			return nil, err
		}
		if g.Functions[id] != nil {
			return nil, fmt.Errorf("%w: function %.100q is there twice", ErrInvalid, id.Name)
		}
		g.Functions[id] = f
	}
	return g, nil
}

type onnxReader struct{ budget }

// field is one field of a message.
type field struct {
	number protowire.Number
	wire   protowire.Type
	bytes  []byte
	number64
}

type number64 struct{ value uint64 }

func (f *field) is(number protowire.Number, wire protowire.Type) bool {
	return f.number == number && f.wire == wire
}

// fields calls do with each field of a message, in their order.
func (r *onnxReader) fields(data []byte, do func(f field) error) error {
	for len(data) > 0 {
		var f field
		var n int
		f.number, f.wire, n = protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrInvalid, protowire.ParseError(n))
		}
		data = data[n:]
		switch f.wire {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(data)
			f.value = uint64(v)
		case protowire.Fixed64Type:
			f.value, n = protowire.ConsumeFixed64(data)
		default: // groups, which no message of ONNX has
			return fmt.Errorf("%w: it has a group", ErrInvalid)
		}
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrInvalid, protowire.ParseError(n))
		}
		data = data[n:]
		if err := do(f); err != nil {
			return err
		}
	}
	return nil
}

func (r *onnxReader) opset(data []byte, versions map[string]int) error {
	var name string
	var version int64
	err := r.fields(data, func(f field) (err error) {
		switch {
		case f.is(1, protowire.BytesType):
			name, err = r.text(f.bytes)
		case f.is(2, protowire.VarintType):
			version = int64(f.value)
		}
		return err
	})
	if err != nil {
		return err
	}
	name = domain(name)
	if _, twice := versions[name]; twice || version < 0 || version > 1<<20 {
		return fmt.Errorf("%w: operator set %.100q has version %d, or several", ErrInvalid, name, version)
	}
	versions[name] = int(version)
	return nil
}

func (r *onnxReader) graph(data []byte, versions map[string]int, depth int) (*Graph, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: graphs are nested beyond %d", ErrInvalid, maxDepth)
	}
	g := &Graph{Initializers: map[string]Tensor{}}
	err := r.fields(data, func(f field) error {
		if f.wire != protowire.BytesType {
			return nil
		}
		switch f.number {
		case 1:
			n, err := r.operator(f.bytes, versions, depth)
			if err != nil {
				return err
			}
			g.Nodes = append(g.Nodes, n)
		case 5:
			t, name, err := r.constant(f.bytes)
			if err != nil {
				return err
			}
			return g.initializer(name, t)
		case 11, 12:
			name, err := r.valueName(f.bytes)
			if err != nil {
				return err
			}
			if f.number == 11 {
				g.Inputs = append(g.Inputs, name)
			} else {
				g.Outputs = append(g.Outputs, name)
			}
		}
		return nil
	})
	return g, err
}

func (g *Graph) initializer(name string, t Tensor) error {
	if _, twice := g.Initializers[name]; twice {
		return fmt.Errorf("%w: initializer %.100q is there twice", ErrInvalid, name)
	}
	g.Initializers[name] = t
	return nil
}

func (r *onnxReader) valueName(data []byte) (name string, err error) {
	err = r.fields(data, func(f field) (err error) {
		if f.is(1, protowire.BytesType) {
			name, err = r.text(f.bytes)
		}
		return err
	})
	return name, err
}

func (r *onnxReader) operator(data []byte, versions map[string]int, depth int) (Node, error) {
	var n Node
	if err := r.node(); err != nil {
		return n, err
	}
	err := r.fields(data, func(f field) (err error) {
		if f.wire != protowire.BytesType {
			return nil
		}
		switch f.number {
		case 1, 2:
			name, err := r.text(f.bytes)
			if err != nil {
				return err
			}
			if f.number == 1 {
				n.Inputs = append(n.Inputs, name)
			} else {
				n.Outputs = append(n.Outputs, name)
			}
		case 3:
			n.Name, err = r.text(f.bytes)
		case 4:
			n.Op, err = r.text(f.bytes)
		case 5:
			var a Attribute
			a, err = r.readAttribute(f.bytes, versions, depth)
			n.Attributes = append(n.Attributes, a)
		case 7:
			n.Domain, err = r.text(f.bytes)
		case 8:
			n.Overload, err = r.text(f.bytes)
		}
		return err
	})
	n.Domain = domain(n.Domain)
	n.Since = versions[n.Domain]
	return n, err
}

func (r *onnxReader) readAttribute(data []byte, versions map[string]int, depth int) (Attribute, error) {
	var a Attribute
	if err := r.attribute(); err != nil {
		return a, err
	}
	lengths := map[protowire.Number]int{} // of the lists
	err := r.fields(data, func(f field) (err error) {
		switch {
		case f.is(1, protowire.BytesType):
			a.Name, err = r.text(f.bytes)
		case f.is(21, protowire.BytesType):
			a.Ref, err = r.text(f.bytes)
		case f.is(20, protowire.VarintType):
			a.Type = AttributeType(int32(f.value))
		case f.is(2, protowire.Fixed32Type):
			a.Float = math.Float32frombits(uint32(f.value))
		case f.is(3, protowire.VarintType):
			a.Int = int64(f.value)
		case f.is(4, protowire.BytesType):
			// A longer one is a file's content, not a mode.
			a.String = ""
			if len(f.bytes) <= maxName {
				a.String, err = r.text(f.bytes)
			}
		case f.is(5, protowire.BytesType):
			if a.Tensor != nil {
				return fmt.Errorf("%w: attribute %.100q has two tensors", ErrInvalid, a.Name)
			}
			var t Tensor
			t, _, err = r.constant(f.bytes)
			a.Tensor = &t
		case f.is(6, protowire.BytesType):
			if a.Graph != nil {
				return fmt.Errorf("%w: attribute %.100q has two graphs", ErrInvalid, a.Name)
			}
			a.Graph, err = r.graph(f.bytes, versions, depth+1)
		default:
			err = r.list(&a, f, lengths)
		}
		return err
	})
	switch a.Type {
	case Floats:
		a.Len = lengths[7]
	case Ints:
		if a.Len = lengths[8]; a.Len > maxInts {
			a.Ints = nil
		} else if a.Ints == nil {
			a.Ints = []int64{}
		}
	case Strings:
		a.Len = lengths[9]
	}
	return a, err
}

// list counts what lists of numbers and strings hold, packed or not, and keeps
// the integers.
func (r *onnxReader) list(a *Attribute, f field, lengths map[protowire.Number]int) error {
	switch {
	case f.is(7, protowire.BytesType):
		lengths[7] += len(f.bytes) / 4
	case f.is(7, protowire.Fixed32Type), f.is(9, protowire.BytesType):
		lengths[f.number]++
	case f.is(8, protowire.VarintType):
		if lengths[8]++; lengths[8] <= maxInts {
			a.Ints = append(a.Ints, int64(f.value))
		}
	case f.is(8, protowire.BytesType):
		for b := f.bytes; len(b) > 0; {
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return fmt.Errorf("%w: %w", ErrInvalid, protowire.ParseError(n))
			}
			b = b[n:]
			if lengths[8]++; lengths[8] <= maxInts {
				a.Ints = append(a.Ints, int64(v))
			}
		}
	}
	return nil
}

// constant reads a tensor: its elements only where they are few, of a type that
// shapes have, and written in one way alone.
func (r *onnxReader) constant(data []byte) (Tensor, string, error) {
	var t Tensor
	var name string
	if err := r.tensor(); err != nil {
		return t, name, err
	}
	var c content
	err := r.fields(data, func(f field) (err error) {
		switch {
		case f.is(1, protowire.VarintType):
			t.Dims, err = appendDim(t.Dims, int64(f.value))
		case f.is(1, protowire.BytesType):
			for b := f.bytes; len(b) > 0 && err == nil; {
				v, n := protowire.ConsumeVarint(b)
				if n < 0 {
					return fmt.Errorf("%w: %w", ErrInvalid, protowire.ParseError(n))
				}
				b = b[n:]
				t.Dims, err = appendDim(t.Dims, int64(v))
			}
		case f.is(2, protowire.VarintType):
			t.DataType = int32(f.value)
		case f.is(8, protowire.BytesType):
			name, err = r.text(f.bytes)
		default:
			c.take(f)
		}
		return err
	})
	if err == nil {
		c.elements(&t)
	}
	return t, name, err
}

func appendDim(dims []int64, d int64) ([]int64, error) {
	if len(dims) >= maxRank || d < 0 {
		return nil, fmt.Errorf("%w: a constant has a negative dimension, or more than %d", ErrInvalid, maxRank)
	}
	return append(dims, d), nil
}

// content is where a tensor's elements are.
type content struct {
	raw              []byte
	ints, longs      []int64
	floats           []float32
	isRaw, elsewhere bool
}

func (c *content) take(f field) {
	switch {
	case f.is(9, protowire.BytesType):
		c.elsewhere = c.elsewhere || c.isRaw
		c.raw, c.isRaw = f.bytes, true
	case f.is(5, protowire.VarintType):
		c.ints = c.varint(c.ints, int64(int32(f.value)))
	case f.is(7, protowire.VarintType):
		c.longs = c.varint(c.longs, int64(f.value))
	case f.is(5, protowire.BytesType):
		c.ints = c.packed(c.ints, f.bytes, true)
	case f.is(7, protowire.BytesType):
		c.longs = c.packed(c.longs, f.bytes, false)
	case f.is(4, protowire.Fixed32Type):
		c.floats = c.float(c.floats, uint32(f.value))
	case f.is(4, protowire.BytesType):
		if len(f.bytes)%4 != 0 || len(f.bytes) > 4*maxInts {
			c.elsewhere = true
			return
		}
		for b := f.bytes; len(b) > 0; b = b[4:] {
			c.floats = c.float(c.floats, binary.LittleEndian.Uint32(b))
		}
	case f.is(14, protowire.VarintType):
		c.elsewhere = c.elsewhere || f.value != 0
	case f.number == 3 || f.number == 13: // a segment, or external
		c.elsewhere = true
	}
}

func (c *content) varint(to []int64, v int64) []int64 {
	if len(to) >= maxInts {
		c.elsewhere = true
		return to
	}
	return append(to, v)
}

func (c *content) packed(to []int64, b []byte, short bool) []int64 {
	if len(b) > 10*maxInts {
		c.elsewhere = true
		return to
	}
	for len(b) > 0 {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			c.elsewhere = true
			return to
		}
		b = b[n:]
		x := int64(v)
		if short {
			x = int64(int32(v))
		}
		to = c.varint(to, x)
	}
	return to
}

func (c *content) float(to []float32, bits uint32) []float32 {
	if len(to) >= maxInts {
		c.elsewhere = true
		return to
	}
	return append(to, math.Float32frombits(bits))
}

// elements gives t its elements, if they are in one place.
func (c *content) elements(t *Tensor) {
	n := t.Elements()
	if c.elsewhere || n < 0 || n > maxInts {
		return
	}
	if c.isRaw {
		if len(c.ints)+len(c.longs)+len(c.floats) == 0 {
			t.fromRaw(c.raw)
		}
		return
	}
	switch t.DataType {
	case TypeInt64:
		if int64(len(c.longs)) == n && len(c.ints)+len(c.floats) == 0 {
			t.Ints = append([]int64{}, c.longs...)
		}
	case TypeInt32, TypeBool:
		if int64(len(c.ints)) == n && len(c.longs)+len(c.floats) == 0 {
			t.Ints = append([]int64{}, c.ints...)
			t.truth()
		}
	case TypeFloat:
		if int64(len(c.floats)) == n && len(c.longs)+len(c.ints) == 0 {
			t.Floats = append([]float32{}, c.floats...)
		}
	}
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
// and as many as its dimensions say.
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

func (r *onnxReader) function(data []byte) (FunctionID, *Function, error) {
	id, f := FunctionID{}, &Function{}
	versions := map[string]int{}
	// The operator sets come after the nodes.
	err := r.fields(data, func(fd field) error {
		if fd.is(9, protowire.BytesType) {
			return r.opset(fd.bytes, versions)
		}
		return nil
	})
	if err != nil {
		return id, nil, err
	}
	f.Body.Initializers = map[string]Tensor{}
	err = r.fields(data, func(fd field) (err error) {
		if fd.wire != protowire.BytesType {
			return nil
		}
		var name string
		switch fd.number {
		case 1:
			id.Name, err = r.text(fd.bytes)
		case 10:
			id.Domain, err = r.text(fd.bytes)
		case 13:
			id.Overload, err = r.text(fd.bytes)
		case 4:
			name, err = r.text(fd.bytes)
			f.Body.Inputs = append(f.Body.Inputs, name)
		case 5:
			name, err = r.text(fd.bytes)
			f.Body.Outputs = append(f.Body.Outputs, name)
		case 7:
			var n Node
			n, err = r.operator(fd.bytes, versions, 0)
			f.Body.Nodes = append(f.Body.Nodes, n)
		case 11:
			var a Attribute
			a, err = r.readAttribute(fd.bytes, versions, 0)
			f.Defaults = append(f.Defaults, a)
		}
		return err
	})
	id.Domain = domain(id.Domain)
	return id, f, err
}
