package publish

import (
	"context"
	"errors"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// openMeasured loads the file that will be served and warms it up as a server
// does. memory is in bytes: what a server frees before it loads the model.
func openMeasured(ctx context.Context, lib *ort.Library, path string, sig *infer.Signature) (_ *ort.Session, memory int64, err error) {
	session, err := lib.Open(path, ort.Options{})
	if err != nil {
		return nil, 0, err
	}
	if _, err := answer(ctx, session, sig.ExampleInputs()); err != nil {
		return nil, 0, errors.Join(err, session.Close())
	}
	return session, session.Memory(), nil
}

// costOf measures the file that will be served.
func costOf(ctx context.Context, lib *ort.Library, file string, sig *infer.Signature, budget time.Duration) (cost *model.Cost, err error) {
	if budget == 0 {
		budget = measureTime
	}
	session, memory, err := openMeasured(ctx, lib, file, sig)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	fill, err := runExample(ctx, session, sig)
	if err != nil {
		return nil, err
	}
	batches, err := measure(ctx, session, sig, fill, budget)
	if err != nil {
		return nil, err
	}
	whole, err := warmExamplePays(ctx, func() (*ort.Session, error) { return lib.Open(file, ort.Options{}) }, sig)
	if err != nil {
		return nil, err
	}
	return &model.Cost{Memory: memory, Batches: batches, WarmExample: whole}, nil
}

// runExample runs the model with the example shapes, and with the integers that
// the search for them found it to run with: all of them fill.
func runExample(ctx context.Context, model runner, sig *infer.Signature) (fill byte, err error) {
	for fill = range byte(2) {
		var inputs []infer.Tensor
		if inputs, err = batchInputs(sig, 0, fill); err != nil {
			break
		}
		if _, err = answer(ctx, model, inputs); err == nil {
			return fill, nil
		}
	}
	return 0, err
}
