package postgrestest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy is a way to a server that can become a black hole.
type Proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	open  *sync.Cond // of mu
	hangs bool
	ended bool
	conns map[net.Conn]bool
}

// NewProxy listens, and goes on to an address, until the test ends.
func NewProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
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
		p.ended = true
		for conn := range p.conns {
			_ = conn.Close()
		}
		p.open.Broadcast()
		p.mu.Unlock()
		work.Wait()
	})
	return p
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Hang has every connection stay open and pass nothing on, or go on.
func (p *Proxy) Hang(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hangs = on
	p.open.Broadcast()
}

// keep has a connection closed with the proxy.
func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.conns[conn] = true
	}
	return !p.ended
}

func (p *Proxy) drop(conn net.Conn) {
	_ = conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

func (p *Proxy) serve(in net.Conn) {
	defer p.drop(in)
	out, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.drop(out)
	if !p.keep(in) || !p.keep(out) {
		return
	}
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		ways.Go(func() {
			_, _ = io.Copy(way[1], gate{p, way[0]}) // either side may end it
			_ = in.Close()
			_ = out.Close()
		})
	}
	ways.Wait()
}

// gate reads of a connection, and passes it on while the proxy does not hang.
type gate struct {
	*Proxy

	from net.Conn
}

// Read implements io.Reader.
func (g gate) Read(b []byte) (int, error) {
	n, err := g.from.Read(b)
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.hangs && !g.ended {
		g.open.Wait()
	}
	return n, err
}
