package publish

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// warmExamplePays reports whether a server should warm the model up with its
// example, though requests may be much smaller: whether the smallest inputs do
// not run, or the first caller's run after them takes as much longer as they
// save. Both ways are tried on a session of their own, for only its first runs
// are slow.
func warmExamplePays(ctx context.Context, open func() (*ort.Session, error), sig *infer.Signature) (bool, error) {
	small, ok := sig.SmallestInputs()
	if !ok {
		return false, nil // there is nothing to choose
	}
	example := sig.ExampleInputs()
	whole, err := firstRuns(ctx, open, threadTime, example, example)
	if err != nil {
		return false, err
	}
	least, err := firstRuns(ctx, open, threadTime, small, example)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return err != nil || least >= whole, nil //nolint:nilerr // small ones that do not run are an answer
}

// firstRuns is the time of a new session's first runs, one after the other.
func firstRuns(ctx context.Context, open func() (*ort.Session, error), clock func() time.Duration, runs ...[]infer.Tensor) (took time.Duration, err error) {
	session, err := open()
	if err != nil {
		return 0, fmt.Errorf("measure the warm-up: %w", err)
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	runtime.LockOSThread() // its clock is read
	defer runtime.UnlockOSThread()
	begun := clock()
	for _, inputs := range runs {
		_, release, err := session.Run(ctx, memory.Unbounded{}, inputs, nil)
		if err != nil {
			return 0, fmt.Errorf("measure the warm-up: %w", err)
		}
		release()
	}
	return clock() - begun, nil
}
