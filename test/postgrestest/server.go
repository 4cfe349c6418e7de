// Package postgrestest starts PostgreSQL servers for tests and benchmarks, and has
// them fail.
//
// The programs are Debian's (test/setup.sh brings them). They refuse to run as root,
// so root runs them as the user that the package made.
package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/modelserveai/modelserve/internal/freeport"
)

const password = "p@ss/w:rd?#%" // what a URL must encode

// Server is a running PostgreSQL server.
type Server struct {
	folder    string
	user      *syscall.Credential // that it runs as; nil is this process's own
	port      int
	run       *process // nil while it is stopped
	databases atomic.Int64
}

// Start makes a server with nothing in it, which ends with its test.
func Start(t *testing.T) *Server {
	t.Helper()
	s, err := Run(t.Context())
	return s.until(t, err)
}

// Run makes a server with nothing in it, for who is no test: they Close it. Its text
// sorts as people do, unlike Go.
func Run(ctx context.Context) (*Server, error) {
	s, err := newServer()
	if err != nil {
		return nil, err
	}
	secret := filepath.Join(s.folder, "password")
	if err := os.WriteFile(secret, []byte(password), 0o644); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	err = s.program("initdb", "--no-sync", "--username=postgres", "--pwfile="+secret, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--pgdata="+s.data())
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// until has a server end with its test, which ends where there is none.
func (s *Server) until(t *testing.T, err error) *Server {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Close stops the server, and leaves nothing of it.
func (s *Server) Close() error { return errors.Join(s.stop(), os.RemoveAll(s.folder)) }

// newServer makes a folder that the server's user may write to.
func newServer() (*Server, error) {
	folder, err := os.MkdirTemp("", "postgrestest") // a test's own is too long for a socket
	if err != nil {
		return nil, err
	}
	s := &Server{folder: folder}
	if s.user, err = credential(); err == nil && s.user != nil {
		err = os.Chown(folder, int(s.user.Uid), int(s.user.Gid))
	}
	if err == nil {
		s.port, err = freeport.Find(context.Background())
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// credential is of the user that the server runs as; nil is this process's own.
func credential() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil //nolint:nilnil // the process's own
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL is not here: run test/setup.sh: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// command is one of PostgreSQL's programs.
func (s *Server) command(name string, args ...string) (*exec.Cmd, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return nil, errors.New("PostgreSQL is not here: run test/setup.sh")
	}
	cmd := exec.Command(slices.Max(found), args...)
	cmd.Dir = s.folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "PGPASSWORD=" + password}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	return cmd, nil
}

func (s *Server) program(name string, args ...string) error {
	cmd, err := s.command(name, args...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// process is a program that runs beside this one, and not longer.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	out  bytes.Buffer
}

func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	ends(cmd)
	started := make(chan error)
	go func() {
		defer close(p.done)
		runtime.LockOSThread() // what ends the program is the end of the thread that started it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is stopped
		}
	}()
	return p, <-started
}

// Start starts a server that was stopped, and waits until it answers.
func (s *Server) Start(t *testing.T) {
	t.Helper()
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) start(ctx context.Context) error {
	cmd, err := s.command("postgres", "-D", s.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-k", s.folder,
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300", "-c", "max_wal_senders=4", "-c", "shared_buffers=16MB")
	if err != nil {
		return err
	}
	run, err := start(cmd)
	if err != nil {
		return err
	}
	s.run = run
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			_ = conn.Close(ctx) // only whether it answers was asked
			return nil
		}
		select {
		case <-tick.C:
		case <-s.run.done:
			return fmt.Errorf("PostgreSQL ended: %w\n%s", err, s.run.out.String())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		}
	}
}

// Stop ends the server as a power failure does. A stopped one stays stopped.
func (s *Server) Stop(t *testing.T) {
	t.Helper()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

func (s *Server) stop() error {
	if s.run == nil {
		return nil
	}
	err := s.run.cmd.Process.Signal(syscall.SIGQUIT)
	<-s.run.done
	s.run = nil
	return err
}

// Freeze has every process of the server stand still, as on a machine that hangs: its
// connections stay open, new ones are taken by the kernel, and nothing answers. It goes
// on by Thaw, or at the end of the test.
func (s *Server) Freeze(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { s.Thaw(t) })
	s.signal(t, syscall.SIGSTOP)
}

// Thaw has a frozen server go on.
func (s *Server) Thaw(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGCONT)
}

// signal sends a signal to the server's first process, which starts no other while it
// is stopped, and then to those that it has started.
func (s *Server) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	first := s.run.cmd.Process.Pid
	if err := syscall.Kill(first, signal); err != nil {
		t.Fatal(err)
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		var parent int
		var state byte
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		if _, err := fmt.Sscanf(string(rest), "%c %d", &state, &parent); err != nil || parent != first {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
}

// Address is the server's host and port.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is that of a database.
func (s *Server) URL(database string) string { return URL(s.Address(), database) }

// URL is that of a database at addresses, separated by commas.
func URL(addresses, database string) string {
	return (&url.URL{Scheme: "postgres", User: url.UserPassword("postgres", password), Host: addresses, Path: database, RawQuery: "sslmode=disable"}).String()
}

// Password is what no log and no error may have.
func Password() string { return password }

// Exec runs statements in a database.
func (s *Server) Exec(ctx context.Context, database string, statements ...string) error {
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// Database makes a database, empty or a copy of another, and returns its name. A
// copy ends the other's connections.
func (s *Server) Database(t *testing.T, of string) string {
	t.Helper()
	name, err := s.NewDatabase(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// NewDatabase is Database for who is no test.
func (s *Server) NewDatabase(ctx context.Context, of string) (string, error) {
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	statements := []string{"CREATE DATABASE " + name}
	if of != "" {
		statements = []string{
			fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS false", of), // nobody comes between
			fmt.Sprintf("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '%s'", of),
			fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, of),
			fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS true", of),
		}
	}
	return name, s.Exec(ctx, "postgres", statements...)
}

// ReadOnly has the server refuse writes, or take them again.
func (s *Server) ReadOnly(t *testing.T, on bool) {
	t.Helper()
	err := s.Exec(t.Context(), "postgres", "SET default_transaction_read_only = off",
		fmt.Sprintf("ALTER SYSTEM SET default_transaction_read_only = %v", on), "SELECT pg_reload_conf()")
	if err != nil {
		t.Fatal(err)
	}
}

// Standby starts a server that follows this one.
func (s *Server) Standby(t *testing.T) *Server {
	t.Helper()
	standby, err := newServer()
	standby.until(t, err)
	err = standby.program("pg_basebackup", "--no-sync", "--checkpoint=fast", "-R", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port),
		"-U", "postgres", "-D", standby.data())
	if err != nil {
		t.Fatal(err)
	}
	standby.Start(t)
	return standby
}

// Promote has a standby be a primary.
func (s *Server) Promote(t *testing.T) {
	t.Helper()
	if err := s.Exec(t.Context(), "postgres", "SELECT pg_promote(true, 60)"); err != nil {
		t.Fatal(err)
	}
}
