package graph

import (
	"errors"
	"fmt"
	"math"
)

const ortIdentifier = "ORTM"

// Indices of the fields that are read, in the order of ONNX Runtime's schema
// (onnxruntime/core/flatbuffers/schema/ort.fbs).
const (
	sessionModel = 1

	modelGraph = 7

	graphInitializers  = 0
	graphNodes         = 2
	graphEdges         = 4
	graphInputs        = 5
	graphOutputs       = 6
	graphOptimizations = 8

	nodeName       = 0
	nodeDomain     = 2
	nodeSince      = 3
	nodeIndex      = 4
	nodeOp         = 5
	nodeType       = 6
	nodeInputs     = 8
	nodeOutputs    = 9
	nodeAttributes = 10

	tensorName = 0
	tensorDims = 2
	tensorType = 3
	tensorRaw  = 4

	attributeName    = 0
	attributeType    = 2
	attributeFloat   = 3
	attributeInt     = 4
	attributeString  = 5
	attributeTensor  = 6
	attributeGraph   = 7
	attributeFloats  = 8
	attributeInts    = 9
	attributeStrings = 10
)

// Read reads the graph of an ORT file's bytes, which it keeps none of.
func Read(data []byte) (*Graph, error) {
	if len(data) < 8 || string(data[4:8]) != ortIdentifier {
		return nil, fmt.Errorf("%w: it does not begin as an ORT file does", ErrInvalid)
	}
	r := ortReader{budget: newBudget(len(data)), flat: flat{data: data}}
	session := table(r.follow(0))
	body := r.table(r.table(session, sessionModel), modelGraph)
	if r.err != nil {
		return nil, r.err
	}
	if body == 0 {
		return nil, fmt.Errorf("%w: it holds no graph", ErrInvalid)
	}
	return r.graph(body, 0)
}

type ortReader struct {
	budget
	flat
}

