// Package netfault is a network that fails, for tests: a way to a server that becomes
// a black hole, slow, or the way to another server.
//
// It is not a proxy for anything else: what it holds back, it holds in memory.
package netfault

import (
	"net"
	"sync"
	"testing"
	"time"
)

// inFlight is how many reads of one direction are on their way at once. A sender who
// is further ahead waits.
const inFlight = 256

// Proxy is a way to a server. Its methods may be called at any time.
type Proxy struct {
	listener net.Listener

	mu     sync.Mutex
	open   *sync.Cond // of mu
	target string
	delay  time.Duration
	hangs  bool
	conns  map[net.Conn]bool
	ended  chan struct{} // closed with the test
}

// NewProxy listens on a port of its own, and goes on to an address, until the test ends.
func NewProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]bool{}, ended: make(chan struct{})}
	p.open = sync.NewCond(&p.mu)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		close(p.ended)
		p.cut()
		p.open.Broadcast()
		p.mu.Unlock()
		work.Wait()
	})
	return p
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Hang has every connection stay open and pass nothing on, as a network that loses
// every packet; new ones are accepted, and what is sent is read. Hang(false) passes it
// on, late.
func (p *Proxy) Hang(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hangs = on
	p.open.Broadcast()
}

// Delay has what is sent from now on arrive so much later, each way.
func (p *Proxy) Delay(each time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = each
}

// Redirect breaks the connections that are open, and leads new ones to another address,
// as a name does that a failover has moved.
func (p *Proxy) Redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
	p.cut()
}

// cut breaks what is open. The caller holds mu.
func (p *Proxy) cut() {
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// keep has a connection closed with the proxy.
func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over() {
		return false
	}
	p.conns[conn] = true
	return true
}

// over reports whether the test has ended. The caller holds mu.
func (p *Proxy) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *Proxy) drop(conn net.Conn) {
	_ = conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

func (p *Proxy) serve(in net.Conn) {
	defer p.drop(in)
	if !p.keep(in) {
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer p.drop(out)
	if !p.keep(out) {
		return
	}
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		ways.Go(func() {
			p.pass(way[0], way[1]) // either side may end it
			_ = in.Close()
			_ = out.Close()
		})
	}
	ways.Wait()
}

// chunk is what one read gave.
type chunk struct {
	data []byte
	due  time.Time // when it arrives
}

// pass carries one direction until either end is closed.
func (p *Proxy) pass(from, to net.Conn) {
	way := make(chan chunk, inFlight)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(way)
		for {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			if n > 0 {
				way <- chunk{b[:n], p.due()}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range way {
		p.arrive(c.due)
		if _, err := to.Write(c.data); err != nil {
			break
		}
	}
	_ = from.Close()
	for range way { // what nobody takes any more
	}
	reading.Wait()
}

func (p *Proxy) due() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.delay)
}

// arrive returns when what is due then may be passed on.
func (p *Proxy) arrive(due time.Time) {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ended:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.hangs && !p.over() {
		p.open.Wait()
	}
}
