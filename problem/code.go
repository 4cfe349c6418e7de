package problem

import (
	"maps"
	"net/http"
	"slices"
)

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
	KeyReused        Code = "key_reused"         // an Idempotency-Key came before, with another body
	Overloaded       Code = "overloaded"         // a queue is full; Retry-After says when to come back
	RateLimited      Code = "rate_limited"       // a limit on calls or their cost; Retry-After says when to come back
	QuotaExceeded    Code = "quota_exceeded"     // a quota by the calendar is used up
	RequestTimeout   Code = "request_timeout"    // the client sent its request too slowly
	DeadlineExceeded Code = "deadline_exceeded"  // the answer would come too late
	Cancelled        Code = "cancelled"          // the client went away
	Unavailable      Code = "unavailable"        // a part that is needed does not answer
	BadGateway       Code = "bad_gateway"        // a function broke off or answered nonsense
	Reserved         Code = "reserved_attribute" // an event has what only the platform sets
	EventDamaged     Code = "event_damaged"      // a step's event, or a value it refers to, is not what was sent
	Unimplemented    Code = "unimplemented"      // the protocol has it, this server does not
	Internal         Code = "internal"           // our fault; the request id finds it in the log
)

// StatusClientClosedRequest is nginx's status for a client that went away
// before its answer. Only logs and metrics see it.
const StatusClientClosedRequest = 499

// GRPC is a gRPC status code, by number, so that this leaf needs no gRPC
// library (https://grpc.io/docs/guides/status-codes/).
type GRPC uint32

// Row is what a code means on each wire and to people.
type Row struct {
	Status int    // HTTP
	GRPC   GRPC   // gRPC
	Title  string // RFC 9457 title
	Cause  string // why it is answered; a sentence or two, with code in backquotes
	Cure   string // what the caller, or else the operator, can do
}

