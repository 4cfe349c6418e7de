package artifact

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/modelserveai/modelserve/runtime/model"
)

// The reasons why an object cannot be read. They are wrapped with what was seen,
// and callers get them within a problem.
var (
	errMissing = model.Permanent(errors.New("missing: S3 has no such object"))
	errFails   = errors.New("S3 fails")
	errDamaged = errors.New("damaged: S3 has the object, and cannot read it")
)

// objectDamaged is the code of the local platform's store for an object whose
// file is not what it wrote.
const objectDamaged = "ObjectDamaged"

// explain turns an error of the S3 client into a sentence of ours: the client's
// own hold request ids, URLs and addresses, which help nobody who reads which
// model did not load. It names the variable to look at, and no secret.
func (s *Store) explain(err error) error {
	// Go reports a dial that timed out as a deadline that passed. It is not the
	// caller's deadline: for that the client reports no dial.
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case isCredentialError(err):
		return errors.New("no credentials for S3: MODELSERVE_S3_ACCESS_KEY_ID is not set, and the node's role or the pod's identity gives none")
	case errors.As(err, &op) && op.Op == "dial":
		return s.unreachable(err)
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	}
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	status := 0
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	switch {
	case errors.As(err, &api) && api.ErrorCode() == "NoSuchBucket":
		return model.Permanent(fmt.Errorf("missing: S3 has no bucket %s (MODELSERVE_S3_BUCKET)", s.bucket))
	case status == http.StatusNotFound:
		return errMissing
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return model.Permanent(fmt.Errorf("S3 refuses access: it answers %s; check MODELSERVE_S3_ACCESS_KEY_ID, MODELSERVE_S3_SECRET_ACCESS_KEY, and what they may do in bucket %s", code(api, status), s.bucket))
	case errors.As(err, &api) && api.ErrorCode() == objectDamaged:
		return model.Permanent(errDamaged)
	case status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout || status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: it answers %s", model.ErrUnreachable, code(api, status))
	case status >= http.StatusInternalServerError:
		return fmt.Errorf("%w: it answers %s", errFails, code(api, status))
	case status != 0:
		return model.Permanent(fmt.Errorf("S3 answers %s", code(api, status)))
	default:
		return s.unreachable(err)
	}
}

// isCredentialError reports whether a request to S3 failed because the client got
// no credentials from another service.
func isCredentialError(err error) bool {
	var call, within *smithy.OperationError
	return errors.As(err, &call) && errors.As(call.Err, &within)
}

func (s *Store) unreachable(err error) error {
	return fmt.Errorf("%w %s: %s", model.ErrUnreachable, s.where, redactAddresses(err))
}

// whereIs describes where S3 is, with the variable that sets it. It leaves out an
// address, which is within a cluster or on this machine.
func whereIs(cfg Config) string {
	if cfg.Endpoint == "" {
		return fmt.Sprintf("in %s (MODELSERVE_S3_REGION)", cfg.Region)
	}
	at, err := url.Parse(cfg.Endpoint)
	if err != nil || at.Host == "" || net.ParseIP(at.Hostname()) != nil {
		return "(MODELSERVE_S3_ENDPOINT)"
	}
	return fmt.Sprintf("at %s (MODELSERVE_S3_ENDPOINT)", at.Host)
}

// redactAddresses describes what was wrong with a request or its connection,
// without the URL and the addresses that Go's errors have around it.
func redactAddresses(err error) string {
	var name *net.DNSError
	var certificate x509.HostnameError
	var op *net.OpError
	var request *url.Error
	var call *smithy.OperationError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "no such host"
	case errors.As(err, &name) && name.IsTimeout:
		return "the name server does not answer"
	case errors.As(err, &name):
		return "the name server fails"
	case errors.As(err, &certificate):
		return "its certificate is of another name"
	case errors.As(err, &op):
		return redactAddresses(op.Err)
	case errors.As(err, &request):
		return redactAddresses(request.Err)
	case errors.As(err, &call):
		return redactAddresses(call.Err)
	default:
		return err.Error()
	}
}

// interrupted is the error of an answer that broke off, without the addresses that
// it went between.
func interrupted(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return errors.New(redactAddresses(err))
	}
	return err
}

func code(api smithy.APIError, status int) string {
	if api != nil && api.ErrorCode() != "" && api.ErrorCode() != "UnknownError" {
		return fmt.Sprintf("%d %s", status, api.ErrorCode())
	}
	return fmt.Sprintf("%d %s", status, http.StatusText(status))
}
