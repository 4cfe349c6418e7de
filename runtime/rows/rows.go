// Package rows shows from a model's graph that rows stay apart: that what a
// model answers for rows of several requests joined on axis 0 is what it answers
// for each alone, one after another. Trials cannot show that, for there is
// always a value that was not tried.
//
// The walk goes over the graph once, with what is known of each value in all
// runs of requests that may be joined: that it is the same in all of them, that
// one axis of it has the rows, or that it is shape arithmetic that the number of
// rows is in. Each operator of an allow-list has a rule; an operator, an
// attribute or a case that has none makes a value unknown, and a model whose
// outputs are unknown is not joined. Ranks and dimensions are inferred by the
// rules, from the sizes that requests are held to; what a file declares of them is
// not read.
//
// What requests that may be joined have in common is what runtime/batch asks of
// them: the shapes of all inputs but for the rows, and the bytes of inputs without
// rows. Inputs that have a default are left out, and no input is empty.
// See docs/rows.md, and docs/adr/0021 for why.
//
// It is not for what kernels do: that ONNX Runtime computes what an operator is
// defined to is trusted, and held to it by this package's tests. Nor is it for
// padding (ragged axes), which trials judge.
package rows

import (
	"errors"
	"fmt"

	"github.com/modelserveai/modelserve/runtime/graph"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Kind is what is known of an output.
type Kind int

// The kinds of an output.
const (
	// Unknown may have anything in it.
	Unknown Kind = iota
	// Same is equal for all requests that may be joined, together and alone.
	Same
	// ByRow has one slice of axis 0 for each row, which depends on that row alone.
	ByRow
)

func (k Kind) String() string { return [...]string{"unknown", "same", "by row"}[k] }

// Verdict is what a graph shows.
type Verdict struct {
	Outputs map[string]Kind // those of the signature

	// Why is the reason for a publisher, in a sentence that names the operator, why rows
	// may not be joined; "" where each output is ByRow or Same.
	Why string
}

// ProveFile is Prove over the graph of the ORT file at path, which will run. A
// file of another format shows nothing: ONNX Runtime rewrites it.
func ProveFile(path string, sig *infer.Signature, rowInputs []string) (Verdict, error) {
	g, err := graph.Open(path)
	switch {
	case errors.Is(err, graph.ErrInvalid):
		return refuseAll(sig, err.Error()), nil
	case err != nil:
		return Verdict{}, err
	}
	return Prove(g, sig, rowInputs), nil
}

// Inputs are the inputs of a signature that requests are joined along: by its
// batch axis, or without one those that have a dynamic first axis. Those that
// may be left out are none: requests that give one are not joined.
func Inputs(sig *infer.Signature) []string {
	var names []string
	for i := range sig.Inputs {
		in := &sig.Inputs[i]
		switch {
		case len(in.Shape) == 0 || in.Unbatched || in.Optional:
		case sig.BatchAxis != nil, in.Shape[0] == infer.Dynamic:
			names = append(names, in.Name)
		}
	}
	return names
}

// Prove returns for each output of sig what the graph shows of it, where requests
// are joined along axis 0 of rowInputs; nil is Inputs(sig). Inputs of sig that
// are not among them are equal in requests that are joined, or left out.
func Prove(g *graph.Graph, sig *infer.Signature, rowInputs []string) Verdict {
	if rowInputs == nil {
		rowInputs = Inputs(sig)
	}
	if len(rowInputs) == 0 {
		return refuseAll(sig, "no input has rows")
	}
	w := newWalk()
	top, err := w.inputs(g, sig, rowInputs)
	if err != nil {
		return refuseAll(sig, err.Error())
	}
	if err := w.graph(g, top); err != nil {
		return refuseAll(sig, err.Error())
	}
	verdict := Verdict{Outputs: map[string]Kind{}}
	for i := range sig.Outputs {
		out := &sig.Outputs[i]
		kind, why := judge(top.find(out.Name), out, sig.BatchAxis != nil)
		verdict.Outputs[out.Name] = kind
		if verdict.Why == "" && why != "" {
			verdict.Why = fmt.Sprintf("output %q: %s", out.Name, why)
		}
	}
	return verdict
}

func refuseAll(sig *infer.Signature, why string) Verdict {
	v := Verdict{Outputs: map[string]Kind{}, Why: why}
	for i := range sig.Outputs {
		v.Outputs[sig.Outputs[i].Name] = Unknown
	}
	return v
}

// judge is what a value is as an output, and why that is not enough.
func judge(v value, out *infer.TensorSpec, decided bool) (Kind, string) {
	switch {
	case v.kind == absent:
		return Unknown, "the graph has no such value"
	case v.kind == unknown:
		return Unknown, v.why
	case v.kind == count:
		return Unknown, "it has the number of rows in it"
	case v.kind == padded:
		return Unknown, "it is as long as the longest of all rows"
	case v.kind == same && decided && !out.Unbatched:
		return Unknown, "it is the same however many rows there are"
	case v.kind == same:
		return Same, ""
	case decided && out.Unbatched:
		return Unknown, "it has rows, and by the signature it has none"
	case v.axis != 0:
		return Unknown, fmt.Sprintf("its rows are on axis %d", v.axis)
	case v.dims[0] != rowCount():
		return Unknown, "it has not one of its own for each row"
	}
	return ByRow, ""
}
