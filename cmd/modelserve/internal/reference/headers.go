package main

import (
	"errors"
	"fmt"
	"go/ast"
	"net/http"
	"slices"
	"strings"
)

// header is one that callers or functions meet.
type header struct {
	name, set, about string
}

// requestHeaders are those that a caller may send.
func requestHeaders() []header {
	return []header{
		{"Authorization", "caller", "`Bearer KEY`, the credential. It ends at the gateway."},
		{"X-API-Key", "caller", "The same for clients that have no other place for it."},
		{"X-Request-Id", "caller", "The request's id, 1 to 128 letters, digits and `._:-`; any other is replaced by a new one, and so is one that has a credential in it. It is in the answer, in every error and in every line of the logs."},
		{"traceparent", "caller", "W3C trace context: the spans of the platform are children of the caller's. `tracestate` and `baggage` go on with it."},
		{"X-Model-Version", "caller", "The version or alias that is called, where the path names none; in gRPC as metadata."},
		{"Inference-Header-Content-Length", "caller", "How many bytes of the body are JSON; tensors in binary follow them (the protocol's binary extension). In answers too."},
		{"Content-Type", "caller", "Of the body: `application/json` or `application/octet-stream` of V2, `application/cloudevents+json` of an event, else a payload that the function reads."},
		{"Content-Encoding", "caller", "`gzip`, `deflate` or `identity`, of the body."},
		{"Accept-Encoding", "caller", "What the answer may be compressed with: `gzip`, `deflate`."},
		{"grpc-timeout", "caller", "A gRPC call's time, which the platform keeps to. Over HTTP it is the parameter `timeout` of the request, in microseconds."},
		{"Ce-*", "caller", "The attributes of a CloudEvent in binary mode; the answer is then an event too."},
		{"Idempotency-Key", "caller", "Of a start of a pipeline: within 24 hours the same body with the same key is the same execution, and another body is refused (422). 1 to 255 visible characters."},
		{"Prefer", "caller", "`wait=N`: a start is answered when the execution has ended, or after N seconds, 300 at most (RFC 7240). `respond-async`: a POST of an inference, or at a function's host, is answered later. What else it has is not looked at."},
		{"Last-Event-ID", "caller", "The id of the event after which the events of an execution go on."},
		{"X-Forwarded-Host", "proxy", "The host that was called; believed of the networks in `MODELSERVE_TRUSTED_PROXIES` only."},
	}
}

// answerHeaders are those of answers.
func answerHeaders() []header {
	return []header{
		{"X-Request-Id", "gateway", "The request's id."},
		{"traceparent", "gateway, function", "The trace and span that the request was answered in."},
		{"Modelserve-Model", "function", "What ran: `name@version;digest=sha256:…`."},
		{"Modelserve-Alias", "function, gateway", "The alias that decided on the version; absent when none did."},
		{"Modelserve-Device", "function", "Where it ran: `cpu`, `cuda:0`."},
		{"Server-Timing", "function, platform", "Where the time went, in milliseconds; its parts are in [operate.md](../operate.md#server-timing)."},
		{"Retry-After", "gateway, function", "In how many seconds a call may be tried again."},
		{"RateLimit", "gateway", "What is left of each limit that is for the call: `\"NAME\";r=LEFT;t=SECONDS`; [limits.md](../limits.md)."},
		{"RateLimit-Policy", "gateway", "What each of these limits allows: `\"NAME\";q=QUOTA;w=SECONDS`."},
		{"WWW-Authenticate", "gateway", "With 401: that a Bearer key is expected."},
		{"Allow", "gateway, function", "With 405: the methods that the URL has."},
		{"Location", "gateway, pipelines", "With 201 and 202: the URL of what was made."},
		{"Preference-Applied", "pipelines", "Which part of `Prefer` was heeded: `wait=N`."},
		{"Cache-Control", "gateway", "`no-store` beside a new key, which is shown once."},
		{"Content-Encoding", "function", "What the answer is compressed with; `Vary: Accept-Encoding` goes with it."},
		{"X-Content-Type-Options", "gateway, function", "`nosniff`."},
	}
}

