package netfault_test

import (
	"bufio"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/test/netfault"
)

// echo is a server that answers each line with its name and the line.
func echo(t *testing.T, name string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if _, err := conn.Write([]byte(name + " " + lines.Text() + "\n")); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
	})
	return l.Addr().String()
}

// client is a connection that sends lines and reads the answers.
type client struct {
	*testing.T

	conn  net.Conn
	lines *bufio.Scanner
}

func dial(t *testing.T, p *netfault.Proxy) client {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return client{t, conn, bufio.NewScanner(conn)}
}

func (c client) send(line string) {
	c.Helper()
	if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
		c.Fatal(err)
	}
}

func (c client) reads(want string) {
	c.Helper()
	if !c.lines.Scan() || c.lines.Text() != want {
		c.Fatalf("read %q, %v, want %q", c.lines.Text(), c.lines.Err(), want)
	}
}

// silent holds that nothing comes for a moment.
func (c client) silent() {
	c.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		c.Fatal(err)
	}
	if n, err := c.conn.Read(make([]byte, 1)); n > 0 || err == nil {
		c.Fatal("something came")
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		c.Fatal(err)
	}
}

func TestWhatHangsArrivesLate(t *testing.T) {
	t.Parallel()
	p := netfault.NewProxy(t, echo(t, "a"))
	before := dial(t, p)
	before.send("1")
	before.reads("a 1")
	p.Hang(true)
	during := dial(t, p)
	before.send("2")
	during.send("3")
	before.silent()
	during.silent()
	p.Hang(false)
	before.reads("a 2")
	during.reads("a 3")
}

func TestADelayKeepsTheOrder(t *testing.T) {
	t.Parallel()
	p := netfault.NewProxy(t, echo(t, "a"))
	p.Delay(5 * time.Millisecond)
	c := dial(t, p)
	for _, line := range []string{"1", "2", "3"} {
		c.send(line)
	}
	p.Delay(0)
	c.send("4")
	for _, line := range []string{"1", "2", "3", "4"} {
		c.reads("a " + line)
	}
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	p := netfault.NewProxy(t, echo(t, "a"))
	before := dial(t, p)
	before.send("1")
	before.reads("a 1")
	p.Redirect(echo(t, "b"))
	if before.lines.Scan() {
		t.Errorf("what was open still answers: %q", before.lines.Text())
	}
	after := dial(t, p)
	after.send("2")
	after.reads("b 2")
}

func TestAServerThatIsGone(t *testing.T) {
	t.Parallel()
	p := netfault.NewProxy(t, "127.0.0.1:1")
	if c := dial(t, p); c.lines.Scan() {
		t.Errorf("somebody answers: %q", c.lines.Text())
	}
}

// TestNothingIsWaitedForAtTheEnd holds that what hangs or is on its way keeps no test
// from ending.
func TestNothingIsWaitedForAtTheEnd(t *testing.T) {
	t.Parallel()
	p := netfault.NewProxy(t, echo(t, "a"))
	slow := dial(t, p)
	p.Delay(24 * time.Hour)
	slow.send("1")
	p.Hang(true)
	dial(t, p).send("2")
}
