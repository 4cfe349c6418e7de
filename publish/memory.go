package publish

import (
	"context"
	"errors"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// openMeasured loads the file that will be served and warms it up as a server
// does, which tells what a server makes room for before it loads the model.
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
