// Package keyvalue is the local platform's Redis: miniredis on loopback, behind a
// password, whose strings are kept in a folder.
//
// It is for one platform on one machine, and is no Redis for anything else:
//
//   - What is kept are the strings of database 0, each with its end: once a second where
//     something was written, more rarely with many keys, and by Close. A process that is
//     killed loses what was written since. All other types, such as the sorted sets of who
//     holds a place of concurrency, end with the process.
//   - Lifetimes run in steps of a quarter of a second, longer ones with many keys, also
//     while the process does not run: a key may end a step too early or too late. TIME and
//     the ends of lifetimes are of the machine's clock.
//   - From 100,000 keys on it refuses, as a Redis does that has no more memory
//     (maxmemory-policy noeviction), whatever may add one, until some have ended. Each
//     key that ever was costs some hundred bytes as long as the process runs, since
//     miniredis counts its changes.
//   - Of Lua it has no bit, struct and cmsgpack, and tostring writes a number in its
//     shortest form, Redis with 14 digits: scripts say string.format('%.17g', …).
//   - It is no cluster; hash tags are taken and mean nothing.
package keyvalue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

const (
	step      = 250 * time.Millisecond // of lifetimes
	interval  = time.Second            // from one save to the next
	rest      = 4                      // what a step takes, it rests so many times as long
	saveRest  = 20                     // and a save
	mostKeys  = 100_000
	retryPass = 100 * time.Millisecond // from a connection that could not be accepted to the next
)

// Store is an open folder served as Redis on loopback.
type Store struct {
	URL string // redis://default:PASSWORD@127.0.0.1:PORT, a secret

	path     string // of the file
	password string
	logger   *slog.Logger
	most     int
	redis    *miniredis.Miniredis
	server   *server.Server
	listener net.Listener
	cancel   context.CancelFunc
	work     sync.WaitGroup
	closing  sync.Once
	closed   error // of Close

	written atomic.Bool // something was, since the last save
	full    atomic.Bool // nothing may be added

	ran    time.Time // until when lifetimes have run
	due    time.Time // when the next save is, by the monotonic clock
	failed bool      // the last save did
}

// Open reads dir, creating it if it is not there, and serves it on a free port of
// 127.0.0.1 until Close. Whoever opens it sees to it that nobody else has it open. A
// file that is damaged is set aside, and logged.
func Open(ctx context.Context, dir string, logger *slog.Logger) (*Store, error) {
	return open(ctx, dir, logger, mostKeys)
}

func open(ctx context.Context, dir string, logger *slog.Logger, most int) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the local Redis: %w", err)
	}
	s := &Store{path: filepath.Join(dir, "strings.json"), password: rand.Text(), logger: logger, most: most, redis: miniredis.NewMiniRedis()}
	if err := s.serve(ctx); err != nil {
		return nil, fmt.Errorf("open the local Redis: %w", err)
	}
	s.URL = (&url.URL{Scheme: "redis", User: url.UserPassword("default", s.password), Host: s.listener.Addr().String()}).String()
	return s, nil
}

// serve reads the file, and starts what Close ends.
func (s *Store) serve(ctx context.Context) error {
	s.ran = now()
	if err := s.load(s.ran); err != nil {
		return err
	}
	s.redis.RequireAuth(s.password)
	first, err := s.redis.Dial() // starts it, and without a listener of its own
	if err != nil {
		return fmt.Errorf("start miniredis: %w", err)
	}
	_ = first.Close() // nothing was asked
	s.server = s.redis.Server()
	s.server.SetPreHook(s.before)
	if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		s.redis.Close()
		return fmt.Errorf("listen: %w", err)
	}
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.work.Go(func() { s.accept(ctx) })
	s.work.Go(func() { s.run(ctx) })
	return nil
}

// Close stops serving and keeps what there is. A second Close does nothing, and returns
// the same.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.cancel()
		_ = s.listener.Close() // nobody has to know
		s.work.Wait()
		s.redis.Close()
		at := now()
		s.expire(at)
		if err := s.save(at); err != nil {
			s.closed = fmt.Errorf("keep the local Redis: %w", err)
		}
	})
	return s.closed
}

// accept lets in who has the password.
func (s *Store) accept(ctx context.Context) {
	for {
		conn, err := s.listener.Accept()
		switch {
		case err == nil:
			s.work.Go(func() { s.admit(ctx, conn) })
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default: // such as too many open files
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryPass):
			}
		}
	}
}

// run has lifetimes end, and keeps what is written. Both hold commands up, and take a
// bounded share of the time however many keys there are.
func (s *Store) run(ctx context.Context) {
	timer := time.NewTimer(step)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		s.expire(now())
		if s.full.Load() || s.written.Load() {
			s.full.Store(len(s.redis.DB(0).Keys()) >= s.most)
		}
		took := time.Since(began)
		s.keep(ctx)
		timer.Reset(max(step, rest*took))
	}
}

// keep saves where something was written and it is time.
func (s *Store) keep(ctx context.Context) {
	began := time.Now()
	if began.Before(s.due) || !s.written.Swap(false) {
		return
	}
	err := s.save(s.ran)
	s.due = time.Now().Add(max(interval, saveRest*time.Since(began)))
	if err != nil {
		s.written.Store(true)
	}
	switch {
	case err != nil && !s.failed:
		s.logger.WarnContext(ctx, "the local Redis is not kept: counts since then are lost with the process", "error", err)
	case err == nil && s.failed:
		s.logger.InfoContext(ctx, "the local Redis is kept again")
	}
	s.failed = err != nil
}

// expire has lifetimes run until at. A clock that was put back runs none down.
func (s *Store) expire(at time.Time) {
	if passed := at.Sub(s.ran); passed > 0 {
		s.redis.FastForward(passed)
	}
	s.ran = at
}

// now is the time of the machine's clock alone, which goes on while the machine sleeps.
func now() time.Time { return time.Now().Round(0) }

// before is what miniredis asks before each command, a script's included. It reports
// whether the command is answered.
func (s *Store) before(peer *server.Peer, command string, _ ...string) bool {
	if !s.writes(command) {
		return false
	}
	if s.full.Load() && !frees(command) {
		peer.WriteError("OOM command not allowed when used memory > 'maxmemory'.")
		return true
	}
	s.written.Store(true)
	return false
}

// writes reports whether a command, in capital letters, may change a key.
func (s *Store) writes(command string) bool {
	switch command {
	case "EVAL", "EVALSHA", "SCRIPT", "TIME", // what a script does, it does by commands
		"AUTH", "HELLO", "CLIENT", "SELECT", "PING", "ECHO", "QUIT", "COMMAND", "INFO", "CLUSTER", "MEMORY", "OBJECT", "WAIT",
		"MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "PUBLISH", "PUBSUB":
		return false
	}
	return !s.server.IsReadOnlyCommand(command)
}

// frees reports whether a command adds nothing.
func frees(command string) bool {
	switch command {
	case "DEL", "UNLINK", "FLUSHALL", "FLUSHDB", "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "ZREM", "ZREMRANGEBYSCORE", "HDEL", "SREM":
		return true
	}
	return false
}
