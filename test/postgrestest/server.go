// Package postgrestest starts PostgreSQL servers for tests, and has them fail.
//
// The programs are Debian's (test/setup.sh brings them). They refuse to run as root,
// so root runs them as the user that the package made.
package postgrestest

import (
	"bytes"
	"context"
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
)

const password = "p@ss/w:rd?#%" // what a URL must encode

// Server is a running PostgreSQL server, which ends with its test.
type Server struct {
	folder    string
	port      int
	run       *process // nil while it is stopped
	databases atomic.Int64
}

// Start makes a server with nothing in it. Its text sorts as people do, unlike Go.
func Start(t *testing.T) *Server {
	t.Helper()
	s := newServer(t)
	secret := filepath.Join(s.folder, "password")
	if err := os.WriteFile(secret, []byte(password), 0o644); err != nil {
		t.Fatal(err)
	}
	s.program(t, "initdb", "--no-sync", "--username=postgres", "--pwfile="+secret, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--pgdata="+s.data())
	s.Start(t)
	return s
}

// newServer makes a folder that the server's user may write to.
func newServer(t *testing.T) *Server {
	t.Helper()
	folder, err := os.MkdirTemp("", "postgrestest") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{folder: folder, port: freePort(t)}
	t.Cleanup(func() {
		s.Stop(t)
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	if c := credential(t); c != nil {
		if err := os.Chown(folder, int(c.Uid), int(c.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// credential is of the user that the server runs as; nil is the test's own.
func credential(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("PostgreSQL is not here: run test/setup.sh: %v", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// command is one of PostgreSQL's programs.
func (s *Server) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		t.Fatalf("PostgreSQL is not here: run test/setup.sh")
	}
	cmd := exec.Command(slices.Max(found), args...)
	cmd.Dir = s.folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "PGPASSWORD=" + password}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential(t)}
	return cmd
}

func (s *Server) program(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := s.command(t, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// process is a program that runs beside the test, and not longer.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	out  bytes.Buffer
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
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
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return p
}

// Start starts a server that was stopped, and waits until it answers.
func (s *Server) Start(t *testing.T) {
	t.Helper()
	s.run = start(t, s.command(t, "postgres", "-D", s.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-k", s.folder,
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300", "-c", "max_wal_senders=4", "-c", "shared_buffers=16MB"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			_ = conn.Close(ctx) // only whether it answers was asked
			return
		}
		select {
		case <-tick.C:
		case <-s.run.done:
			t.Fatalf("PostgreSQL ended: %v\n%s", err, s.run.out.String())
		case <-ctx.Done():
			t.Fatalf("PostgreSQL does not answer: %v", err)
		}
	}
}

// Stop ends the server as a power failure does. A stopped one stays stopped.
func (s *Server) Stop(t *testing.T) {
	t.Helper()
	if s.run == nil {
		return
	}
	if err := s.run.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Error(err)
	}
	<-s.run.done
	s.run = nil
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
	if err := s.Exec(t.Context(), "postgres", statements...); err != nil {
		t.Fatal(err)
	}
	return name
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
	standby := newServer(t)
	standby.program(t, "pg_basebackup", "--no-sync", "--checkpoint=fast", "-R", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port),
		"-U", "postgres", "-D", standby.data())
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
