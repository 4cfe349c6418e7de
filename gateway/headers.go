package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

const forwardedHost = "X-Forwarded-Host"

// cleanHeaders is outermost: nothing behind it sees a header that only the
// platform may set and was set by a caller.
func (g *gateway) cleanHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hosts := r.Header.Values(forwardedHost); len(hosts) == 1 && g.trusted(r.RemoteAddr) {
			r.Host = hosts[0]
		}
		for name := range r.Header {
			if reserved(name) {
				delete(r.Header, name)
			}
		}
		r.Trailer = nil
		next.ServeHTTP(w, r)
	})
}

// reserved reports whether a header is for the platform's own use. Upgrade and
// Expect end here: the first would make a tunnel past every limit, the second
// is between the caller and this server.
func reserved(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-") // which CGI and WSGI take for each other
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

func (g *gateway) trusted(remote string) bool {
	if len(g.config.TrustedProxies) == 0 {
		return false
	}
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
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
