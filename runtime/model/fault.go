package model

import (
	"context"
	"errors"
	"fmt"

	"github.com/modelserveai/modelserve/problem"
)

// ErrUnreachable is behind the error of a store that does not answer.
var ErrUnreachable = errors.New("S3 unreachable")

// permanent is a reason that another attempt does not change.
type permanent struct{ error }

// Unwrap returns the reason.
func (p permanent) Unwrap() error { return p.error }

// Permanent marks a reason for which a version cannot be loaded as one that
// another attempt does not change. It leaves the text as it is.
func Permanent(reason error) error { return permanent{reason} }

// IsPermanent reports whether a version that failed to load will fail again as long
// as nobody publishes it anew or changes the configuration: it is not there, its
// manifest or a file is not what it was, its signature is none of a trusted key,
// or S3 refuses access to it. It is false where S3 cannot be reached, is slow or
// breaks off, where the node's disk is at fault, and where nobody knows.
func IsPermanent(err error) bool {
	return errors.As(err, new(permanent)) || problem.CodeOf(err) == problem.ModelNotFound
}

// Unavailable is the error of a version that is published and cannot be loaded:
// problem.ModelUnavailable. Callers who gave up get context's own.
func Unavailable(ref Ref, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("load model %s: %w", ref, err)
	}
	return problem.New(problem.ModelUnavailable, "model %s: %w", ref, err)
}
