package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

const (
	forwardedHost = "X-Forwarded-Host"
	forwardedFor  = "X-Forwarded-For"
)

// cleanHeaders is outermost: nothing behind it sees a header that only the
// platform may set and was set by a caller.
func (g *gateway) cleanHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && g.trusted(peer.Addr()) {
			if hosts := r.Header.Values(forwardedHost); len(hosts) == 1 {
				r.Host = hosts[0]
			}
			r.RemoteAddr = g.source(peer, r.Header.Values(forwardedFor)).String()
		}
		for name := range r.Header {
			if reserved(name) || isTwin(name) {
				delete(r.Header, name)
			}
		}
		r.Trailer = nil
		if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
			// It may have had a Content-Length beside its chunks, which net/http has
			// dropped by now, and a proxy before this server may have gone by that: what
			// follows on the connection is nobody's for certain (RFC 9112, 6.1).
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// reserved reports whether a header is for the platform's own use. Upgrade and
// Expect end here: the first would make a tunnel past every limit, the second
// is between the caller and this server.
func reserved(name string) bool {
	name = forward.Folded(name)
	switch name {
	case "forwarded", "upgrade", "expect", "x-real-ip":
		return true
	}
	for _, prefix := range []string{"modelserve-", "x-forwarded-", "k-", "knative-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// isTwin reports whether a name is that of a header which means something to the
// platform or to HTTP, but for underscores: a function behind CGI or WSGI would take
// one for the other.
func isTwin(name string) bool {
	if !strings.Contains(name, "_") {
		return false
	}
	name = forward.Folded(name)
	for _, prefix := range []string{"accept-", "ce-", "content-", "grpc-", "if-", "proxy-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch http.CanonicalHeaderKey(name) {
	case auth.APIKeyHeader, infer.VersionHeader, infer.JSONLengthHeader, problem.RequestIDHeader,
		"Keep-Alive", "Transfer-Encoding", "User-Agent":
		return true
	}
	return false
}

// source is whom a trusted peer reports to have called: the rightmost entry of
// X-Forwarded-For that is no trusted proxy. Entries left of it are anybody's. Where
// all are trusted it is the leftmost; one that is no address ends the search at the
// entry to its right.
func (g *gateway) source(peer netip.AddrPort, forwarded []string) netip.AddrPort {
	source := peer
	for _, line := range slices.Backward(forwarded) {
		for _, entry := range slices.Backward(strings.Split(line, ",")) {
			address, ok := parseForwarded(strings.TrimSpace(entry))
			if !ok {
				return source
			}
			source = netip.AddrPortFrom(address, 0)
			if !g.trusted(address) {
				return source
			}
		}
	}
	return source
}

// parseForwarded reads an address as proxies write it: alone, with a port, and of
// IPv6 also in brackets.
func parseForwarded(text string) (netip.Addr, bool) {
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone(""), true
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return address.Unmap().WithZone(""), err == nil
}

func (g *gateway) trusted(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	for _, prefix := range g.config.TrustedProxies {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// headerBytes is what a request's line and headers take, as HTTP/1.1 has them.
func headerBytes(r *http.Request) int64 {
	n := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			n += len(name) + len(value) + len(": \r\n")
		}
	}
	return int64(n)
}
