package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Bounds on the search for shapes that a model runs with.
const (
	maxTries    = 400
	maxElements = 1 << 24 // of one generated input
	searchTime  = 2 * time.Minute
)

// sizes are tried for dynamic axes, small ones first. Vision models want
// multiples of 8 or 32, or the size they were trained on.
func sizes() []int64 {
	return []int64{1, 8, 16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 320, 384, 416, 512, 576, 640}
}

// runner runs a model; *ort.Session is one.
type runner interface {
	Run(ctx context.Context, _ memory.Holder, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error)
}

// findExamples runs the model with generated inputs until it answers, and
// returns the signature with the shapes it answered to as the inputs' examples.
// fixed are shapes that the publisher gives, by input.
//
// Where all that it answers to is answered with nothing (Range, NonZero), those
// are the first of these shapes.
//
// Models do not say which sizes of their dynamic axes go together, so it tries:
// every dynamic axis at one size, then the first axis of each input (mostly a
// batch) at 1 and the others at one size, then some of the others at 1, too.
func findExamples(ctx context.Context, model runner, sig infer.Signature, fixed map[string][]int64) (infer.Signature, error) {
	if err := checkFixed(&sig, fixed); err != nil {
		return sig, err
	}
	within, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	var empty [][]int64
	last := errors.New("nothing was tried")
	for i, shapes := range candidates(&sig, fixed) {
		for fill := range 2 {
			err := try(within, model, &sig, shapes, byte(fill))
			switch {
			case err == nil:
				return withExamples(sig, shapes), nil
			case errors.Is(err, errEmpty) && empty == nil:
				empty = shapes
			case ctx.Err() != nil:
				return sig, context.Cause(ctx)
			case within.Err() != nil && empty == nil:
				return sig, searchEnded(i, last)
			}
			last = fmt.Errorf("with %s: %w", describeShapes(&sig, shapes), err)
			if !hasWhole(&sig) {
				break // another fill changes nothing
			}
		}
	}
	if empty != nil {
		return withExamples(sig, empty), nil
	}
	return sig, fmt.Errorf("the model loads, but does not run with inputs of its signature: %w; "+
		"if it wants other shapes, name them: --shape INPUT=1,3,224,224; "+
		"if particular values, give a request that it answers: --example request.json", last)
}

func searchEnded(tries int, last error) error {
	return fmt.Errorf("no shapes found within %s that the model runs with (%d tried; the last: %w); name them: --shape INPUT=1,3,224,224",
		searchTime, tries, last)
}

// checkFixed holds the given shapes to the signature.
func checkFixed(sig *infer.Signature, fixed map[string][]int64) error {
	for name, shape := range fixed {
		i := slices.IndexFunc(sig.Inputs, func(s infer.TensorSpec) bool { return s.Name == name })
		if i < 0 {
			return fmt.Errorf("--shape: the model has no input %q; it has %s", name, inputNames(sig))
		}
		spec := sig.Inputs[i].Shape
		fits := spec == nil || len(spec) == len(shape)
		for d := 0; fits && d < len(spec); d++ {
			fits = shape[d] > 0 && (spec[d] == infer.Dynamic || spec[d] == shape[d])
		}
		if !fits {
			return fmt.Errorf("--shape: %v does not fit input %q, whose shape is %v (-1 is any size)", shape, name, spec)
		}
	}
	return nil
}

func inputNames(sig *infer.Signature) string {
	names := make([]string, 0, len(sig.Inputs))
	for i := range sig.Inputs {
		names = append(names, sig.Inputs[i].Name)
	}
	return strings.Join(names, ", ")
}

// axis is a dynamic one: the input and the position in its shape.
type axis struct{ input, at int }

// candidates lists what to try, one shape for each required input: all free axes
// but the first large, all of them, and each set of the inner ones.
func candidates(sig *infer.Signature, fixed map[string][]int64) [][][]int64 {
	base, free := bases(sig, fixed)
	if len(free) == 0 {
		return [][][]int64{sized(base, nil, nil, 0)}
	}
	inner := slices.DeleteFunc(slices.Clone(free), func(a axis) bool { return a.at == 0 })
	order := sizes()
	if looksLikeImages(sig) {
		order = append(order[3:], order[:3]...) // an image of one pixel shows little
	}
	var found [][][]int64
	add := func(large []axis, sizes []int64) {
		for _, size := range sizes {
			if len(found) < maxTries {
				found = append(found, sized(base, free, large, size))
			}
		}
	}
	add(inner, order)
	add(free, order[1:])
	if len(inner) > 1 && len(inner) <= 6 {
		for mask := 1; mask < 1<<len(inner)-1; mask++ {
			var large []axis
			for i, a := range inner {
				if mask>>i&1 == 1 {
					large = append(large, a)
				}
			}
			add(large, order)
		}
	}
	return found
}

