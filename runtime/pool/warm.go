package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// ErrWarmUp is in the error of a version that loads and does not run.
var ErrWarmUp = errors.New("warm up")

// warmUp runs a model once on the inputs it was published with, so that
// the first caller pays for no lazy initialisation, and a model that loads but
// cannot run never becomes ready.
func warmUp(ctx context.Context, l *Loaded) error {
	outputs, release, err := l.Session.Run(ctx, l.Manifest.ExampleInputs(), names(l.Manifest.Outputs))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWarmUp, err)
	}
	defer release()
	if err := checkOutputs(&l.Manifest.Signature, outputs); err != nil {
		return fmt.Errorf("%w: %w", ErrWarmUp, err)
	}
	return nil
}

func names(specs []infer.TensorSpec) []string {
	out := make([]string, len(specs))
	for i := range specs {
		out[i] = specs[i].Name
	}
	return out
}
