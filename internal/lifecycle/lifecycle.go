// Package lifecycle starts and stops a process: the signals that end it, the
// HTTP server every binary listens with, and the order of a drain.
//
// The contract is Kubernetes': on SIGTERM stop being ready, finish what was
// begun within the grace period, exit 0. A second signal ends at once.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/modelserveai/modelserve/internal/env"
)

// ParentVariable names a file descriptor that the process inherited, the
// reading end of a pipe its parent never writes to. When the parent dies,
// however it dies, the read ends and the process stops.
const ParentVariable = "MODELSERVE_PARENT_FD"

// ListenVariable names a file descriptor that a function inherited, a bound
// socket to listen on (Inherited) instead of the port in PORT. Whoever hands one
// over knows that nobody else answers there.
const ListenVariable = "MODELSERVE_LISTEN_FD"

// Context ends on SIGTERM, on SIGINT, and with the parent where there is one
// to watch. After the first signal the second has its default effect.
func Context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	fd, err := strconv.Atoi(env.Environ()[ParentVariable])
	if err != nil || fd < 3 {
		return ctx, stop
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the process: a blocked read has no better owner
		_, _ = io.Copy(io.Discard, os.NewFile(uintptr(fd), "parent"))
		cancel()
	}()
	return ctx, func() { cancel(); stop() }
}

// Limits bound what connections may cost.
type Limits struct {
	HeaderBytes       int           // per request
	ReadHeaderTimeout time.Duration // from the connection's first byte
	IdleTimeout       time.Duration // between requests
	Streams           int           // at once on one HTTP/2 connection
	StreamBuffer      int           // bytes of one HTTP/2 upload not yet read
	Crowd             Crowd         // of all connections together
	Drain             Drain         // of what a handler did not read
	Reading           Reading       // by the client, of its answers
}

// DefaultLimits suit requests of tensors and images from clients not trusted.
func DefaultLimits() Limits {
	return Limits{
		HeaderBytes:       256 << 10, // well above what handlers allow, so that theirs is the answer
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       90 * time.Second,
		Streams:           250,
		StreamBuffer:      256 << 10, // on loopback as fast as 1 MiB, and twice as fast as half of it
		// Four times the largest body that is taken by default, in the time that a
		// client may keep one waiting.
		Drain: Drain{Bytes: 128 << 20, Time: 30 * time.Second, Idle: 4 * time.Second, Most: 256},
		// What a client may take for its body, it may take for its answer.
		Reading: Reading{Wait: 30 * time.Second, Rate: 16 << 10},
	}
}

// NewServer makes the server that listens on PORT: HTTP/1.1 and HTTP/2
// without TLS by prior knowledge (h2c), which Knative and gRPC use.
//
// A handler may answer without reading the body, and read it while it answers:
// what it leaves is drained. Of HTTP/1 it sees the end of the body for as long
// as it asks, whatever the answer's state.
func NewServer(handler http.Handler, limits Limits) *http.Server {
	drains := &drainer{next: handler, bounds: limits.Drain, reading: limits.Reading}
	stopping, stop := context.WithCancel(context.Background())
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:           drains.handler(stopping),
		ConnContext:       withConnection(limits.Reading, newCrowd(limits.Crowd)),
		MaxHeaderBytes:    limits.HeaderBytes,
		ReadHeaderTimeout: limits.ReadHeaderTimeout,
		IdleTimeout:       limits.IdleTimeout,
		Protocols:         protocols,
		// OPTIONS * is answered like any other request, not past the handler.
		DisableGeneralOptionsHandler: true,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:      limits.Streams,
			MaxReceiveBufferPerStream: limits.StreamBuffer,
			// A body that nobody reads yet holds up no other's of the same connection, which
			// may be a proxy's, and so everybody's. Handlers count what their requests hold.
			MaxReceiveBufferPerConnection: max(limits.Streams, 1) * limits.StreamBuffer,
			MaxReadFrameSize:              limits.StreamBuffer, // smaller ones take a tenth more of the processor
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
		},
	}
	server.RegisterOnShutdown(stop)
	return server
}

// Serve answers on listener, as Listener has it, until ctx ends, then drains: drain is called
// first, so that readiness fails while the port still answers, then the server
// takes no new request and finishes what it has within grace. What is still
// running then is cut off, and the error reports it.
func Serve(ctx context.Context, server *http.Server, listener net.Listener, grace time.Duration, drain func()) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(Listener(listener)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	if drain != nil {
		drain()
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(stopping)
	if err != nil {
		err = fmt.Errorf("drain %s within %v: %w", listener.Addr(), grace, err)
		_ = server.Close()
	}
	if serveErr := <-failed; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}
