package artifact

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/modelserveai/modelserve/internal/problem"
)

// The reasons why an object is not to be had. They are wrapped with what was
// seen, and stand behind the problems that callers get.
var (
	errMissing     = errors.New("missing: S3 has no such object")
	errUnreachable = errors.New("S3 unreachable")
)

// permanent is a reason that another attempt does not change.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// again reports whether another attempt may succeed.
func again(err error) bool {
	var p permanent
	return !errors.As(err, &p) && !errors.Is(err, errMissing) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, syscall.ENOSPC)
}

// Lasting reports whether a version that failed to load will fail again as long
// as nobody publishes it anew or changes the configuration: it is not there, its
// manifest or a file is not what it was, its signature is none of a trusted key,
// or S3 refuses access to it. It is false where S3 cannot be reached, is slow or
// breaks off, where the node's disk is at fault, and where nobody knows.
func Lasting(err error) bool {
	var p permanent
	var large tooLarge
	switch {
	case diskTrouble(err):
		return false
	case errors.As(err, &p), errors.As(err, &large), errors.Is(err, errMissing), errors.Is(err, ErrUnsigned), errors.Is(err, ErrWrongSignature):
		return true
	default:
		return problem.CodeOf(err) == problem.ModelNotFound
	}
}

// explain turns an error of the S3 client into a sentence of ours: the
// client's own hold request ids and host names that help nobody who reads
// which model did not load.
func explain(err error) error {
	// Go takes a dial that took too long for a deadline, and ours is nobody's who
	// asked: of theirs the client tells no dial.
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w: %s", errUnreachable, op.Error())
	}
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	status := 0
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	switch {
	case errors.As(err, &api) && api.ErrorCode() == "NoSuchBucket":
		return permanent{errors.New("missing: S3 has no such bucket")}
	case status == http.StatusNotFound:
		return errMissing
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return permanent{fmt.Errorf("S3 refuses access: it answers %s", code(api, status))}
	case status >= http.StatusInternalServerError || status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: it answers %s", errUnreachable, code(api, status))
	case status != 0:
		return permanent{fmt.Errorf("S3 answers %s", code(api, status))}
	}
	if errors.As(err, &op) {
		return fmt.Errorf("%w: %w", errUnreachable, op)
	}
	return fmt.Errorf("%w: %w", errUnreachable, err)
}

func code(api smithy.APIError, status int) string {
	if api != nil && api.ErrorCode() != "" && api.ErrorCode() != "UnknownError" {
		return fmt.Sprintf("%d %s", status, api.ErrorCode())
	}
	return fmt.Sprintf("%d %s", status, http.StatusText(status))
}

// onDisk says so when a disk is full; the system's own words hide it among
// paths.
func onDisk(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("disk full: %w", err)
	}
	return err
}

// diskTrouble reports whether the cache's disk is why a file could not be kept,
// and not S3, the file, or the bound that the cache was given.
func diskTrouble(err error) bool {
	for _, reason := range []error{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EIO,
	} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// unavailable is a version that is published and cannot be loaded. Callers who
// gave up see that instead.
func unavailable(ref Ref, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("load model %s: %w", ref, err)
	}
	return problem.New(problem.ModelUnavailable, "model %s: %w", ref, err)
}