// bases are the inputs' shapes, and those of their axes that nobody fixed.
func bases(sig *infer.Signature, fixed map[string][]int64) (base [][]int64, free []axis) {
	base = make([][]int64, len(sig.Inputs))
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		if shape, ok := fixed[spec.Name]; ok {
			base[i] = shape
			continue
		}
		base[i] = slices.Clone(spec.Shape)
		for d, size := range spec.Shape {
			if size == infer.Dynamic {
				free = append(free, axis{i, d})
			}
		}
	}
	return base, free
}

// sized are the shapes with size along the large axes, and 1 along the other free
// ones.
func sized(base [][]int64, free, large []axis, size int64) [][]int64 {
	shapes := make([][]int64, len(base))
	for i := range base {
		shapes[i] = slices.Clone(base[i])
	}
	for _, a := range free {
		shapes[a.input][a.at] = 1
	}
	for _, a := range large {
		shapes[a.input][a.at] = size
	}
	return shapes
}

// looksLikeImages reports whether an input has four axes of which one is for color.
func looksLikeImages(sig *infer.Signature) bool {
	return slices.ContainsFunc(sig.Inputs, func(s infer.TensorSpec) bool {
		return len(s.Shape) == 4 && (s.Shape[1] == 1 || s.Shape[1] == 3 || s.Shape[3] == 1 || s.Shape[3] == 3)
	})
}

// hasWhole reports whether a fill changes an input: indices, divisors, flags.
func hasWhole(sig *infer.Signature) bool {
	return slices.ContainsFunc(sig.Inputs, func(s infer.TensorSpec) bool {
		return !s.Optional && isDiscrete(s.DataType) && s.DataType != infer.Bytes
	})
}

// try runs the model once with the shapes.
func try(ctx context.Context, model runner, sig *infer.Signature, shapes [][]int64, fill byte) error {
	var inputs []infer.Tensor
	for i := range sig.Inputs {
		if sig.Inputs[i].Optional {
			continue
		}
		t, err := generate(&sig.Inputs[i], shapes[i], fill)
		if err != nil {
			return err
		}
		inputs = append(inputs, t)
	}
	return answers(ctx, model, inputs)
}

// generate makes an input: floats spread over [0, 1), integers all fill (an
// index that any table has), strings empty.
func generate(spec *infer.TensorSpec, shape []int64, fill byte) (infer.Tensor, error) {
	t := infer.Tensor{Name: spec.Name, DataType: spec.DataType, Shape: shape}
	n := t.Elements()
	if n < 0 || n > maxElements {
		return t, fmt.Errorf("input %q of shape %v is too large to try", spec.Name, shape)
	}
	if spec.DataType == infer.Bytes {
		t.Data = make([]byte, 4*n)
		return t, nil
	}
	width := spec.DataType.Size()
	t.Data = make([]byte, int(n)*width)
	for i := range int(n) {
		element := t.Data[i*width : (i+1)*width]
		if tolerance(spec.DataType) > 0 {
			putFloat(element, spec.DataType, weyl(i))
		} else {
			element[0] = fill
		}
	}
	return t, nil
}

// withExamples puts the shapes found into the signature, where they say more
// than it does.
func withExamples(sig infer.Signature, shapes [][]int64) infer.Signature {
	sig.Inputs = slices.Clone(sig.Inputs)
	for i := range sig.Inputs {
		if !sig.Inputs[i].Optional && !slices.Equal(sig.Inputs[i].Shape, shapes[i]) {
			sig.Inputs[i].Example = shapes[i]
		}
	}
	return sig
}

func describeShapes(sig *infer.Signature, shapes [][]int64) string {
	var parts []string
	for i := range sig.Inputs {
		if !sig.Inputs[i].Optional {
			parts = append(parts, fmt.Sprintf("%s%v", sig.Inputs[i].Name, shapes[i]))
		}
	}
	return strings.Join(parts, ", ")
}
