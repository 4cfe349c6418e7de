package gateway

import (
	"net/netip"
	"testing"
)

func TestTheSourceIsTheRightmostThatIsNoProxy(t *testing.T) {
	t.Parallel()
	g := &gateway{config: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}}
	for name, tc := range map[string]struct {
		forwarded []string
		want      string
	}{
		"nothing":                 {nil, "10.0.0.1"},
		"one":                     {[]string{"192.0.2.7"}, "192.0.2.7"},
		"forged on the left":      {[]string{"203.0.113.9, 192.0.2.7"}, "192.0.2.7"},
		"behind two proxies":      {[]string{"203.0.113.9, 192.0.2.7, 10.1.1.1"}, "192.0.2.7"},
		"in two lines":            {[]string{"192.0.2.7", "10.1.1.1"}, "192.0.2.7"},
		"all proxies":             {[]string{"10.2.2.2, 10.1.1.1"}, "10.2.2.2"},
		"no address":              {[]string{"192.0.2.7, unknown"}, "10.0.0.1"},
		"no address on the left":  {[]string{"unknown, 10.1.1.1"}, "10.1.1.1"},
		"with a port":             {[]string{"192.0.2.7:4711"}, "192.0.2.7"},
		"version 6 in brackets":   {[]string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		"version 6 with a zone":   {[]string{"fe80::1%eth0"}, "fe80::1"},
		"version 4 in version 6":  {[]string{"::ffff:192.0.2.7"}, "192.0.2.7"},
		"a proxy written as such": {[]string{"192.0.2.7, ::ffff:10.1.1.1"}, "192.0.2.7"},
		"empty":                   {[]string{""}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := g.source(netip.MustParseAddrPort("10.0.0.1:5"), tc.forwarded).Addr().String(); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// TestTheSourceInACluster holds what the settings of config/ come to. Each request comes
// from queue-proxy, by loopback, and each proxy adds who called it.
func TestTheSourceInACluster(t *testing.T) {
	t.Parallel()
	const (
		client    = "192.0.2.7"
		ingress   = "10.244.0.8"
		activator = "10.244.0.9"
		forged    = "203.0.113.9"
	)
	networks := func(texts ...string) (all []netip.Prefix) {
		for _, text := range append(texts, "127.0.0.1/32", "::1/128") {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	base, pods, all := networks(), networks("10.244.0.0/24"), networks("10.244.0.0/24", "192.0.2.0/24")
	for name, tc := range map[string]struct {
		trusted   []netip.Prefix
		forwarded string
		want      string
	}{
		"loopback alone":                        {base, client + ", " + ingress + ", " + activator, activator},
		"loopback alone, without the activator": {base, client + ", " + ingress, ingress},
		"loopback alone, forged":                {base, forged + ", " + ingress, ingress},
		"and pods":                              {pods, client + ", " + ingress + ", " + activator, client},
		"and pods, without the activator":       {pods, client + ", " + ingress, client},
		"and pods, forged on the left":          {pods, forged + ", " + client + ", " + ingress + ", " + activator, client},
		"and pods, twice through it":            {pods, client + ", 127.0.0.1, " + ingress + ", " + activator, client},
		"and pods, called by one":               {pods, "10.244.0.3, " + ingress, "10.244.0.3"},
		"and pods, nothing written":             {pods, "", "127.0.0.1"},
		"too much, none written":                {pods, forged + ", " + activator, forged},
		"too much, a pod that forges":           {pods, forged + ", 10.244.0.3, " + ingress, forged},
		"too much, a network of callers":        {all, forged + ", " + client + ", " + ingress, forged},
	} {
		for form, peer := range map[string]string{"version 4": "127.0.0.1:5", "version 6": "[::1]:5", "version 4 in version 6": "[::ffff:127.0.0.1]:5"} {
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				g := &gateway{config: Config{TrustedProxies: tc.trusted}}
				from := netip.MustParseAddrPort(peer)
				if !g.trusted(from.Addr()) {
					t.Error("queue-proxy is not trusted")
				}
				got := g.source(from, []string{tc.forwarded}).Addr()
				if tc.forwarded != "" && got.String() != tc.want || tc.forwarded == "" && got != from.Addr() {
					t.Errorf("%s, want %s", got, tc.want)
				}
			})
		}
	}
}

func FuzzForwardedFor(f *testing.F) {
	for _, seed := range []string{"", "192.0.2.7", "a, b", "[::1]:1, 10.0.0.1", ",,,"} {
		f.Add(seed)
	}
	g := &gateway{config: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	f.Fuzz(func(t *testing.T, text string) {
		if got := g.source(netip.MustParseAddrPort("10.0.0.1:5"), []string{text}); !got.IsValid() {
			t.Errorf("%q is %v", text, got)
		}
	})
}