// innerHeaders are between the platform's own processes.
func innerHeaders() []header {
	return []header{
		{"Modelserve-Tenant", "gateway", "The caller's tenant: whose fair share a call is, and whose stored inputs a ref may name."},
		{"Modelserve-Timeout", "gateway", "What is left of the request's time, in milliseconds."},
		{"Modelserve-Secret", "gateway, `modelserve dev`", "What shows a function that a call comes from the gateway (`MODELSERVE_GATEWAY_SECRET`); on the local platform what it asks for of every call (`MODELSERVE_SECRET`)."},
		{"Modelserve-Cost", "function", "What a call took, `rows=8, elements=6272, compute_ms=12.345`: rows of the batch axis, elements of all inputs, and the call's part of the runs. It may be a trailer; the gateway removes it."},
		{"Modelserve-Call", "gateway", "To the pipelines service: what is to be called, of a call that is answered later."},
		{"Modelserve-Wake", "gateway", "`never`: answer without starting a function for it."},
	}
}

// headersPage fails where the code names a header that is in no table, or a table
// has one of the platform's that the code does not name.
func headersPage(s source) ([]byte, error) {
	p := newPage("Headers", "The headers that mean something to the platform; in gRPC they are metadata of the same names in lower case. All others go on to the function as they are, but for those below.")
	if err := s.checkHeaders(); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		title, about string
		of           []header
	}{
		{"In requests", "A header of which one can be meant is refused where it comes twice, also with the same value (400 invalid_argument, which names it): `X-Model-Version`, `Inference-Header-Content-Length`, `grpc-timeout`, `grpc-encoding`, each `Ce-` attribute. A second `Content-Type` is refused where its type is another (415), a second credential where it is another (401). Of several `X-Request-Id` the first counts; of several `traceparent` none. JSON is UTF-8: a `charset` that is another is refused (415).", requestHeaders()},
		{"In answers", "", answerHeaders()},
		{"Between gateway and function", "The gateway removes from a caller's request whatever begins with `Modelserve-`, `X-Forwarded-`, `K-` or `Knative-`, and `Forwarded`, `X-Real-Ip`, `Upgrade` and `Expect`; and the credential before the function sees it. It also removes what has an underscore in its name and is, with `-` in its place, a header of these tables or one of HTTP's own: a function behind CGI or WSGI could not distinguish the two (`X_Model_Version`, `Content_Length`).", innerHeaders()},
	} {
		p.printf("\n## %s\n", part.title)
		if part.about != "" {
			p.printf("\n%s\n", part.about)
		}
		var rows [][]string
		for _, h := range part.of {
			rows = append(rows, []string{code(h.name), h.set, h.about})
		}
		p.table([]string{"header", "set by", "meaning"}, rows)
	}
	return p.bytes(), nil
}

// checkHeaders holds the tables against the constants whose names end in
// "Header".
func (s source) checkHeaders() error {
	var faults []error
	inCode := map[string]bool{}
	tables := slices.Concat(requestHeaders(), answerHeaders(), innerHeaders())
	s.each(func(importPath string, n ast.Node) {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 || !strings.HasSuffix(strings.ToLower(spec.Names[0].Name), "header") {
			return
		}
		name, err := text(spec.Values[0])
		if err != nil {
			return // another's constant
		}
		inCode[http.CanonicalHeaderKey(name)] = true
		if !slices.ContainsFunc(tables, func(h header) bool { return strings.EqualFold(h.name, name) }) {
			faults = append(faults, fmt.Errorf("%s names the header %s, which is in no table of headers.go", importPath, name))
		}
	})
	for _, h := range tables {
		if strings.HasPrefix(h.name, "Modelserve-") && !inCode[h.name] {
			faults = append(faults, fmt.Errorf("headers.go has %s, which no constant names any more", h.name))
		}
	}
	return errors.Join(faults...)
}
