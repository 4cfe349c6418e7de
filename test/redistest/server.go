// Package redistest starts Redis servers for tests and benchmarks, alone, with a
// replica or as a cluster, and has them fail. What lies between them and their callers
// fails by test/netfault.
//
// The program is Debian's (test/setup.sh brings it).
package redistest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/local/process"
)

// patience bounds the wait for anything.
const patience = time.Minute

// Server is a Redis server, which runs or was stopped. One goroutine at a time uses it.
type Server struct {
	Addr     string // host:port
	Password string // of the user "default"; what no log and no error may have

	folder  string // its own: the configuration, the program, the data
	bus     string // the port of a cluster's members among themselves; "" is alone
	spawner *process.Spawner
	run     *process.Process // nil while it is stopped
	client  *redis.Client
}

// Start runs a server with nothing in it, which ends with its test.
func Start(t *testing.T) *Server {
	t.Helper()
	s, err := Run(t.Context())
	until(t, s, err)
	return s
}

// StartReplicated runs a server, and a replica that has caught up with it and follows.
func StartReplicated(t *testing.T) (primary, replica *Server) {
	t.Helper()
	primary = Start(t)
	replica, err := newServer(primary.Password)
	until(t, replica, err)
	host, port, _ := net.SplitHostPort(primary.Addr) // it is one
	err = replica.configure("replicaof " + host + " " + port)
	if err == nil {
		err = replica.start(t.Context())
	}
	if err == nil {
		err = replica.synced(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return primary, replica
}

// Run runs a server with nothing in it, for who is no test: they Close it.
func Run(ctx context.Context) (*Server, error) {
	s, err := newServer("p@ss/w:rd?#%" + rand.Text()) // what a URL must encode
	if err != nil {
		return nil, err
	}
	if err = s.configure(); err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// until has a server or a cluster end with its test, which ends where there is none.
func until(t *testing.T, s interface{ Close() error }, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// newServer is a server that was never started.
func newServer(password string) (*Server, error) {
	folder, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return nil, err
	}
	s := &Server{Password: password, folder: folder}
	if s.Addr, err = freeAddress(); err == nil {
		s.spawner, err = process.NewSpawner()
	}
	if err == nil {
		err = s.link()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.client = redis.NewClient(&redis.Options{Addr: s.Addr, Password: password, DisableIdentity: true})
	return s, nil
}

// link has the program in the folder by its name. In Debian's redis-tools, which unlike
// redis-server starts nothing when it is installed, it is there by another.
func (s *Server) link() error {
	for _, name := range []string{"redis-server", "redis-check-rdb"} {
		if path, err := exec.LookPath(name); err == nil {
			return os.Symlink(path, s.program())
		}
	}
	return errors.New("no redis-server is here: run test/setup.sh")
}

func (s *Server) program() string { return filepath.Join(s.folder, "redis-server") }

// freeAddress is a free port of a loopback address that, on Linux, nobody else has: so
// it is still free when the server is started again.
func freeAddress() (string, error) {
	own := fmt.Sprintf("127.%d.%d.%d:0", 1+mathrand.N(254), mathrand.N(255), 1+mathrand.N(254))
	l, err := net.Listen("tcp", own)
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// configure writes the server's configuration. Every write is in the append-only file
// before it is answered, so that only the machine's end loses one.
func (s *Server) configure(more ...string) error {
	host, port, _ := net.SplitHostPort(s.Addr) // it is one
	lines := append([]string{
		"bind " + host, "port " + port, "dir " + s.folder, "daemonize no",
		`requirepass "` + s.Password + `"`, `masterauth "` + s.Password + `"`,
		`save ""`, "appendonly yes", "appendfsync no",
		"repl-diskless-sync yes", "repl-diskless-sync-delay 0", "enable-debug-command local",
	}, more...)
	return os.WriteFile(s.configuration(), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (s *Server) configuration() string { return filepath.Join(s.folder, "redis.conf") }

// start starts a server that does not run, and waits until it answers.
func (s *Server) start(ctx context.Context) error {
	run, err := s.spawner.Start(process.Command{Path: s.program(), Args: []string{s.configuration()}, Dir: s.folder})
	if err != nil {
		return err
	}
	s.run = run
	return s.await(ctx, "answer", func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr)
		if err != nil {
			return err // the client would log it
		}
		_ = conn.Close() // only whether it is taken was asked
		return s.client.Ping(ctx).Err()
	})
}

// await asks until there is no error.
func (s *Server) await(ctx context.Context, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.run.Done():
			return fmt.Errorf("the server ended before it could %s: %w", what, s.ended())
		case <-ctx.Done():
			return fmt.Errorf("the server at %s does not %s: %w", s.Addr, what, err)
		}
	}
}

// ended is why a server ended, with what it wrote last.
func (s *Server) ended() error {
	var end *process.End
	if errors.As(s.run.Err(), &end) {
		return fmt.Errorf("%w: %s", end, end.LastLine())
	}
	return s.run.Err()
}

// synced waits until a replica has all that its primary had.
func (s *Server) synced(ctx context.Context) error {
	return s.await(ctx, "follow its primary", func(ctx context.Context) error {
		info, err := s.client.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = errors.New(info)
		}
		return err
	})
}

// URL is the server's, with the user and the password.
func (s *Server) URL() string {
	return (&url.URL{Scheme: "redis", User: url.UserPassword("default", s.Password), Host: s.Addr}).String()
}

// Client is what a test looks at the server with, by itself. It ends with the server.
func (s *Server) Client() *redis.Client { return s.client }

// Kill ends the server as a crash does. A stopped one stays stopped.
func (s *Server) Kill(t *testing.T) {
	t.Helper()
	s.kill()
}

func (s *Server) kill() {
	if s.run == nil {
		return
	}
	s.run.Kill()
	<-s.run.Done()
	s.run = nil
}

// Restart starts the server again, at its address and with its data, and ends it before
// where it runs.
func (s *Server) Restart(t *testing.T) {
	t.Helper()
	s.kill()
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Pause has the server stand still, as on a machine that hangs: its connections stay
// open, new ones are taken by the kernel, and nothing answers. It goes on by Resume; what
// is paused can be killed.
func (s *Server) Pause(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
}

// Resume has a paused server go on.
func (s *Server) Resume(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGCONT)
}

func (s *Server) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if s.run == nil {
		t.Fatalf("the server at %s does not run", s.Addr)
	}
	if err := syscall.Kill(s.run.PID(), signal); err != nil {
		t.Fatal(err)
	}
}

// Promote has a replica be a primary.
func (s *Server) Promote(t *testing.T) {
	t.Helper()
	if err := s.client.ReplicaOf(t.Context(), "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
}

// Close ends the server, and leaves nothing of it.
func (s *Server) Close() error {
	s.kill()
	var faults []error
	if s.client != nil {
		faults = append(faults, s.client.Close())
	}
	if s.spawner != nil {
		faults = append(faults, s.spawner.Close())
	}
	return errors.Join(append(faults, os.RemoveAll(s.folder))...)
}
