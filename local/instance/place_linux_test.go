package instance

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// TestAHandedPortIsNobodyElses holds that only who has the socket answers on its
// port, while it is handed over, after its end too. It runs before the tests that
// are parallel: a process that one of these starts has every socket of this one,
// until it runs its program.
func TestAHandedPortIsNobodyElses(t *testing.T) {
	p := &ports{taken: map[int]bool{}}
	at, socket, err := p.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	alone := func(when string) {
		t.Helper()
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addressOf(at.handed))
		if err == nil {
			l.Close()
			t.Errorf("another listens there %s", when)
		}
	}
	closed := func(when string) {
		t.Helper()
		if c, err := at.dial(t.Context(), "tcp", addressOf(at.handed)); err == nil {
			c.Close()
			t.Errorf("somebody answers there %s", when)
		}
	}
	alone("at first")
	closed("at first")
	fd, err := unix.Dup(int(socket.Fd())) // as a process inherits it
	if err != nil {
		t.Fatal(err)
	}
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	alone("while it starts")
	l, err := lifecycle.Inherited(fd)
	if err != nil {
		t.Fatal(err)
	}
	alone("while it runs")
	if port, err := at.find(t.Context(), time.Minute); port != at.handed || err != nil || at.address() != l.Addr().String() {
		t.Errorf("found at %d, %v; want %v", port, err, l.Addr())
	}
	if c, err := at.dial(t.Context(), "tcp", at.address()); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	alone("when it has ended")
	closed("when it has ended")
	if port, err := at.find(t.Context(), time.Minute); port != at.handed || err != nil {
		t.Errorf("looked for elsewhere, at %d: %v", port, err)
	}
	at.release()
	if len(p.taken) > 0 {
		t.Errorf("still taken: %v", p.taken)
	}
	again, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addressOf(at.handed))
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// TestAPortThatIsOpenedIsFound holds that a function that opens PORT itself is
// found there.
func TestAPortThatIsOpenedIsFound(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1", "0.0.0.0", "[::]"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			at, socket, err := (&ports{taken: map[int]bool{}}).take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			defer at.release()
			_, port, _ := net.SplitHostPort(addressOf(at.own))
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address+":"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if got, err := at.find(t.Context(), time.Minute); got != at.own || err != nil {
				t.Fatalf("found at %d, %v", got, err)
			}
			c, err := at.dial(t.Context(), "tcp", at.address())
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
	}
}

// TestTheUsersThatListenAreKnown holds what is read of the kernel's table, and
// that a port which nobody listens on is not ready.
func TestTheUsersThatListenAreKnown(t *testing.T) {
	t.Parallel()
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 111 1 0 100 0 0 10 0
   1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65534        0 112 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000 65534        0 113 1 0 20 4 30 10 -1
   3: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 114
`
	path := filepath.Join(t.TempDir(), "tcp")
	if err := os.WriteFile(path, []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	for port, want := range map[int][]int{8080: {1000, 0}, 8081: {65534}, 8082: nil} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := listeners(f, port)
		f.Close()
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%d: %v, %v; want %v", port, got, err, want)
		}
	}
	for name, tc := range map[string]struct {
		owners []int
		want   string
	}{
		"us":             {[]int{7}, ""},
		"us twice":       {[]int{7, 7}, ""},
		"nobody":         {nil, "nothing listens"},
		"another":        {[]int{65534}, "a program of another user (uid 65534) listens on its port 8080"},
		"us and another": {[]int{7, 65534}, "uid 65534"},
	} {
		err := judge(tc.owners, 7, 8080)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	at, socket, err := (&ports{taken: map[int]bool{}}).take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	defer at.release()
	if port, err := at.find(t.Context(), time.Minute); !errors.Is(err, errNotYet) {
		t.Errorf("found at %d, %v", port, err)
	}
}
