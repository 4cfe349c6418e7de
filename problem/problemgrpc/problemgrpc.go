// Package problemgrpc is the gRPC side of the error table: problems as gRPC
// statuses with their stable code in an ErrorInfo detail, and back.
//
// It is apart from package problem so that that leaf needs no gRPC library.
package problemgrpc

import (
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/modelserveai/modelserve/problem"
)

// Domain is the domain of every ErrorInfo; its reason is the problem's code.
const Domain = "modelserve.dev"

// Error is an error as gRPC clients see it: the code of the error table, the
// code's name in an ErrorInfo, bad fields in a BadRequest, and when to come
// back in a RetryInfo. One that is gRPC's already stays as it is, unless it only
// goes with a problem, which may keep it from the caller; nil is nil.
func Error(err error) *connect.Error {
	if err == nil {
		return nil
	}
	var known *problem.Error
	var already *connect.Error
	if !errors.As(err, &known) && errors.As(err, &already) {
		return already
	}
	p := problem.From(err)
	out := connect.NewError(connect.Code(p.Code.Row().GRPC), errors.New(p.Detail))
	info := &errdetails.ErrorInfo{Reason: string(p.Code), Domain: Domain}
	if p.Limit != "" {
		info.Metadata = map[string]string{"limit": p.Limit}
	}
	add(out, info)
	if len(p.Fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, f := range p.Fields {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Field, Description: f.Detail})
		}
		add(out, bad)
	}
	if p.RetryAfter > 0 {
		add(out, &errdetails.RetryInfo{RetryDelay: durationpb.New(p.RetryAfter)})
	}
	return out
}

func add(e *connect.Error, m proto.Message) {
	if d, err := connect.NewErrorDetail(m); err == nil { // else the detail is lost, not the error
		e.AddDetail(d)
	}
}

// Code is the problem's code that a gRPC error carries, "" if it has none of
// ours.
func Code(e *connect.Error) problem.Code {
	for _, d := range e.Details() {
		value, err := d.Value()
		if err != nil {
			continue
		}
		if info, ok := value.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return problem.Code(info.GetReason())
		}
	}
	return ""
}

// CodeOf is problem.CodeOf for errors that may be gRPC's: the code that one
// carries, or the one that WithCode would give it.
func CodeOf(err error) problem.Code {
	var known *problem.Error
	var wire *connect.Error
	if errors.As(err, &known) || !errors.As(err, &wire) {
		return problem.CodeOf(err)
	}
	if code := Code(wire); code != "" {
		return code
	}
	return codeFor(wire.Code())
}

// WithCode gives an error that gRPC's own library made (a message too large, a
// procedure that is none) the stable code that every error of ours has.
func WithCode(e *connect.Error) *connect.Error {
	if Code(e) != "" {
		return e
	}
	add(e, &errdetails.ErrorInfo{Reason: string(codeFor(e.Code())), Domain: Domain})
	return e
}

// codeFor is the stable code of an error that gRPC's own library made.
func codeFor(code connect.Code) problem.Code {
	switch code {
	case connect.CodeCanceled:
		return problem.Cancelled
	case connect.CodeInvalidArgument:
		return problem.MalformedBody
	case connect.CodeDeadlineExceeded:
		return problem.DeadlineExceeded
	case connect.CodeNotFound:
		return problem.NotFound
	case connect.CodeResourceExhausted:
		return problem.PayloadTooLarge
	case connect.CodeUnimplemented:
		return problem.Unimplemented
	case connect.CodeUnavailable:
		return problem.Unavailable
	default: // connect-go makes no others of itself but for bugs
		return problem.Internal
	}
}

// Unread is the problem that a caller gets for a message that connect-go could not
// read, in place of connect-go's error; most is the bound on a message in bytes. It is nil
// for any other error.
func Unread(err error, most int64) *problem.Error {
	var wire *connect.Error
	if !errors.As(err, &wire) || len(wire.Details()) > 0 {
		return nil
	}
	text := wire.Message()
	switch {
	case wire.Code() == connect.CodeResourceExhausted && strings.Contains(text, "message size"):
		return problem.New(problem.PayloadTooLarge, "expected a message of at most %d bytes, also decompressed; send larger inputs by reference", most)
	case wire.Code() != connect.CodeInvalidArgument:
		return nil
	case strings.HasPrefix(text, "unmarshal message"):
		return problem.New(problem.MalformedBody, "the message is not protobuf of its type")
	case strings.Contains(text, "incomplete envelope"), strings.Contains(text, "promised"):
		return problem.New(problem.MalformedBody, "the message broke off before its announced end")
	case strings.Contains(text, "decompress"), strings.Contains(text, "compressed"):
		return problem.New(problem.MalformedBody, "the message is not compressed as grpc-encoding says")
	}
	return nil
}

// Complete gives an answer that connect-go wrote by itself, about a message
// that reached no handler, the text of Unread and the stable code of WithCode.
// It returns the error that the answer carries, nil for a good one. Call it when
// the handler returns.
func Complete(h http.Header, most int64) *connect.Error {
	trailer := http.Header{}
	for _, name := range []string{statusName, messageName, detailsName} {
		trailer[name] = h[http.TrailerPrefix+name]
	}
	wire, _ := Status(trailer)
	if wire == nil || len(wire.Details()) > 0 {
		return wire
	}
	e := connect.NewError(wire.Code(), errors.New(wire.Message()))
	if p := Unread(e, most); p != nil {
		e = Error(p)
	}
	SetStatus(h, WithCode(e))
	return e
}
