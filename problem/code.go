package problem

import "net/http"

// Code is the stable, lower_snake name of one kind of failure. Clients may
// switch on it; the sentence beside it is for people and may change.
type Code string

// The codes a client can meet. Each has one row in the table below.
const (
	InvalidArgument  Code = "invalid_argument"   // a field is wrong; Fields says which
	MalformedBody    Code = "malformed_body"     // the body is not what its content type says
	UnsupportedMedia Code = "unsupported_media"  // no reader for this content type or encoding
	PayloadTooLarge  Code = "payload_too_large"  // over a bound on bytes, pixels, seconds or elements
	HeadersTooLarge  Code = "headers_too_large"  // over the bound on header bytes
	Unauthenticated  Code = "unauthenticated"    // no credential, or one that is not known
	PermissionDenied Code = "permission_denied"  // a known caller who may not do this
	NotFound         Code = "not_found"          // no such URL or object
	ModelNotFound    Code = "model_not_found"    // no such published model or version
	ModelUnavailable Code = "model_unavailable"  // published, but it failed to load; the reason is given
	ModelFailed      Code = "model_failed"       // it ran and broke its own signature, or did not run
	MethodNotAllowed Code = "method_not_allowed" // the URL exists, with other methods
	Conflict         Code = "conflict"           // the object is there already, or has changed
	VersionExists    Code = "version_exists"     // a published version is immutable
	Overloaded       Code = "overloaded"         // a queue is full; Retry-After says when to come back
	RequestTimeout   Code = "request_timeout"    // the client sent its request too slowly
	DeadlineExceeded Code = "deadline_exceeded"  // the answer would come too late
	Cancelled        Code = "cancelled"          // the client went away
	Unavailable      Code = "unavailable"        // a part that is needed does not answer
	BadGateway       Code = "bad_gateway"        // a function broke off or answered nonsense
	Unimplemented    Code = "unimplemented"      // the protocol has it, this server does not
	Internal         Code = "internal"           // our fault; the request id finds it in the log
)

// StatusClientClosedRequest is nginx's status for a client that went away
// before its answer. Only logs and metrics see it.
const StatusClientClosedRequest = 499

// GRPC is a gRPC status code, by number, so that this leaf needs no gRPC
// library (https://grpc.io/docs/guides/status-codes/).
type GRPC uint32

// Row is what a code means on each wire.
type Row struct {
	Status int    // HTTP
	GRPC   GRPC   // gRPC
	Title  string // RFC 9457 title
}

//nolint:gochecknoglobals // The one error table: constant, but Go has no constant maps.
var table = map[Code]Row{
	InvalidArgument:  {http.StatusBadRequest, 3, "Invalid argument"},
	MalformedBody:    {http.StatusBadRequest, 3, "Malformed body"},
	UnsupportedMedia: {http.StatusUnsupportedMediaType, 3, "Unsupported media type"},
	PayloadTooLarge:  {http.StatusRequestEntityTooLarge, 8, "Payload too large"},
	HeadersTooLarge:  {http.StatusRequestHeaderFieldsTooLarge, 8, "Headers too large"},
	Unauthenticated:  {http.StatusUnauthorized, 16, "Unauthenticated"},
	PermissionDenied: {http.StatusForbidden, 7, "Permission denied"},
	NotFound:         {http.StatusNotFound, 5, "Not found"},
	ModelNotFound:    {http.StatusNotFound, 5, "Model not found"},
	ModelUnavailable: {http.StatusServiceUnavailable, 14, "Model unavailable"},
	ModelFailed:      {http.StatusInternalServerError, 13, "Model failed"},
	MethodNotAllowed: {http.StatusMethodNotAllowed, 12, "Method not allowed"},
	Conflict:         {http.StatusConflict, 10, "Conflict"},
	VersionExists:    {http.StatusConflict, 6, "Version exists"},
	Overloaded:       {http.StatusTooManyRequests, 8, "Overloaded"},
	RequestTimeout:   {http.StatusRequestTimeout, 4, "Request timeout"},
	DeadlineExceeded: {http.StatusGatewayTimeout, 4, "Deadline exceeded"},
	Cancelled:        {StatusClientClosedRequest, 1, "Cancelled"},
	Unavailable:      {http.StatusServiceUnavailable, 14, "Unavailable"},
	BadGateway:       {http.StatusBadGateway, 14, "Bad gateway"},
	Unimplemented:    {http.StatusNotImplemented, 12, "Unimplemented"},
	Internal:         {http.StatusInternalServerError, 13, "Internal error"},
}

// Row returns the code's row; an unknown code reads as Internal.
func (c Code) Row() Row {
	if r, ok := table[c]; ok {
		return r
	}
	return table[Internal]
}

// Ours reports whether failures of a kind are the server's, which are errors in its
// log and whose reasons come from inside. What callers did wrong, such as asking for
// what is not served, is a warning at most, and told in their own words.
func (c Code) Ours() bool {
	return c.Row().Status >= http.StatusInternalServerError && c != Unimplemented
}

// Known reports whether the code is in the table.
func (c Code) Known() bool {
	_, ok := table[c]
	return ok
}

// Codes lists every code, for tests and generated documentation.
func Codes() []Code {
	codes := make([]Code, 0, len(table))
	for c := range table {
		codes = append(codes, c)
	}
	return codes
}
