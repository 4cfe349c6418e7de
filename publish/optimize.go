package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// compareTime is how long the optimised copy is run with more than the inputs that
// the model was proven with.
const compareTime = 5 * time.Second

// optimize writes the copy that loads fast, and holds its answers to the
// model's own.
func optimize(ctx context.Context, lib *ort.Library, session *ort.Session, sig *infer.Signature, inputs []infer.Tensor, src, dst string) (err error) {
	if err := lib.Optimize(src, dst); err != nil {
		return err
	}
	fast, err := lib.Open(dst, ort.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fast.Close()) }()
	return answersAlike(ctx, session, fast, sig, inputs)
}

// answersAlike holds a copy's answers to the model's own: to the inputs that it
// was proven with, and to some more that show how large its outputs usually are.
func answersAlike(ctx context.Context, model, fast runner, sig *infer.Signature, inputs []infer.Tensor) error {
	type pair struct{ want, got []infer.Tensor }
	var pairs []pair
	deadline := time.Now().Add(compareTime)
	for i, inputs := range variants(sig, inputs) {
		if i > 0 && time.Now().After(deadline) {
			break
		}
		want, err := kept(ctx, model, inputs)
		if err != nil && i > 0 && ctx.Err() == nil {
			continue // that the model refuses them shows nothing of the copy
		}
		var got []infer.Tensor
		if err == nil {
			got, err = kept(ctx, fast, inputs)
		}
		if err != nil {
			return err
		}
		pairs = append(pairs, pair{want, got})
	}
	for o := range pairs[0].want {
		var samples []infer.Tensor
		for _, p := range pairs {
			samples = append(samples, p.want[o])
		}
		name := pairs[0].want[o].Name
		if !slices.ContainsFunc(samples, func(t infer.Tensor) bool { return canDiffer(&t) }) {
			return fmt.Errorf("output %q is no finite number for any inputs that were tried, so the optimised copy could not be held to it; give a request with values that it is made for: --example request.json", name)
		}
		scale := scaleOf(samples)
		for _, p := range pairs {
			if !scale.alike(&p.want[o], &p.got[o]) {
				return fmt.Errorf("the optimised copy answers otherwise in output %q", name)
			}
		}
	}
	return nil
}

// variants are inputs and others of their shapes: with other numbers, and with
// other small whole numbers in inputs that have rows. Others may choose how large an
// output is to be.
func variants(sig *infer.Signature, inputs []infer.Tensor) [][]infer.Tensor {
	all := [][]infer.Tensor{inputs}
	for k, most := range []int{1, 1, 1, 2, 3, 7} {
		f := wholeNumbers(most)
		f.number = func(i int) float64 { return weyl(i + 7919*(k+1)) }
		whole := f.whole
		f.whole = func(i int) float64 { return whole(i + k) }
		other := slices.Clone(inputs)
		for i := range other {
			spec := specOf(sig, other[i].Name)
			if tolerance(spec.DataType) > 0 || isBatched(spec) {
				f.apply(&other[i])
			}
		}
		all = append(all, other)
	}
	return all
}

// kept is an answer in memory of its own.
func kept(ctx context.Context, model runner, inputs []infer.Tensor) ([]infer.Tensor, error) {
	outputs, release, err := model.Run(ctx, memory.Unbounded{}, inputs, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	own := slices.Clone(outputs)
	for i := range own {
		own[i].Shape, own[i].Data = slices.Clone(own[i].Shape), bytes.Clone(own[i].Data)
	}
	return own, nil
}

// canDiffer reports whether an output has what two runs can differ in. One without
// elements has nothing to be wrong in.
func canDiffer(t *infer.Tensor) bool {
	if tolerance(t.DataType) == 0 || len(t.Data) == 0 {
		return true
	}
	return slices.ContainsFunc(floats(t), isFinite)
}
