// Package problem is the platform's one error table: a stable code for each
// kind of failure, with its HTTP status, its gRPC status, and the two bodies
// clients see (RFC 9457 outside /v2, the Open Inference Protocol's inside).
//
// It is not for errors between packages of ours: those are plain wrapped
// errors. A problem is made where it is known what the caller can do about it.
package problem

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Error is a failure as its caller sees it. Detail is a sentence that says
// what was wrong and what was expected; it never holds a secret, nor, of a
// failure of ours, where on the server things lie.
type Error struct {
	Code       Code
	Detail     string
	Fields     []Field
	RetryAfter time.Duration // rounded up to seconds in Retry-After; 0 is left out
	Limit      string        // the limit that refused, where one did

	whole string // Detail with all that only the log may have; "" where it is the same
	cause error
}

// Field names one bad field of the input, as a JSON path from the body's root
// ("inputs[0].shape"), and what was expected of it.
type Field struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// New makes an Error. A trailing %w in format keeps the cause for errors.Is
// and for the log. Where the failure is ours (5xx), Detail names no path and no
// address of this server, whatever causes do: this is the one place where their
// text reaches a caller.
func New(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Detail: err.Error(), cause: errors.Unwrap(err)}
	if !code.Ours() {
		return e
	}
	var causes []error
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			causes = append(causes, cause)
		}
	}
	if public := redactKnown(e.Detail, causes...); public != e.Detail {
		e.Detail, e.whole = public, e.Detail
	}
	return e
}

// Invalid makes an InvalidArgument about one field.
func Invalid(field, format string, args ...any) *Error {
	detail := fmt.Sprintf(format, args...)
	return &Error{
		Code:   InvalidArgument,
		Detail: field + ": " + detail,
		Fields: []Field{{Field: field, Detail: detail}},
	}
}

// Error is the detail alone, for the log: whole, with the paths and addresses
// that no caller gets. The code travels beside it.
func (e *Error) Error() string {
	if e.whole != "" {
		return e.whole
	}
	return e.Detail
}

// Unwrap returns the cause, which clients never see unless Detail has it.
func (e *Error) Unwrap() error { return e.cause }

// From turns any error into what a client may see of it. An Error anywhere in
// the chain is taken with its code, context errors have theirs, and all else
// is Internal with a detail that gives nothing away.
func From(err error) *Error {
	var known *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: DeadlineExceeded, Detail: "the request's deadline passed before its answer was ready", cause: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: Cancelled, Detail: "the client cancelled the request", cause: err}
	default:
		return &Error{Code: Internal, Detail: "internal error; the log has it under this request id", cause: err}
	}
}

// CodeOf is the code From would give err.
func CodeOf(err error) Code {
	if err == nil { // nearly always
		return ""
	}
	if e := From(err); e != nil {
		return e.Code
	}
	return ""
}
