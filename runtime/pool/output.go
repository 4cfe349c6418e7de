package pool

import (
	"math"
	"slices"
	"strconv"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// checkOutput refuses what is sure to be answered with more than most bytes.
// What a run takes is known only once it ran (see checkAnswer), but an answer has a row for each
// row of the inputs, and each takes at least what the signature fixes of it.
// most 0 is no bound.
func checkOutput(sig *infer.Signature, inputs []infer.Tensor, wanted []string, most int64) error {
	at := batched(sig, inputs)
	if at < 0 || most == 0 {
		return nil
	}
	rows := inputs[at].Shape[*sig.BatchAxis]
	var least int64
	for i := range sig.Outputs {
		if spec := &sig.Outputs[i]; slices.Contains(wanted, spec.Name) {
			least = sum(least, leastBytes(spec, *sig.BatchAxis, rows))
		}
	}
	if least <= most {
		return nil
	}
	field := "inputs[" + strconv.Itoa(at) + "].shape"
	e := problem.New(problem.PayloadTooLarge, "%s: %d rows would make an answer of at least %d bytes; expected at most %d", field, rows, least, most)
	e.Fields = []problem.Field{{
		Field:  field,
		Detail: "expected an answer of at most " + strconv.FormatInt(most, 10) + " bytes; these rows make at least " + strconv.FormatInt(least, 10),
	}}
	return e
}

// checkAnswer refuses one request's outputs when they take more than most bytes,
// which could not be known before the run. Its rows of a shared run are held to
// that and not the run's own outputs, for the others' rows are no fault of it.
func checkAnswer(outputs []infer.Tensor, most int64) error {
	var bytes int64
	for i := range outputs {
		bytes = sum(bytes, int64(len(outputs[i].Data)))
	}
	if most == 0 || bytes <= most {
		return nil
	}
	return problem.New(problem.PayloadTooLarge, "the answer has %d bytes; expected at most %d (MODELSERVE_MAX_OUTPUT): ask for fewer rows, or for fewer of the outputs", bytes, most)
}

// checkOutputs holds what a run gave to the model's own signature: each output
// is one of it, with its data type, as many axes, and the sizes that it fixes.
func checkOutputs(sig *infer.Signature, outputs []infer.Tensor) error {
	for i := range outputs {
		got := &outputs[i]
		at := slices.IndexFunc(sig.Outputs, func(s infer.TensorSpec) bool { return s.Name == got.Name })
		if at < 0 {
			return problem.New(problem.ModelFailed, "the model gave an output %q that is not in its signature", got.Name)
		}
		if spec := &sig.Outputs[at]; got.DataType != spec.DataType || !fits(spec.Shape, got.Shape) {
			return problem.New(problem.ModelFailed, "the model broke its signature: output %q is %s %v; expected %s %v, -1 being any size",
				got.Name, got.DataType, got.Shape, spec.DataType, spec.Shape)
		}
	}
	return nil
}

// fits reports whether a shape is as a signature has it; one without a shape
// takes any.
func fits(spec []infer.Dim, shape []int64) bool {
	return spec == nil || slices.EqualFunc(spec, shape, func(want, got int64) bool { return want == infer.Dynamic || want == got })
}

// leastBytes is the smallest size that an output can have for so many rows:
// what each request chooses counts as 1.
func leastBytes(spec *infer.TensorSpec, axis int, rows int64) int64 {
	size := int64(spec.DataType.Size())
	if spec.DataType == infer.Bytes {
		size = 4 // each element's length
	}
	for i, d := range spec.Shape {
		switch {
		case i == axis && !spec.Unbatched:
			size = product(size, rows)
		case d != infer.Dynamic:
			size = product(size, d)
		}
	}
	return size
}

// batched is the place among the inputs of one that has the batch axis; -1
// without one.
func batched(sig *infer.Signature, inputs []infer.Tensor) int {
	if sig.BatchAxis == nil {
		return -1
	}
	for i := range sig.Inputs {
		if sig.Inputs[i].Unbatched {
			continue
		}
		for j := range inputs {
			if inputs[j].Name == sig.Inputs[i].Name && *sig.BatchAxis < len(inputs[j].Shape) {
				return j
			}
		}
	}
	return -1
}

// product and sum stop at the largest number. Neither takes negative ones.
func product(a, b int64) int64 {
	if b != 0 && a > math.MaxInt64/b {
		return math.MaxInt64
	}
	return a * b
}

func sum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
