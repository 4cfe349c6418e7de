package outside

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestOnlyPublicAddressesAndAllowedNetworks(t *testing.T) {
	t.Parallel()
	lenient := NewGuard([]netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("10.1.0.0/16"),
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("fd00::/8"),
		netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("::ffff:192.168.7.0/120"),
	})
	strict := NewGuard(nil)
	for _, c := range []struct {
		address         string
		strict, lenient bool // may be dialled
	}{
		{"1.1.1.1", true, true},
		{"8.8.8.8", true, true},
		{"2606:4700:4700::1111", true, true},
		{"::ffff:1.1.1.1", true, true},
		{"127.0.0.1", false, true},
		{"127.9.9.9", false, true},
		{"::1", false, true},
		{"::ffff:127.0.0.1", false, true},
		{"10.1.2.3", false, true},
		{"10.2.2.3", false, false},
		{"172.16.0.1", false, false},
		{"192.168.7.1", false, true},
		{"192.168.1.1", false, false},
		{"::ffff:192.168.1.1", false, false},
		{"0.0.0.0", false, false},
		{"::", false, false},
		{"100.64.0.1", false, true},
		{"100.100.100.200", false, false},
		{"169.254.169.254", false, false},
		{"169.254.0.1", false, false},
		{"::ffff:169.254.169.254", false, false},
		{"fe80::1", false, false},
		{"fe80::1%eth0", false, false},
		{"fd00:ec2::254", false, false},
		{"fd12:3456::1", false, true},
		{"fc00::1", false, false},
		{"168.63.129.16", false, false},
		{"192.0.0.192", false, false},
		{"192.0.2.1", false, false},
		{"198.18.0.1", false, false},
		{"224.0.0.1", false, false},
		{"255.255.255.255", false, false},
		{"ff02::1", false, false},
		{"64:ff9b::7f00:1", false, false},
		{"2002:7f00:1::", false, false},
		{"2001:db8::1", false, false},
	} {
		t.Run(c.address, func(t *testing.T) {
			t.Parallel()
			addr := netip.MustParseAddr(c.address)
			for name, g := range map[string]struct {
				*Guard
				may bool
			}{"strict": {strict, c.strict}, "lenient": {lenient, c.lenient}} {
				if err := g.Check(addr); (err == nil) != g.may || err != nil && !errors.Is(err, ErrRefused) {
					t.Errorf("%s: %v, want allowed %v", name, err, g.may)
				}
				if err := g.Control("tcp4", netip.AddrPortFrom(addr, 80).String(), nil); (err == nil) != g.may {
					t.Errorf("%s: at the connection %v, want allowed %v", name, err, g.may)
				}
			}
			if err := lenient.Control("unix", c.address, nil); !errors.Is(err, ErrRefused) {
				t.Errorf("no TCP: %v", err)
			}
		})
	}
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func client(t *testing.T, cfg Config) *Client {
	t.Helper()
	c := New(cfg)
	t.Cleanup(c.Close)
	return c
}

func TestACallAndItsAnswer(t *testing.T) {
	t.Parallel()
	var inner *httptest.Server
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, inner.URL, http.StatusTemporaryRedirect)
		case "/large":
			_, _ = io.WriteString(w, strings.Repeat("x", 101))
		case "/cut":
			w.Header().Set("Content-Length", "50")
			_, _ = io.WriteString(w, "x")
		default:
			w.Header().Set("X-Seen", r.Header.Get("X-Case-Id"))
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write(body)
		}
	}))
	t.Cleanup(server.Close)
	inner = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(inner.Close)
	c := client(t, Config{Allow: loopback(), MaxAnswer: 100, Timeout: time.Minute})

	answer, err := c.Post(t.Context(), "acme", server.URL, http.Header{"X-Case-Id": {"7"}}, []byte("hello"))
	if err != nil || answer.Status != http.StatusTeapot || string(answer.Body) != "hello" || answer.Header.Get("X-Seen") != "7" {
		t.Errorf("answered %+v, %v", answer, err)
	}
	if answer, err = c.Post(t.Context(), "acme", server.URL+"/moved", nil, nil); err != nil || answer.Status != http.StatusTemporaryRedirect {
		t.Errorf("moved: %+v, %v", answer, err)
	}
	if _, err = c.Post(t.Context(), "acme", server.URL+"/large", nil, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
	if _, err = c.Post(t.Context(), "acme", server.URL+"/cut", nil, nil); err == nil || errors.Is(err, ErrTooLarge) {
		t.Errorf("cut: %v", err)
	}
}

func TestNothingInsideIsReached(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	t.Cleanup(server.Close)
	c := client(t, Config{MaxAnswer: 100, Timeout: time.Minute})
	for _, to := range []string{
		server.URL,
		strings.Replace(server.URL, "127.0.0.1", "localhost", 1),
		strings.Replace(server.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1),
		strings.Replace(server.URL, "127.0.0.1", "0.0.0.0", 1),
		"file:///etc/passwd", "gopher://127.0.0.1/", "http:///x", "://",
	} {
		_, err := c.Post(t.Context(), "acme", to+"?secret=hunter2", nil, nil)
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", to, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error holds the URL: %v", to, err)
		}
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	c := client(t, Config{Allow: loopback(), MaxAnswer: 100, Timeout: time.Minute})
	if _, err := c.Post(ctx, "acme", server.URL, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Answers are charged to the tenant whose step asked, until they are closed: one tenant's
// leave another's room, and what is not closed is waited for, as long as the call has.
func TestAnswersAreCharged(t *testing.T) {
	t.Parallel()
	const most = 5 << 18 // no power of two times what is read at first
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // so that its length is not known
		_, _ = io.WriteString(w, strings.Repeat("x", most))
	}))
	t.Cleanup(server.Close)
	c := client(t, Config{Allow: loopback(), MaxAnswer: most, Timeout: time.Minute})
	post := func(ctx context.Context, tenant string) *Answer {
		t.Helper()
		answer, err := c.Post(ctx, tenant, server.URL, nil, nil)
		if err != nil || len(answer.Body) != most {
			t.Fatalf("%s: %v", tenant, err)
		}
		return answer
	}
	held := []*Answer{post(t.Context(), "acme"), post(t.Context(), "acme")}
	if got, want := c.memory.Used(), int64(2*perByte*most); got != want {
		t.Errorf("two answers are charged %d bytes, want %d", got, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Post(ctx, "acme", server.URL, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third answer of a tenant: %v", err)
	}
	held = append(held, post(t.Context(), "other"))
	for _, answer := range held {
		answer.Close()
		answer.Close()
	}
	if got := c.memory.Used(); got != 0 {
		t.Errorf("%d bytes are charged when all is closed", got)
	}
}
