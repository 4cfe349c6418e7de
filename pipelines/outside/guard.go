// Package outside calls what is not of this platform: the uri steps of pipelines. It
// looks at the address of each connection when that is made, so that neither a name that
// resolves otherwise a moment later nor a redirect leads into the platform's own network.
//
// It does not know what a step is, tries once, and keeps no state but connections.
package outside

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrRefused is an address that may not be dialled. Trying again changes nothing but
// where its name resolves otherwise.
var ErrRefused = errors.New("the address is not one that may be called")

// Guard decides which addresses may be dialled: those of the public internet, and of the
// networks that the operator allows beside it.
type Guard struct {
	rules *ssrf.Guardian
	never []netip.Prefix
}

// NewGuard makes a Guard that allows networks beside the public internet. Link-local
// addresses and those where clouds keep credentials are refused even within them.
func NewGuard(allow []netip.Prefix) *Guard {
	var four, six []netip.Prefix
	for _, p := range allow {
		switch p = plain(p); {
		case p.Addr().Is4():
			four = append(four, p)
		default:
			six = append(six, p)
		}
	}
	return &Guard{
		rules: ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(four...), ssrf.WithAllowedV6Prefixes(six...)),
		never: []netip.Prefix{
			netip.MustParsePrefix("169.254.0.0/16"),
			netip.MustParsePrefix("fe80::/10"),
			netip.MustParsePrefix("fd00:ec2::/32"),      // AWS, over IPv6
			netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
			netip.MustParsePrefix("168.63.129.16/32"),   // Azure
			netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud
		},
	}
}

// plain is a prefix of IPv4 where it was written as one within IPv6.
func plain(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// Check returns ErrRefused for an address that may not be dialled.
func (g *Guard) Check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	for _, p := range g.never {
		if p.Contains(addr) {
			return fmt.Errorf("%w: %s is link-local or a cloud's own", ErrRefused, addr)
		}
	}
	if err := g.rules.SafeAddr(addr); err != nil {
		return fmt.Errorf("%w: %s is not public, and in none of the networks that are allowed", ErrRefused, addr)
	}
	return nil
}

// Control is for net.Dialer: it sees each address after its name was resolved, before
// the connection is made.
func (g *Guard) Control(network, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: expected an address of TCP", ErrRefused)
	}
	return g.Check(at.Addr())
}