func (r *ortReader) graph(at table, depth int) (*Graph, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: graphs are nested beyond %d", ErrInvalid, maxDepth)
	}
	g := &Graph{Initializers: map[string]Tensor{}}
	err := r.tables(at, graphInitializers, func(t table) error {
		name, err := r.string(t, tensorName)
		if err != nil {
			return err
		}
		c, err := r.constant(t)
		if err != nil {
			return err
		}
		return g.initializer(name, c)
	})
	if err != nil {
		return nil, err
	}
	indices := map[int]int{} // the place in Nodes, of a node's index in the file
	err = r.tables(at, graphNodes, func(t table) error {
		n, err := r.operator(t, depth)
		if err != nil {
			return err
		}
		index := int(r.int32(t, nodeIndex))
		if _, twice := indices[index]; twice {
			return fmt.Errorf("%w: two operators have the index %d", ErrInvalid, index)
		}
		indices[index] = len(g.Nodes)
		g.Nodes = append(g.Nodes, n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := r.checkEdges(at, g, indices); err != nil {
		return nil, err
	}
	if g.Inputs, err = r.strings(at, graphInputs); err != nil {
		return nil, err
	}
	if g.Outputs, err = r.strings(at, graphOutputs); err != nil {
		return nil, err
	}
	if optimizations := r.table(at, graphOptimizations); optimizations != 0 {
		_, n := r.vector(optimizations, 0, 4)
		g.Rewritten = n > 0
	}
	return g, r.err
}

// string reads a name, at most the bytes that a name may have.
func (r *ortReader) string(t table, index int) (string, error) {
	s, err := r.text(r.raw(t, index))
	if r.err != nil {
		return "", r.err
	}
	return s, err
}

func (r *ortReader) strings(t table, index int) ([]string, error) {
	at, n := r.vector(t, index, 4)
	if r.err != nil {
		return nil, r.err
	}
	if n > maxStrings/16 {
		return nil, fmt.Errorf("%w: it has more names than are read", ErrInvalid)
	}
	names := make([]string, 0, min(n, 64))
	for i := range n {
		text := r.follow(at + 4*i)
		size := r.u32(text)
		s, err := r.text(r.bytes(text+4, size))
		if r.err != nil {
			return nil, r.err
		}
		if err != nil {
			return nil, err
		}
		names = append(names, s)
	}
	return names, nil
}

func (r *ortReader) operator(t table, depth int) (n Node, err error) {
	if err := r.node(); err != nil {
		return n, err
	}
	if n.Name, err = r.string(t, nodeName); err != nil {
		return n, err
	}
	if n.Domain, err = r.string(t, nodeDomain); err != nil {
		return n, err
	}
	if n.Op, err = r.string(t, nodeOp); err != nil {
		return n, err
	}
	n.Domain = domain(n.Domain)
	n.Since = int(r.int32(t, nodeSince))
	n.Fused = r.int32(t, nodeType) != 0
	if n.Inputs, err = r.strings(t, nodeInputs); err != nil {
		return n, err
	}
	if n.Outputs, err = r.strings(t, nodeOutputs); err != nil {
		return n, err
	}
	err = r.tables(t, nodeAttributes, func(t table) error {
		a, err := r.readAttribute(t, depth)
		n.Attributes = append(n.Attributes, a)
		return err
	})
	return n, err
}

func (r *ortReader) readAttribute(t table, depth int) (a Attribute, err error) {
	if err := r.attribute(); err != nil {
		return a, err
	}
	if a.Name, err = r.string(t, attributeName); err != nil {
		return a, err
	}
	a.Type = AttributeType(r.int32(t, attributeType))
	switch a.Type {
	case Float:
		a.Float = math.Float32frombits(uint32(r.int32(t, attributeFloat)))
	case Int:
		a.Int = r.int64(t, attributeInt)
	case String:
		// A longer one is a file's content, not a mode.
		if b := r.raw(t, attributeString); len(b) <= maxName {
			a.String, err = r.text(b)
		}
	case TensorType:
		at := r.table(t, attributeTensor)
		if at != 0 {
			var c Tensor
			c, err = r.constant(at)
			a.Tensor = &c
		}
	case GraphType:
		if at := r.table(t, attributeGraph); at != 0 {
			a.Graph, err = r.graph(at, depth+1)
		}
	case Floats:
		_, a.Len = r.vector(t, attributeFloats, 4)
	case Strings:
		_, a.Len = r.vector(t, attributeStrings, 4)
		// A tree ensemble has a word for each node, a vectorizer its vocabulary.
		if own := r.budget; a.Len <= maxWords {
			a.Strings, err = r.strings(t, attributeStrings)
			if errors.Is(err, errBudget) {
				r.budget, a.Strings, err = own, nil, nil
			}
		}
	case Ints:
		var at int
		at, a.Len = r.vector(t, attributeInts, 8)
		if a.Len <= maxInts {
			if err := r.elements(a.Len); err != nil {
				return a, err
			}
			a.Ints = make([]int64, a.Len)
			for i := range a.Ints {
				a.Ints[i] = r.i64(at + 8*i)
			}
		}
	}
	if r.err != nil {
		return a, r.err
	}
	return a, err
}

func (r *ortReader) constant(t table) (Tensor, error) {
	c := Tensor{DataType: r.int32(t, tensorType)}
	if err := r.tensor(); err != nil {
		return c, err
	}
	at, n := r.vector(t, tensorDims, 8)
	if n > maxRank {
		return c, fmt.Errorf("%w: a constant has more than %d dimensions", ErrInvalid, maxRank)
	}
	for i := range n {
		d := r.i64(at + 8*i)
		var err error
		if c.Dims, err = appendDim(c.Dims, d); err != nil {
			return c, err
		}
	}
	at, n = r.vector(t, tensorRaw, 1)
	if n <= 8*maxInts {
		c.fromRaw(r.bytes(at, n))
	}
	if r.err != nil {
		return c, r.err
	}
	return c, r.elements(len(c.Dims) + len(c.Ints) + len(c.Floats))
}
