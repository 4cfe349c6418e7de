// Package call has the values that travel with a call through the gateway: what
// is known of it (Call), and what its line of the access log has (Entry).
//
// They are passed as arguments: contexts carry cancellation, deadline and trace
// alone. The package decides nothing.
package call

import (
	"net/http"
	"net/netip"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Call is one request, or one message of a stream. It is filled in on the way in,
// and does not change once it is forwarded, which may be at several places at
// once.
type Call struct {
	Protocol Protocol
	Source   string // address and port of the caller, as far as trusted proxies report it
	Host     string // as asked for, with its port
	Path     string // of the URL, decoded

	// Operation is what is asked for, the same by whichever protocol and of whichever
	// version: the pattern of a URL of REST; "" is nothing that there is.
	Operation string

	// Header is that of the request, without what only the platform may set; of a
	// message of a stream, that of the stream. It has the caller's credential.
	Header http.Header

	Bound     *route.Bound    // what the host leads to; nil at the gateway's own
	Principal *auth.Principal // nil at what is answered without a credential

	Log *Entry

	// Limited is whether a limiter has decided on it, where there is one.
	Limited bool

	// Answer is what the answer's headers have whatever it is; nil is nothing.
	Answer http.Header
}

// Address is where the call came from; the zero Addr where that is not known.
func (c *Call) Address() netip.Addr {
	from, err := netip.ParseAddrPort(c.Source)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap().WithZone("")
}

// Protocol is how a call came, and how its errors are written.
type Protocol int

// The protocols.
const (
	HTTP Protocol = iota // errors are RFC 9457 problems, and V2's under /v2
	GRPC
)

// Tenant is whose the call is; "" where nobody is known.
func (c *Call) Tenant() string {
	if c.Principal == nil {
		return ""
	}
	return c.Principal.Tenant
}

// Entry is what is logged and counted of a call when it ends. It is written by
// whoever has the call, one at a time.
type Entry struct {
	Route     string // the endpoint's pattern, never the path
	Principal string // who made it; "" where that is not known
	Tenant    string
	Function  string // that it was sent to
	Model     string // that it was for, and the version that it came to; "" for none
	Version   string
	Err       error  // what it was answered with
	GRPC      string // the gRPC status; "" for plain HTTP
	Aborted   bool   // the answer broke off

	// What usage counts of it besides.
	Resolved string      // the published model that it came to, or the function that has none or several; "" for none
	Used     infer.Usage // as its function reported, or what stands for that
	Messages bool        // it is a stream whose messages are counted, each for itself
}
