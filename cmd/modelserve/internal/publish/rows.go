package publish

import (
	"context"
	"fmt"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// batchAxisOf is findBatchAxis of the ONNX model in a file, which it reads for
// what no run may show: rows that some values leave out.
func batchAxisOf(ctx context.Context, file string, session *ort.Session, sig infer.Signature) (found infer.Signature, why string, err error) {
	if slices.ContainsFunc(sig.Inputs, func(s infer.TensorSpec) bool { return isBatched(&s) }) {
		if why, err = rowsOfValues(file, session, &sig); why != "" || err != nil {
			return sig, why, err
		}
	}
	return findBatchAxis(ctx, session, sig)
}

// rowsOfValues says which output has as many rows as the values of the inputs
// make, not one for each row of theirs: its shape comes from such an operator,
// and the model does not say that it has as many rows as an input. "" is none.
//
// Only both together tell. Exporters give many outputs a name of their own for
// the rows that are the input's, and such an operator is in many models where
// its count ends up in no output's shape.
func rowsOfValues(file string, session *ort.Session, sig *infer.Signature) (why string, err error) {
	byValue, err := ort.RowsByValue(file)
	if err != nil {
		return "", fmt.Errorf("read the model's operators: %w", err)
	}
	for i := range sig.Outputs {
		name := sig.Outputs[i].Name
		if op := byValue[name]; op != "" && !sameRows(session, sig, name) {
			return fmt.Sprintf("output %q has as many rows as its values make (%s)", name, op), nil
		}
	}
	return "", nil
}

// sameRows reports whether the model names an output's first size as that of
// an input that has rows.
func sameRows(session *ort.Session, sig *infer.Signature, output string) bool {
	symbols := session.OutputSymbols(output)
	if len(symbols) <= batchAxis || symbols[batchAxis] == "" {
		return false
	}
	return slices.ContainsFunc(sig.Inputs, func(s infer.TensorSpec) bool {
		return isBatched(&s) && session.InputSymbols(s.Name)[batchAxis] == symbols[batchAxis]
	})
}
