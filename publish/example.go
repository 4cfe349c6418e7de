package publish

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Bounds on an example.
const (
	maxExampleFile = 64 << 20  // bytes
	maxExampleData = 256 << 10 // bytes of all inputs that a manifest keeps for the warm-up
)

// ReadExample reads the inputs of an inference request, as JSON has it.
func ReadExample(file string) ([]infer.Tensor, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, refuse("--example: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxExampleFile {
		return nil, refuse("--example: expected a file of at most %d bytes, got %s of %d", maxExampleFile, file, info.Size())
	}
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the example: %w", err)
	}
	req, err := infer.DecodeRequest(body, infer.NoHeader, infer.Limits{})
	if err != nil {
		return nil, refuse("--example: %s is no inference request: %w", file, err)
	}
	if req.Inputs == nil {
		req.Inputs = []infer.Tensor{} // a model may have none
	}
	return req.Inputs, nil
}

// demonstrate runs the model with the publisher's example, or with inputs of
// its own making where there is none. It returns the signature with what the
// warm-up of a server needs, and the inputs that the model ran with.
func demonstrate(ctx context.Context, model runner, sig infer.Signature, req *Request) (infer.Signature, []infer.Tensor, error) {
	var inputs []infer.Tensor
	var err error
	if req.Example != nil {
		inputs = req.Example
		sig, err = runGiven(ctx, model, sig, inputs)
	} else {
		if sig, err = findExamples(ctx, model, sig, req.Shapes); err == nil {
			inputs, err = repeat(ctx, model, &sig)
		}
	}
	if err != nil {
		return sig, nil, err
	}
	sig, err = keepExample(ctx, model, sig, inputs)
	return sig, inputs, err
}

// runGiven holds an example to the signature and runs the model with it. Its
// shapes become the inputs' examples.
func runGiven(ctx context.Context, model runner, sig infer.Signature, inputs []infer.Tensor) (infer.Signature, error) {
	shapes := make([][]int64, len(sig.Inputs))
	for i := range sig.Inputs {
		if t := named(inputs, sig.Inputs[i].Name); t != nil {
			shapes[i] = t.Shape
		}
	}
	shown := withExamples(sig, shapes)
	if err := shown.Validate(&infer.Request{Inputs: inputs}); err != nil {
		return sig, fmt.Errorf("--example: %w", err)
	}
	if _, err := answer(ctx, model, inputs); err != nil {
		return sig, fmt.Errorf("--example: %w", err)
	}
	return shown, nil
}

// repeat runs the model with the generated inputs that findExamples found.
func repeat(ctx context.Context, model runner, sig *infer.Signature) (inputs []infer.Tensor, err error) {
	var last error
	for fill := range byte(2) {
		some, err := batchInputs(sig, 0, fill)
		if err != nil {
			return nil, err
		}
		err = answers(ctx, model, some)
		if err == nil {
			return some, nil
		}
		if errors.Is(err, errEmpty) && inputs == nil {
			inputs = some
		}
		last = err
	}
	if inputs == nil {
		return nil, fmt.Errorf("it ran once, and not again with the same inputs: %w", last)
	}
	return inputs, nil
}

// keepExample keeps as much of the inputs' data in the signature as the model
// needs to answer: mostly none, for it answers to zeros; else what is no float
// (a shape, an index, a mode); else all.
func keepExample(ctx context.Context, model runner, sig infer.Signature, proven []infer.Tensor) (infer.Signature, error) {
	least, err := answer(ctx, model, proven)
	if err != nil {
		return sig, fmt.Errorf("it ran once, and not again with the same inputs: %w", err)
	}
	why := "it gives nothing for zeros"
	for _, keep := range []func(infer.DataType) bool{
		func(infer.DataType) bool { return false },
		isDiscrete,
		func(infer.DataType) bool { return true },
	} {
		kept, size := withData(sig, proven, keep)
		if size > maxExampleData {
			return sig, fmt.Errorf("inputs that it runs with take %d bytes, and its warm-up cannot do without: %s; "+
				"at most %d are kept, so give a smaller request: --example request.json", size, why, maxExampleData)
		}
		elements, err := answer(ctx, model, kept.ExampleInputs())
		switch {
		case err == nil && (elements > 0 || least == 0):
			return kept, nil
		case ctx.Err() != nil:
			return sig, ctx.Err()
		case err != nil:
			why = err.Error()
		}
	}
	return sig, fmt.Errorf("it does not run without the inputs that are optional: %s", why)
}

// withData puts the data of those required inputs that keep selects into the
// signature, and returns its size in bytes.
func withData(sig infer.Signature, proven []infer.Tensor, keep func(infer.DataType) bool) (kept infer.Signature, size int) {
	sig.Inputs = slices.Clone(sig.Inputs)
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		if t := named(proven, spec.Name); t != nil && !spec.Optional && keep(spec.DataType) {
			spec.ExampleData = t.Data
			size += len(t.Data)
		}
	}
	return sig, size
}

// isDiscrete reports whether values of a data type choose what the model does
// (an index, a flag) rather than being what it computes with.
func isDiscrete(d infer.DataType) bool {
	switch d {
	case infer.FP16, infer.BF16, infer.FP32, infer.FP64:
		return false
	default:
		return true
	}
}

// answer runs the model and counts the elements of what it gives.
func answer(ctx context.Context, model runner, inputs []infer.Tensor) (elements int64, err error) {
	outputs, release, err := model.Run(ctx, memory.Unbounded{}, inputs, nil)
	if err != nil {
		return 0, err
	}
	defer release()
	for i := range outputs {
		elements += outputs[i].Elements()
	}
	return elements, nil
}

// errEmpty is of an answer without elements, which shows little of a model.
var errEmpty = errors.New("every output is empty")

// answers wants the model to give something: an answer without elements is none.
func answers(ctx context.Context, model runner, inputs []infer.Tensor) error {
	elements, err := answer(ctx, model, inputs)
	if err == nil && elements == 0 {
		err = errEmpty
	}
	return err
}

func named(tensors []infer.Tensor, name string) *infer.Tensor {
	for i := range tensors {
		if tensors[i].Name == name {
			return &tensors[i]
		}
	}
	return nil
}
