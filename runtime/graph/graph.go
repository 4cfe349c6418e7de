// Package graph reads the graph of a model in ONNX Runtime's own format (ORT, a
// flatbuffer): operators, their attributes, and the few constants that show
// shapes. Weights are stepped over and never touched, so that a mapped file of
// gigabytes costs as much as its graph.
//
// ORT files alone, because they hold the graph that runs. An ONNX file is
// rewritten when it is loaded, by what it declares of the values between operators
// too (value_info), where a publisher may write what they like.
//
// A file is not trusted: everything in it is checked against bounds, and
// a file beyond them is refused. The package is not for weights, and it judges
// no graph: see runtime/rows.
package graph

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Bounds on what is read of one file.
const (
	maxDepth      = 16       // graphs in attributes of nodes of graphs …
	maxNodes      = 100_000  // of all graphs and functions together
	maxTensors    = 200_000  // initializers and attributes, likewise
	maxAttributes = 200_000  // likewise
	maxElements   = 4 << 20  // of all tensors and lists that are kept
	maxStrings    = 32 << 20 // bytes of all names that are kept
	maxName       = 4096     // bytes
	maxRank       = 64
	maxInts       = 512 // of a tensor or an attribute; a longer one has no elements
	maxWords      = 1 << 17
)

// ErrInvalid is wrapped by the errors of a file that holds no graph that can be
// read.
var ErrInvalid = errors.New("not an ORT file's graph")

// errBudget is wrapped by the errors of a file that has more than is read.
var errBudget = errors.New("it has more of these than are read")

// Graph is a model's graph, one inside an attribute, or a function's body.
type Graph struct {
	// Inputs have initializers too where they have a default.
	Inputs, Outputs []string
	Initializers    map[string]Tensor

	// Nodes are in the file's order, which need not be the one they run in: see
	// Order. Their edges are those by the values' names.
	Nodes []Node

	// Rewritten is whether the file asks for rewriting when it is loaded (its
	// runtime optimizations), so that this is not the graph that runs.
	Rewritten bool
}

// Node is one operator.
type Node struct {
	Name, Domain, Op string // Domain is "" for ai.onnx

	// Since is the version of the operator set that last changed the operator.
	Since int

	Inputs, Outputs []string // "" is one left out
	Attributes      []Attribute

	// Fused is whether the operator is one of another runtime's.
	Fused bool
}

// AttributeType is onnx.proto's AttributeProto.AttributeType.
type AttributeType int32

// The types of attributes that the package reads.
const (
	Float      AttributeType = 1
	Int        AttributeType = 2
	String     AttributeType = 3
	TensorType AttributeType = 4
	GraphType  AttributeType = 5
	Floats     AttributeType = 6
	Ints       AttributeType = 7
	Strings    AttributeType = 8
)

// Attribute is one attribute of a node. ONNX Runtime goes by Type and reads the
// field of it, whichever others are there.
type Attribute struct {
	Name   string
	Type   AttributeType
	Int    int64
	Float  float32
	String string
	Tensor *Tensor
	Graph  *Graph

	// Ints of a list; nil where it is longer than shapes are. Strings of a list;
	// nil where they are more than is kept. Other lists have their length in Len
	// alone.
	Ints    []int64
	Strings []string
	Len     int
}

// The element types that the package reads, of onnx.proto's TensorProto.
const (
	TypeFloat  int32 = 1
	TypeInt32  int32 = 6
	TypeInt64  int32 = 7
	TypeBool   int32 = 9
	TypeDouble int32 = 11
)

// Tensor is a constant. It has its elements where they are few and of int32,
// int64, bool (Ints) or float32 (Floats); both are nil for any other.
type Tensor struct {
	DataType int32
	Dims     []int64
	Ints     []int64
	Floats   []float32
}

// Elements is how many elements the tensor has; -1 where its dimensions make
// none.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Dims {
		if d < 0 || d != 0 && n > (1<<40)/d {
			return -1
		}
		n *= d
	}
	return n
}

// Attribute is the attribute of a name; nil without one.
func (n *Node) Attribute(name string) *Attribute {
	for i := range n.Attributes {
		if n.Attributes[i].Name == name {
			return &n.Attributes[i]
		}
	}
	return nil
}

// Open reads the graph of the ORT file at path.
func Open(path string) (*Graph, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: %w: it is empty, or no file", path, ErrInvalid)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer unix.Munmap(data) //nolint:errcheck // a mapping made above
	g, err := Read(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return g, nil
}

// budget is what is left of the bounds while a file is read.
type budget struct {
	nodes, tensors, attributes, strings, numbers int
}

// newBudget is for a file of a size: tables and lists that lead to the same bytes
// again and again make no more of a small file than it could hold itself. Names
// are shared by ONNX Runtime too.
func newBudget(size int) budget {
	return budget{
		nodes: min(maxNodes, size/4), tensors: min(maxTensors, size/4), attributes: min(maxAttributes, size/4),
		numbers: min(maxElements, size), strings: min(maxStrings, 64*size),
	}
}

func (b *budget) spend(left *int, n int, of string) error {
	if *left -= n; *left < 0 {
		return fmt.Errorf("%w: %w: %s", ErrInvalid, errBudget, of)
	}
	return nil
}

func (b *budget) node() error      { return b.spend(&b.nodes, 1, "operators") }
func (b *budget) tensor() error    { return b.spend(&b.tensors, 1, "constants") }
func (b *budget) attribute() error { return b.spend(&b.attributes, 1, "attributes") }

// elements are kept of a list or a tensor.
func (b *budget) elements(n int) error { return b.spend(&b.numbers, n, "numbers") }

// text keeps a name.
func (b *budget) text(s []byte) (string, error) {
	if len(s) > maxName {
		return "", fmt.Errorf("%w: a name has more than %d bytes", ErrInvalid, maxName)
	}
	// A name that is empty still takes its place in a list.
	if err := b.spend(&b.strings, len(s)+16, "names"); err != nil {
		return "", err
	}
	return string(s), nil
}

func domain(s string) string {
	if s == "ai.onnx" {
		return ""
	}
	return s
}
