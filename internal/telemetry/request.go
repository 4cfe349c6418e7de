package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	random "math/rand/v2"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/modelserveai/modelserve/problem"
)

type (
	requestIDKey struct{}
	givenKey     struct{}
)

// RequestID is the id of the request that ctx belongs to, "" if none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// RequestIDIsGiven reports whether the request's id is its caller's own choice, which
// others may have chosen too.
func RequestIDIsGiven(ctx context.Context) bool {
	given, _ := ctx.Value(givenKey{}).(bool)
	return given
}

// WithRequestID gives ctx a request id.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// saneRequestID reports whether a caller's own id can do no harm in a log or a
// header: 1 to 128 letters, digits and ._:- .
func saneRequestID(id string) bool {
	outside := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._:-", r)
	}
	return id != "" && len(id) <= 128 && strings.IndexFunc(id, outside) < 0
}

// secrets are the headers of credentials, of callers and of the gateway.
func secrets() [4]string {
	return [4]string{"Authorization", "X-Api-Key", "Modelserve-Secret", "Cookie"}
}

// partOfSecret is how much of a credential shows it, in bytes.
const partOfSecret = 16

// isSecret reports whether a caller's own id is or has a credential, which would be
// repeated in logs and answers: a key (ms_…), a token (eyJ…), or one of the request's.
func isSecret(id string, h http.Header) bool {
	if begins(strings.ToLower(id), "ms_") || begins(id, "eyJ") {
		return true
	}
	for _, name := range secrets() {
		for _, value := range h[name] {
			for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == ';' || r == ',' || r == '=' }) {
				if len(part) >= partOfSecret && strings.Contains(id, part) || len(id) >= partOfSecret && strings.Contains(part, id) {
					return true
				}
			}
		}
	}
	return false
}

// begins reports whether a word in id begins so, or, with as much behind it as secrets
// have, a part of one.
func begins(id, with string) bool {
	for at := 0; ; at += len(with) {
		next := strings.Index(id[at:], with)
		if next < 0 {
			return false
		}
		at += next
		if at == 0 || strings.IndexByte("._:-", id[at-1]) >= 0 || len(id)-at >= 40 {
			return true
		}
	}
}

// Middleware gives each request an id (the caller's own where it is sane, and no
// credential) and
// a span, a child of the caller's trace, and puts both on the response before
// next runs, so that every answer and error carries them. Probes have no span.
func (t *Telemetry) Middleware(next http.Handler) http.Handler {
	carry, traced := propagator(), t.traced(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(problem.RequestIDHeader)
		given := saneRequestID(id) && !isSecret(id, r.Header)
		if !given {
			id = rand.Text()
		}
		if !given || len(r.Header.Values(problem.RequestIDHeader)) > 1 {
			r.Header.Set(problem.RequestIDHeader, id)
		}
		w.Header().Set(problem.RequestIDHeader, id)
		if len(r.Header[traceparent]) > 1 { // nobody's (W3C trace context, 3.2.2)
			delete(r.Header, traceparent)
		}
		ctx := WithRequestID(r.Context(), id)
		if given {
			ctx = context.WithValue(ctx, givenKey{}, true)
		}
		if t.exports && !isProbe(r.URL.Path) {
			traced.ServeHTTP(w, r.WithContext(ctx))
			return
		}
		if len(r.Header[traceparent]) > 0 || len(r.Header[baggage]) > 0 {
			ctx = carry.Extract(ctx, propagation.HeaderCarrier(r.Header))
		}
		ctx = withNewSpan(ctx)
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(w.Header()))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// The headers of a caller's trace, as net/http writes their names.
const (
	traceparent = "Traceparent"
	baggage     = "Baggage"
)

// withNewSpan gives ctx the ids of a span that nobody records, in the caller's
// trace or a new one. It is what a tracer that samples nothing does, for less.
func withNewSpan(ctx context.Context) context.Context {
	parent := trace.SpanContextFromContext(ctx)
	c := trace.SpanContextConfig{
		TraceID:    parent.TraceID(),
		TraceFlags: parent.TraceFlags().WithSampled(false),
		TraceState: parent.TraceState(),
	}
	for !c.TraceID.IsValid() {
		binary.NativeEndian.PutUint64(c.TraceID[:8], random.Uint64()) //nolint:gosec // an id, no secret
		binary.NativeEndian.PutUint64(c.TraceID[8:], random.Uint64()) //nolint:gosec // as above
	}
	for !c.SpanID.IsValid() {
		binary.NativeEndian.PutUint64(c.SpanID[:], random.Uint64()) //nolint:gosec // as above
	}
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(c))
}

// Inject puts ctx's request id and trace into the headers of a request to
// another process.
func Inject(ctx context.Context, h http.Header) {
	if id := RequestID(ctx); id != "" {
		h.Set(problem.RequestIDHeader, id)
	}
	propagator().Inject(ctx, propagation.HeaderCarrier(h))
}