//nolint:gochecknoglobals // The one error table: constant, but Go has no constant maps.
var table = map[Code]Row{
	InvalidArgument: {
		Status: http.StatusBadRequest, GRPC: 3, Title: "Invalid argument",
		Cause: "A field of the request is missing, is unknown or has a value it may not have; `errors` names each.",
		Cure:  "Correct the named fields. `GET /v2/models/NAME` has a model's inputs, their types and shapes.",
	},
	MalformedBody: {
		Status: http.StatusBadRequest, GRPC: 3, Title: "Malformed body",
		Cause: "The body is not what its content type says: JSON that does not parse, an image that is cut short, a compressed body that is not.",
		Cure:  "Send the whole body, with the content type and the content encoding that it has.",
	},
	UnsupportedMedia: {
		Status: http.StatusUnsupportedMediaType, GRPC: 3, Title: "Unsupported media type",
		Cause: "Nothing here reads this content type or content encoding; forms are not read at all.",
		Cure:  "Send one that `detail` lists. With curl: --data-binary, or --json, not -F.",
	},
	PayloadTooLarge: {
		Status: http.StatusRequestEntityTooLarge, GRPC: 8, Title: "Payload too large",
		Cause: "The body, what it decompresses or decodes to, or an input's elements are over a bound.",
		Cure:  "Send less, or in several calls. The bounds are MODELSERVE_MAX_BODY, MODELSERVE_MAX_PIXELS, MODELSERVE_MAX_OUTPUT and a model's own --max-elements.",
	},
	HeadersTooLarge: {
		Status: http.StatusRequestHeaderFieldsTooLarge, GRPC: 8, Title: "Headers too large",
		Cause: "The request line and headers take more than MODELSERVE_MAX_HEADERS.",
		Cure:  "Send fewer or shorter headers: cookies and baggage first.",
	},
	Unauthenticated: {
		Status: http.StatusUnauthorized, GRPC: 16, Title: "Unauthenticated",
		Cause: "There is no credential, or it is not known: misspelt, revoked, expired, or of another platform.",
		Cure:  "Send `Authorization: Bearer KEY` or `X-API-Key: KEY`; `modelserve keys create` makes a key.",
	},
	PermissionDenied: {
		Status: http.StatusForbidden, GRPC: 7, Title: "Permission denied",
		Cause: "The credential is good and has no right to do this: no scope of the key, no role and no grant gives the permission that `detail` names.",
		Cure:  "`modelserve access explain` says what a key may do, and why. Use another credential, or have somebody who holds the permission grant it (`modelserve grants create`), or make a key that has it.",
	},
	NotFound: {
		Status: http.StatusNotFound, GRPC: 5, Title: "Not found",
		Cause: "There is no such URL, host, key or object.",
		Cure:  "Compare the path and the Host header with `GET /v1/functions` and `/openapi.json`.",
	},
	ModelNotFound: {
		Status: http.StatusNotFound, GRPC: 5, Title: "Model not found",
		Cause: "No model of this name, or no such version or alias of it, is published or served at this host.",
		Cure:  "`modelserve models list` shows what is; a version of a moment ago takes two seconds to be seen.",
	},
	ModelUnavailable: {
		Status: http.StatusServiceUnavailable, GRPC: 14, Title: "Model unavailable",
		Cause: "The version is published and cannot be loaded; `detail` has the reason: a missing or changed file, a signature that does not hold, too little memory.",
		Cure:  "Remedy the reason, or move the alias to a version that loads. A load is tried again by calls that come after Retry-After.",
	},
	ModelFailed: {
		Status: http.StatusInternalServerError, GRPC: 13, Title: "Model failed",
		Cause: "The model ran and failed, or its outputs are not what its signature says.",
		Cure:  "The same input fails again: try it in ONNX Runtime, correct the model, publish a new version.",
	},
	MethodNotAllowed: {
		Status: http.StatusMethodNotAllowed, GRPC: 12, Title: "Method not allowed",
		Cause: "The URL exists, with other methods.",
		Cure:  "Use one of those in the Allow header.",
	},
	Conflict: {
		Status: http.StatusConflict, GRPC: 10, Title: "Conflict",
		Cause: "The object has changed since it was read, exists already, or is in use.",
		Cure:  "Read it again, and repeat the change if it still applies.",
	},
	VersionExists: {
		Status: http.StatusConflict, GRPC: 6, Title: "Version exists",
		Cause: "Other bytes are published under this version, or the version was deleted: versions are never written twice.",
		Cure:  "Leave the version out, and the next free one is taken.",
	},
	KeyReused: {
		Status: http.StatusUnprocessableEntity, GRPC: 9, Title: "Idempotency key reused",
		Cause: "A request with this `Idempotency-Key` was accepted within the last 24 hours for the same pipeline, and its body was another.",
		Cure:  "Send the same request again to get the same execution, or another key with another request.",
	},
	Overloaded: {
		Status: http.StatusTooManyRequests, GRPC: 8, Title: "Overloaded",
		Cause: "A queue is full: of a model's runs, of loads, of the memory for requests, or of calls that wait for an instance.",
		Cure:  "Call again after Retry-After, with growing pauses. If it lasts: more instances, a larger MODELSERVE_QUEUE, or fewer calls at once.",
	},
	RateLimited: {
		Status: http.StatusTooManyRequests, GRPC: 8, Title: "Rate limited",
		Cause: "A limit of the gateway's file refused the call: too many in a time, too many at once, or too much that they cost. `limit` names it.",
		Cure:  "Come again after Retry-After; `RateLimit` says what is left of each limit, `RateLimit-Policy` what each allows.",
	},
	QuotaExceeded: {
		Status: http.StatusTooManyRequests, GRPC: 8, Title: "Quota exceeded",
		Cause: "A quota of the gateway's file is used up for this day or month. `limit` names it.",
		Cure:  "Come again after Retry-After, when the next period begins, or have the operator raise the quota; `modelserve usage` shows what was used.",
	},
	RequestTimeout: {
		Status: http.StatusRequestTimeout, GRPC: 4, Title: "Request timeout",
		Cause: "The client sent its body too slowly or stopped.",
		Cure:  "Send it at once. The bounds are MODELSERVE_BODY_TIMEOUT and MODELSERVE_BODY_RATE.",
	},
	DeadlineExceeded: {
		Status: http.StatusGatewayTimeout, GRPC: 4, Title: "Deadline exceeded",
		Cause: "The answer did not come, or would not have come, within the request's time: its own timeout, MODELSERVE_REQUEST_TIMEOUT or the Service's timeoutSeconds.",
		Cure:  "Look at Server-Timing for the part that is long; allow more time, or keep an instance warm.",
	},
	Cancelled: {
		Status: StatusClientClosedRequest, GRPC: 1, Title: "Cancelled",
		Cause: "The client closed the connection or cancelled the call before its answer. Only logs and metrics show it.",
		Cure:  "Raise the client's own timeout, if it did not mean to.",
	},
	Unavailable: {
		Status: http.StatusServiceUnavailable, GRPC: 14, Title: "Unavailable",
		Cause: "Something that is needed does not answer: the function cannot start or is stopping, S3 or the keys cannot be read.",
		Cure:  "Call again after Retry-After. `modelserve functions list` and the function's log have the reason when it lasts.",
	},
	BadGateway: {
		Status: http.StatusBadGateway, GRPC: 14, Title: "Bad gateway",
		Cause: "The function's connection ended in the middle of an answer, or a proxy before it (ingress, activator or queue-proxy) answered in its place. Often the function was killed for memory.",
		Cure:  "Call again, if the call may run twice. Look at the function's log and at why its last instance ended.",
	},
	Reserved: {
		Status: http.StatusUnprocessableEntity, GRPC: 3, Title: "Reserved attribute",
		Cause: "The event has an attribute that only the platform sets, such as `tenant` or `ticket`, which `detail` names.",
		Cure:  "Send the event without it.",
	},
	EventDamaged: {
		Status: http.StatusBadGateway, GRPC: 15, Title: "Event damaged",
		Cause: "The data of a pipeline's event, or a value that it refers to, has another length or SHA-256 than the event says: a channel cut it, or the object was changed.",
		Cure:  "Nothing: the pipelines service runs the step that made it again. If it lasts, look at the log of the channel's dispatcher.",
	},
	Unimplemented: {
		Status: http.StatusNotImplemented, GRPC: 12, Title: "Unimplemented",
		Cause: "The protocol has this call or parameter, and this server does not.",
		Cure:  "Leave it out; `detail` names it.",
	},
	Internal: {
		Status: http.StatusInternalServerError, GRPC: 13, Title: "Internal error",
		Cause: "A fault of the platform. The caller sees no reason.",
		Cure:  "Look for the request id in the logs of the gateway and of the function, and report it.",
	},
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
// what is not served, is a warning at most, and reported with what they sent.
func (c Code) Ours() bool {
	return c.Row().Status >= http.StatusInternalServerError && c != Unimplemented
}

// Known reports whether the code is in the table.
func (c Code) Known() bool {
	_, ok := table[c]
	return ok
}

// Codes lists every code in alphabetical order, for tests and generated
// documentation.
func Codes() []Code { return slices.Sorted(maps.Keys(table)) }
