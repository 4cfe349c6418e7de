package publish

import (
	"context"
	"fmt"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/rows"
)

// batchAxis is the only axis along which requests are joined: the first, as
// everywhere in the protocol's ecosystem.
const batchAxis = 0

// joining is what was found out about joining requests along the first axis.
type joining struct {
	sig      infer.Signature // with the batch axis, where there is one
	why      string          // there is none; "" is that there is
	asserted bool            // by the publisher, not shown by the graph
	notes    []string
}

// findBatchAxis finds out whether requests may be joined. A model that names
// the axis dynamic may still mix rows (a recurrent one over time does). That it
// does not, the graph of the optimised copy shows (served, "" without one), or
// the publisher asserts (asserted). In both cases rows are run alone and together, and what they
// show decides.
//
// Inputs whose first axis is not dynamic are unbatched, and so are outputs that
// no row changes.
func findBatchAxis(ctx context.Context, served string, model runner, sig infer.Signature, asserted bool) (joining, error) {
	found := joining{sig: sig}
	asked, ok := withRows(sig)
	if !ok {
		found.why = "no input has a dynamic first axis"
		return found, nil
	}
	shown := rows.Verdict{Why: "there is no optimised copy, whose graph is the one that runs"}
	if served != "" {
		var err error
		if shown, err = rows.ProveFile(served, &sig, nil); err != nil {
			return found, fmt.Errorf("read the model's graph: %w", err)
		}
	}
	tried, err := tryRows(ctx, model, &asked)
	switch {
	case err != nil:
		return found, err
	case shown.Why != "" && !asserted && tried.why == "":
		found.why = shown.Why + "; where you know that rows are independent all the same, push with --batch-axis 0"
	case shown.Why != "" && !asserted:
		found.why = shown.Why // what trials show it names no operator
	case tried.why != "":
		found.why = tried.why
	default:
		found.why = contradiction(&asked, tried, shown)
	}
	if found.why != "" {
		return found, nil
	}
	found.asserted = shown.Why != ""
	if found.asserted {
		found.notes = append(found.notes, fmt.Sprintf("rows are joined because of --batch-axis 0: %s; %s", shown.Why, tried.summary()))
	}
	found.sig = tried.signature()
	return found, nil
}

// signature is the one asked about, with what was seen of the outputs.
func (t *trials) signature() infer.Signature {
	sig := *t.sig
	sig.Outputs = slices.Clone(sig.Outputs)
	for i, k := range t.kinds {
		sig.Outputs[i].Unbatched = k == shared
	}
	return sig
}

// summary is how much the trials show, as text.
func (t *trials) summary() string {
	switch {
	case t.pairs == 0:
		return "no two different rows could be tried"
	case t.skipped > 0:
		return fmt.Sprintf("%d trials with different rows showed nothing against it, and %d more took too long", t.pairs, t.skipped)
	default:
		return fmt.Sprintf("%d trials with different rows showed nothing against it", t.pairs)
	}
}

// contradiction is where runs gave outputs otherwise than the graph shows; "" is none.
func contradiction(sig *infer.Signature, tried *trials, shown rows.Verdict) string {
	if shown.Why != "" {
		return ""
	}
	for i := range sig.Outputs {
		name := sig.Outputs[i].Name
		if byGraph := shown.Outputs[name] == rows.ByRow; byGraph != (tried.kinds[i] == byRow) {
			return fmt.Sprintf("output %q is by row in the graph (%v), and otherwise when it runs", name, byGraph)
		}
	}
	return ""
}

// withRows is the signature with a batch axis, as far as the inputs' shapes
// allow one.
func withRows(sig infer.Signature) (asked infer.Signature, ok bool) {
	axis := batchAxis
	asked = sig
	asked.BatchAxis, asked.Inputs, asked.Outputs = &axis, slices.Clone(sig.Inputs), slices.Clone(sig.Outputs)
	for i := range asked.Inputs {
		batched := isBatched(&asked.Inputs[i])
		asked.Inputs[i].Unbatched = !batched
		ok = ok || batched
	}
	return asked, ok
}

func isBatched(spec *infer.TensorSpec) bool {
	return !spec.Optional && len(spec.Shape) > batchAxis && spec.Shape[batchAxis] == infer.Dynamic
}

// row is an input of a shape: the one that the model was proven with where its
// values matter and the shape is that one's, else a generated one.
func row(spec *infer.TensorSpec, shape []int64, fill byte) (infer.Tensor, error) {
	if spec.ExampleData != nil && slices.Equal(shape, spec.ExampleShape()) {
		return infer.Tensor{Name: spec.Name, DataType: spec.DataType, Shape: shape, Data: slices.Clone(spec.ExampleData)}, nil
	}
	return generate(spec, shape, fill)
}

func specOf(sig *infer.Signature, name string) *infer.TensorSpec {
	return infer.SpecOf(sig.Inputs, name)
}
