//go:build linux

package main

import (
	"net/netip"
	"strings"
	"testing"
)

func TestTakenAddresses(t *testing.T) {
	t.Parallel()
	route := func(link, to, mask string) error {
		return takenRoutes("Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n" +
			strings.Join([]string{link, to, "00000000", "0003", "0", "0", "0", mask, "0"}, "\t") + "\n")
	}
	link := func(prefix string) error { return takenBy(netip.MustParsePrefix(prefix), "tun0") }
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"the default route":       {route("eth0", "00000000", "00000000"), ""},
		"a wider route":           {route("tun0", "0000000A", "000000FF"), ""},
		"our own route":           {route(linkName, "0000600A", "0000FFFF"), ""},
		"the Services' route":     {route("tun0", "0000600A", "0000FFFF"), "10.96.0.0/16 by tun0"},
		"a part of the pods'":     {route("cni0", "8000F40A", "80FFFFFF"), "10.244.0.128/25 by cni0"},
		"an address of none":      {link("192.0.2.2/24"), ""},
		"an address of version 6": {link("fd00::2/64"), ""},
		"a wide network beside":   {link("10.1.2.3/8"), ""},
		"a Service's address":     {link("10.96.0.1/32"), "10.96.0.1/32 of the interface tun0"},
		"the link's network":      {link("198.18.5.5/15"), "198.18.5.5/15 of the interface tun0"},
		"a name server elsewhere": {takenServers("search example\nnameserver 10.255.255.53\n"), ""},
		"a name server in a pod":  {takenServers("nameserver ::1\nnameserver 10.96.0.10\n"), "10.96.0.10 of /etc/resolv.conf"},
		"no name server":          {takenServers("nameserver\n"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if (test.err == nil) != (test.want == "") || test.err != nil && !strings.Contains(test.err.Error(), test.want) {
				t.Errorf("expected %q, got %v", test.want, test.err)
			}
		})
	}
}
