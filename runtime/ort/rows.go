package ort

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
)

// rowsByValue are the operators whose outputs' shapes depend on their inputs'
// values by what they are. Others do where a shape is computed and given to
// them (Reshape, Slice, Range), of which a graph does not tell why.
func rowsByValue(op string) bool {
	return slices.Contains([]string{"Compress", "Loop", "NonMaxSuppression", "NonZero", "Unique"}, op)
}

// RowsByValue reads of the ONNX model at path which outputs' shapes may depend
// on the values of an input, and by which operator.
func RowsByValue(path string) (map[string]string, error) {
	data, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(data) //nolint:errcheck // a mapping that mapFile made
	return ScanRowsByValue(data)
}

// ScanRowsByValue is RowsByValue over the bytes of an ONNX model.
func ScanRowsByValue(model []byte) (map[string]string, error) {
	g := graphScan{functions: map[string]string{}}
	// Functions first, which the graph's nodes call; they may call each other.
	for {
		before := len(g.functions)
		err := each(model, func(field int, value []byte) error {
			if field != 25 {
				return nil
			}
			return g.function(value)
		})
		if err != nil {
			return nil, err
		}
		if len(g.functions) == before {
			break
		}
	}
	err := each(model, func(field int, value []byte) error {
		if field != 7 {
			return nil
		}
		return g.graph(value)
	})
	if err != nil {
		return nil, err
	}
	return g.follow(), nil
}

// graphScan is a graph as its names tell it.
type graphScan struct {
	functions       map[string]string // those that have such an operator in them, and which
	inputs, outputs []string
	nodes           []nodeScan
}

type nodeScan struct {
	op              string
	byValue         string   // the operator of rowsByValue that it is, or has in it
	inputs, outputs []string // inputs are those of graphs in it, too
}

func (g *graphScan) function(data []byte) error {
	var name, byValue string
	err := each(data, func(field int, value []byte) error {
		switch field {
		case 1:
			name = string(value)
		case 7:
			var n nodeScan
			if err := g.node(&n, value, 0); err != nil {
				return err
			}
			if n.byValue != "" {
				byValue = n.byValue
			}
		}
		return nil
	})
	if byValue != "" {
		g.functions[name] = byValue
	}
	return err
}

func (g *graphScan) graph(data []byte) error {
	return each(data, func(field int, value []byte) error {
		switch field {
		case 1:
			var n nodeScan
			if err := g.node(&n, value, 0); err != nil {
				return err
			}
			g.nodes = append(g.nodes, n)
		case 11, 12:
			to := &g.inputs
			if field == 12 {
				to = &g.outputs
			}
			return each(value, func(field int, value []byte) error {
				if field == 1 {
					*to = append(*to, string(value))
				}
				return nil
			})
		}
		return nil
	})
}

// node adds to n what a node has: itself, or one of a graph in it.
func (g *graphScan) node(n *nodeScan, data []byte, depth int) error {
	if depth > maxGraphDepth {
		return fmt.Errorf("%w: graphs are nested beyond %d", ErrNotONNX, maxGraphDepth)
	}
	return each(data, func(field int, value []byte) error {
		switch field {
		case 1:
			n.inputs = append(n.inputs, string(value))
		case 2:
			if depth == 0 {
				n.outputs = append(n.outputs, string(value))
			}
		case 4:
			op := string(value)
			if depth == 0 {
				n.op = op
			}
			if rowsByValue(op) {
				n.byValue = op
			} else if by := g.functions[op]; by != "" {
				n.byValue = by
			}
		case 5:
			return each(value, func(field int, value []byte) error {
				if field != 6 && field != 11 {
					return nil
				}
				return each(value, func(field int, value []byte) error {
					if field != 1 {
						return nil
					}
					return g.node(n, value, depth+1)
				})
			})
		}
		return nil
	})
}

// follow goes from the inputs' values to the outputs' shapes. A shape is no
// value: what counts the elements of a constant of the input's shape, as
// exporters do to find all indices, is not reached.
func (g *graphScan) follow() map[string]string {
	values := map[string]bool{} // depend on an input's values
	rows := map[string]string{} // have a shape that does, by which operator
	for _, name := range g.inputs {
		values[name] = true
	}
	for changed := true; changed; { // once, and once more to see it, where nodes are in order
		changed = false
		for i := range g.nodes {
			n := &g.nodes[i]
			byValue, by := n.reached(values, rows)
			for _, out := range n.outputs {
				if byValue && !values[out] {
					values[out], changed = true, true
				}
				if by != "" && rows[out] == "" {
					rows[out], changed = by, true
				}
			}
		}
	}
	found := map[string]string{}
	for _, name := range g.outputs {
		if rows[name] != "" {
			found[name] = rows[name]
		}
	}
	return found
}

// reached says whether a node's outputs depend on an input's values, and by
// which operator their shapes do; "" is none.
func (n *nodeScan) reached(values map[string]bool, rows map[string]string) (byValue bool, by string) {
	for i, in := range n.inputs {
		if in == "" {
			continue
		}
		byValue = byValue || values[in]
		// What is scattered into a tensor does not change its shape.
		if by == "" && (i == 0 || n.op != "ScatterND" && n.op != "ScatterElements") {
			by = rows[in]
		}
	}
	if n.op == "Shape" || n.op == "Size" {
		return by != "", by
	}
	if by == "" && byValue {
		by = n.byValue
	}
	return byValue, by
}

// each calls f with the fields of a message that are bytes, in their order.
func each(data []byte, f func(field int, value []byte) error) error {
	for len(data) > 0 {
		field, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrNotONNX, protowire.ParseError(n))
		}
		data = data[n:]
		if wire != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, wire, data); n < 0 {
				return fmt.Errorf("%w: %w", ErrNotONNX, protowire.ParseError(n))
			}
			data = data[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrNotONNX, protowire.ParseError(n))
		}
		data = data[n:]
		if err := f(int(field), value); err != nil {
			return err
		}
	}
	return nil
}
