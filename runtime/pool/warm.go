package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// ErrWarmUp is in the error of a version that loads and does not run.
var ErrWarmUp = errors.New("warm up")

// warmUp runs a model once, so that the first caller pays for no lazy
// initialisation, and a model that loads but cannot run never becomes ready. The
// smallest inputs show that; those that it was published with are for where
// publishing has measured that they pay, and where the small ones do not run.
func warmUp(ctx context.Context, l *Loaded) error {
	if inputs, ok := l.Manifest.SmallestInputs(); ok && warmsSmall(l) && runOnce(ctx, l, inputs) == nil {
		return nil
	}
	if err := runOnce(ctx, l, l.Manifest.ExampleInputs()); err != nil {
		return fmt.Errorf("%w: %w", ErrWarmUp, err)
	}
	return nil
}

// warmsSmall reports whether the smallest inputs are enough. What publishing
// measures is true of the CPU: a GPU chooses its kernels by shape, at the first
// run of each.
func warmsSmall(l *Loaded) bool {
	return !strings.HasPrefix(l.Device, "cuda") && (l.Manifest.Cost == nil || !l.Manifest.Cost.WarmExample)
}

func runOnce(ctx context.Context, l *Loaded, inputs []infer.Tensor) error {
	outputs, release, err := l.Session.Run(ctx, memory.Unbounded{}, inputs, names(l.Manifest.Outputs))
	if err != nil {
		return err //nolint:wrapcheck // warmUp wraps it
	}
	defer release()
	return checkOutputs(&l.Manifest.Signature, outputs)
}

func names(specs []infer.TensorSpec) []string {
	out := make([]string, len(specs))
	for i := range specs {
		out[i] = specs[i].Name
	}
	return out
}
