// Package calls is the calls of models and functions that are answered later: what is
// stored of a request and of its answer, the pipeline of one step that every such
// execution is of, and the making of the call.
//
// Who may call, whether there is such a model and where the call goes has been decided
// before a request comes here (package gateway). There is no Knative object and no event:
// the function is called as the gateway calls it.
package calls

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

// Step is the name of the one step.
const Step = "call"

// text is the definition of the pipeline that has no name: its step is not ours to send
// through a channel, and its URL is never dialled.
const text = `{"apiVersion":"modelserve.dev/v1","kind":"Pipeline","metadata":{"name":"call"},"spec":{` +
	`"steps":[{"name":"` + Step + `","uri":"http://call.invalid/","input":"input","timeout":"15m","retry":{"attempts":3,"backoff":"1s"}}],` +
	`"output":"steps.call","timeout":"24h","retention":"168h"}}`

// Version is the version that every call is of: of no tenant, without a name.
func Version() (*record.Version, error) {
	d, err := definition.Parse([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("read the pipeline of calls: %w", err)
	}
	return &record.Version{Canonical: d.Canonical(), Digest: d.Digest()}, nil
}

// Order is what the gateway says of a call, in contract.CallHeader.
type Order struct {
	Method string `json:"method"`
	URL    string `json:"url"`  // where it goes, as it was resolved: scheme, host, path and query
	Path   string `json:"path"` // as the caller had it

	// Host is a function's own host, as the caller had it; "" where Path says all.
	Host string `json:"host,omitempty"`

	// Repeatable is whether the call may be made twice. Another one is made again only
	// where nothing of it came to the function.
	Repeatable bool `json:"repeatable"`
}

// maxOrder bounds the JSON of an Order, in bytes.
const maxOrder = 8 << 10

// ParseOrder reads an Order.
func ParseOrder(text string) (*Order, error) {
	var o Order
	if len(text) > maxOrder || json.Unmarshal([]byte(text), &o) != nil {
		return nil, problem.New(problem.MalformedBody, "expected what is to be called")
	}
	to, err := url.Parse(o.URL)
	if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "" || to.User != nil || o.Method == "" || !strings.HasPrefix(o.Path, "/") {
		return nil, problem.New(problem.MalformedBody, "expected the URL of a function")
	}
	return &o, nil
}

// Request is a call as it is stored: the input of its execution.
type Request struct {
	Order

	Header http.Header     `json:"headers"`
	Body   *envelope.Claim `json:"body"` // its exact bytes
}

// Shown is what callers see of it: not where it goes.
type Shown struct {
	Method      string `json:"method"`
	Path        string `json:"path"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"`
}

// Of is the request of an execution's input.
func Of(input envelope.Value) (*Request, error) {
	var r Request
	if err := json.Unmarshal(input.JSON, &r); err != nil || r.Body == nil {
		return nil, fmt.Errorf("read the request of a call: it is none (%w)", err)
	}
	return &r, nil
}

// Shown is what callers see of a request.
func (r *Request) Shown() Shown {
	return Shown{Method: r.Method, Path: r.Path, ContentType: r.Body.ContentType, Size: r.Body.Size}
}

// Value is a request as an input.
func (r *Request) Value() (envelope.Value, error) { return value(r) }

// Answer is what a function answered: the output of an execution that succeeded, and of
// one that failed what is stored of it under FailureName.
type Answer struct {
	Status int             `json:"status"`
	Header http.Header     `json:"headers"`
	Body   *envelope.Claim `json:"body"` // its bytes, not compressed
}

// FailureName is the name under which failing answers are stored, with the epoch behind
// it, so that the last one has the highest.
const FailureName = "failure-"

func value(v any) (envelope.Value, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return envelope.Value{}, fmt.Errorf("write what is stored of a call: %w", err)
	}
	if len(text) > envelope.MaxInline {
		return envelope.Value{}, problem.New(problem.HeadersTooLarge, "the headers of a call that is answered later take %d bytes; expected at most %d", len(text), envelope.MaxInline)
	}
	return envelope.Value{JSON: text}, nil
}

// maxHeaders bounds the headers that are kept of a request and of an answer, in bytes.
const maxHeaders = 32 << 10

// KeptOfRequest are the headers of a request that its function gets: not those between
// two servers, nor what the platform says of a request itself, nor what asks for an
// answer in parts, encoded or later.
func KeptOfRequest(h http.Header) http.Header {
	kept := keep(h, "Prefer", "Idempotency-Key", "Accept-Encoding", "Range", "Cookie", "Authorization", "X-Api-Key", "Traceparent", "Tracestate", "X-Request-Id")
	for name := range kept {
		if strings.HasPrefix(strings.ToLower(name), "modelserve-") {
			delete(kept, name)
		}
	}
	return kept
}

// keptOfAnswer are those of an answer that its caller gets.
func keptOfAnswer(h http.Header) http.Header {
	kept := keep(h, "Set-Cookie", "Date", "Server", "Location", "Content-Encoding", "Vary", "Modelserve-Cost", "Traceparent", "X-Request-Id", "Server-Timing")
	size := 0
	for name, values := range kept {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	if size > maxHeaders {
		return http.Header{"Content-Type": kept["Content-Type"]}
	}
	return kept
}

// keep are headers without some, and without those of one connection (RFC 9110, 7.6.1).
func keep(h http.Header, without ...string) http.Header {
	kept := h.Clone()
	for _, line := range h.Values("Connection") {
		for name := range strings.SplitSeq(line, ",") {
			kept.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range append(without, "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length") {
		kept.Del(name)
	}
	return kept
}
