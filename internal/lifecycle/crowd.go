package lifecycle

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Crowd bounds what connections take, whoever opens them and whether or not anybody
// calls by them.
type Crowd struct {
	// Bytes is what all connections may take, each of them ConnectionBytes; 0 is without
	// bound. An address has half of what others leave, and so has an owner (Own).
	Bytes int64

	// Proxies are the networks whose addresses are those of many clients: each
	// connection of one may be anybody's.
	Proxies []netip.Prefix

	// Refused, when set, is called for each connection that is closed for it.
	Refused func()
}

// ConnectionBytes is what a connection is taken to hold: its socket's buffers, as they
// are while a client is about as fast as it is read (64 KiB), and what a call by it has of
// its request and answer on their way (320 KiB). What HTTP/2 has of many calls is their
// handlers' to count.
const ConnectionBytes = 384 << 10

// crowd counts connections.
type crowd struct {
	bounds Crowd

	mu  sync.Mutex
	all int64
	by  map[string]int64 // connections of an address, or of an owner
}

// newCrowd is nil for connections without bound.
func newCrowd(bounds Crowd) *crowd {
	if bounds.Bytes <= 0 {
		return nil
	}
	return &crowd{bounds: bounds, by: map[string]int64{}}
}

// member is what a connection is in its crowd.
type member struct {
	of    *crowd
	whose string // the address' or network's; "" is anybody's
	owner string // "" while nobody is known; under of.mu
	gone  bool   // under of.mu
}

// most is how many connections there may be.
func (c *crowd) most() int64 { return max(c.bounds.Bytes/ConnectionBytes, 2) }

// enter takes a connection's place, and is nil where there is none.
func (c *crowd) enter(from net.Addr) *member {
	whose := c.address(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= c.most() || whose != "" && !c.within(whose) {
		return nil
	}
	c.all++
	c.count(whose, 1)
	return &member{of: c, whose: whose}
}

func (c *crowd) refused() {
	if c.bounds.Refused != nil {
		c.bounds.Refused()
	}
}

// within reports whether one more is no more than half of what others leave. The caller
// holds mu.
func (c *crowd) within(whose string) bool { return c.by[whose]+1 <= max(c.most()-c.all, 1) }

func (c *crowd) count(whose string, n int64) {
	if whose == "" {
		return
	}
	if c.by[whose] += n; c.by[whose] == 0 {
		delete(c.by, whose)
	}
}

// address is whose a connection is before anybody is known: an address, of IPv6 the
// network of one client (RFC 6177).
func (c *crowd) address(from net.Addr) string {
	tcp, ok := from.(*net.TCPAddr)
	if !ok {
		return ""
	}
	at := tcp.AddrPort().Addr().Unmap().WithZone("")
	if slices.ContainsFunc(c.bounds.Proxies, func(p netip.Prefix) bool { return p.Contains(at) }) {
		return ""
	}
	const site = 64
	if network, err := at.Prefix(site); err == nil && at.Is6() {
		return network.String()
	}
	return at.String()
}

// own counts a connection as its owner's too, and is false where that has as many as it
// may. The first one stays.
func (m *member) own(owner string) bool {
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	if m.gone || m.owner != "" || m.whose == "" {
		return true
	}
	owner = "owner " + owner
	if m.of.by[owner] >= max(m.of.most()/2, 1) {
		return false
	}
	m.of.count(owner, 1)
	m.owner = owner
	return true
}

// leave gives the place back. Leaving twice is safe.
func (m *member) leave() {
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	if m.gone {
		return
	}
	m.gone = true
	m.of.all--
	m.of.count(m.whose, -1)
	m.of.count(m.owner, -1)
}

// Own notes who owns the connection of a request's context: whose calls come by it. It is
// false where the owner has as many connections as it may, so that its request is to be
// refused, with the connection. One of a proxy has no owner.
func Own(ctx context.Context, owner string) bool {
	c, ok := ctx.Value(connectionKey{}).(*connection)
	return !ok || c.place == nil || c.place.own(owner)
}
