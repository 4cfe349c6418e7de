package problem

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// RequestIDHeader carries the request id in and out. Both writers read it from
// the response's headers, where the request id middleware puts it first.
const RequestIDHeader = "X-Request-Id"

// body is RFC 9457's problem object with the members contracts add.
type body struct {
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail"`
	Code      Code    `json:"code"`
	RequestID string  `json:"request_id"`
	Errors    []Field `json:"errors,omitempty"`
	Limit     string  `json:"limit,omitempty"`
}

// v2Body is the Open Inference Protocol's error object with our members.
type v2Body struct {
	Error     string  `json:"error"`
	Code      Code    `json:"code"`
	RequestID string  `json:"request_id"`
	Errors    []Field `json:"errors,omitempty"`
	Limit     string  `json:"limit,omitempty"`
}

// Write answers with err as application/problem+json (RFC 9457).
func Write(w http.ResponseWriter, err error) {
	e := From(err)
	write(w, "application/problem+json", e, bodyOf(w, e))
}

func bodyOf(w http.ResponseWriter, e *Error) body {
	row := e.Code.Row()
	return body{
		Type:      "https://modelserve.dev/problems/" + string(e.Code),
		Title:     row.Title,
		Status:    row.Status,
		Detail:    e.Detail,
		Code:      e.Code,
		RequestID: w.Header().Get(RequestIDHeader),
		Errors:    e.Fields,
		Limit:     e.Limit,
	}
}

// WriteV2 answers with err as clients of the Open Inference Protocol expect.
func WriteV2(w http.ResponseWriter, err error) {
	e := From(err)
	write(w, "application/json", e, v2Body{
		Error:     e.Detail,
		Code:      e.Code,
		RequestID: w.Header().Get(RequestIDHeader),
		Errors:    e.Fields,
		Limit:     e.Limit,
	})
}

func write(w http.ResponseWriter, contentType string, e *Error, v any) {
	data, err := json.Marshal(v)
	if err != nil { // strings and numbers only: cannot happen
		panic(err)
	}
	h := w.Header()
	data = append(data, '\n')
	h.Del("Content-Encoding")
	// So that the answer is whole as soon as it is sent, whatever the server does
	// before it lets the request go.
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if e.Code == Unauthenticated {
		h.Set("WWW-Authenticate", `Bearer realm="modelserve"`)
	}
	w.WriteHeader(e.Code.Row().Status)
	_, _ = w.Write(data)
}

// WithRetryAfter sets when the caller may come back, and returns e.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}
