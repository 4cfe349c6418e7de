package serve

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/internal/wellknown"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Config is what a Server needs. Backend and Repository are required.
type Config struct {
	Backend    Backend
	Repository Repository

	// Function is the function's name: the type of its answering events, and the
	// model its Codec runs unless Model names another.
	Function string

	// Codec answers native payloads and CloudEvents; without one the server
	// serves V2 only.
	Codec Codec

	// Model is the name of the model that Codec runs, the newest or stable
	// version it has.
	Model string

	// Version is the server's own, for the metadata.
	Version string

	// Open opens the {"ref": "s3://…"} of native payloads and the dataref of
	// events for the tenant that calls: the one that a request names which shows by
	// Secret or GatewaySecret that it comes from the gateway, "" for every other. It
	// refuses what is outside that tenant's inputs, and every ref where there is no
	// tenant. Its errors name the field that the ref is in. Without one every ref is
	// refused.
	Open func(ctx context.Context, tenant, field, ref string) (io.ReadCloser, error)

	// Sink takes the answers to events in place of their senders; nil answers the
	// senders themselves.
	Sink func(ctx context.Context, answer event.Event) error

	// Tickets verifies what the events of a pipeline's steps are trusted by. Without it
	// every plan is refused.
	Tickets *ticket.Verifier

	// Store keeps a value of a pipeline's execution under a key below payloads/ and
	// returns its address, s3://…. Without it outputs are those that an event holds.
	Store func(ctx context.Context, key, contentType string, data []byte) (ref string, err error)

	// Secret, when set, is what each request but for health must bring in
	// infer.SecretHeader: where others could reach the port, it shows that a request has
	// passed the gateway.
	Secret string

	// GatewaySecret, when set, is what requests of the gateway bring in
	// infer.SecretHeader. Others are answered too, as where events come from
	// elsewhere, and are not believed whose tenant they are.
	GatewaySecret string

	// Large runs what takes long of large requests: decompressing and decoding them, and
	// encoding their answers. nil is where the others run.
	Large *nice.Threads

	// Health is what the health calls report; nil is a server always ready.
	Health *Health

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nowhere
	Limits     Limits
}

// Limits bound what requests may take. Zero values take the defaults.
type Limits struct {
	// MaxBody bounds each body, after decompression, and each gRPC message, in
	// bytes; 32 MiB.
	MaxBody int64

	// Inflight bounds what all requests hold at one time, in bytes: bodies, what they
	// are decoded into, what codecs reserve, and answers until they are written;
	// 512 MiB. A tenant has half of it at most. A request that does not fit waits for
	// InflightWait, one second, and is then refused with a Retry-After. Below 0 there
	// is no bound.
	Inflight     int64
	InflightWait time.Duration

	// BodyTimeout bounds how long a client may keep a body waiting; 30 s, and a
	// second more for each 16 KiB that have come.
	BodyTimeout time.Duration

	// StreamInflight bounds the requests of one gRPC stream that are read but
	// not answered; 8.
	StreamInflight int
}

// bodiesEach is how many times its length a body of raw tensors takes at most:
// read, in the buffer of the RPC library, which doubles, decoded, and copied for a
// run with others.
const bodiesEach = 6

func (l Limits) withDefaults() Limits {
	if l.MaxBody <= 0 {
		l.MaxBody = 32 << 20
	}
	if l.Inflight == 0 {
		l.Inflight = 512 << 20
	}
	if l.Inflight > 0 {
		l.Inflight = max(l.Inflight, 2*bodiesEach*l.MaxBody) // or a body within its bound could never be answered
	}
	if l.InflightWait <= 0 {
		l.InflightWait = time.Second
	}
	if l.BodyTimeout <= 0 {
		l.BodyTimeout = 30 * time.Second
	}
	if l.StreamInflight <= 0 {
		l.StreamInflight = 8
	}
	return l
}

// Server is the http.Handler of a function's public port: HTTP/1.1 and, for
// gRPC, HTTP/2 (h2c).
type Server struct {
	cfg     Config
	inputs  *expressions // of plans
	memory  *memory.Account
	metrics *metrics
	rest    http.Handler
	grpc    http.Handler
	gzips   sync.Pool // of *gzip.Writer, which are large
	zlibs   sync.Pool // of *zlib.Writer
}

// New makes a Server. It fails when Config lacks something, or a metric of the
// same name is already registered.
func New(cfg Config) (*Server, error) {
	if cfg.Backend == nil || cfg.Repository == nil {
		return nil, errors.New("serve: a Backend and a Repository are required")
	}
	if cfg.Codec != nil && cfg.Function == "" {
		return nil, errors.New("serve: a Codec needs a Function name")
	}
	if cfg.Model == "" {
		cfg.Model = cfg.Function
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Health == nil {
		cfg.Health = new(Health)
	}
	if cfg.Open == nil {
		cfg.Open = func(context.Context, string, string, string) (io.ReadCloser, error) {
			return nil, problem.New(problem.InvalidArgument, "refs are not configured here: send the bytes themselves")
		}
	}
	cfg.Limits = cfg.Limits.withDefaults()
	account := memory.New(cfg.Limits.Inflight, cfg.Limits.InflightWait)
	m, err := newMetrics(cfg.Registerer, account)
	if err != nil {
		return nil, fmt.Errorf("serve: register metrics: %w", err)
	}
	inputs, err := newExpressions(int(cfg.Limits.MaxBody))
	if err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	s := &Server{cfg: cfg, memory: account, metrics: m, inputs: inputs}
	s.rest = s.routes()
	s.grpc = s.newGRPC()
	return s, nil
}

// ServeHTTP answers one request. A panic anywhere below is that request's 500.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tracked := &trackedWriter{ResponseWriter: w}
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler || tracked.wrote { //nolint:errorlint // net/http compares it so
			s.logPanic(r.Context(), p)
			panic(http.ErrAbortHandler) // all that is left is to break the connection
		}
		s.fail(tracked, r, s.panicked(r.Context(), p))
	}()
	err := infer.CheckOnce(r.Header)
	if !s.trusts(r) {
		err = problem.New(problem.Unauthenticated, "this is a function's own port; call it through the gateway")
	}
	if err != nil {
		if isGRPC(r) {
			refuseGRPC(tracked, r, err)
		} else {
			s.fail(tracked, r, err)
		}
		return
	}
	if isGRPC(r) {
		s.grpc.ServeHTTP(tracked, r)
		return
	}
	s.rest.ServeHTTP(tracked, r)
}

// trusts reports whether a request may be answered: it has the secret, or asks for
// health alone, as probes do, which have none.
func (s *Server) trusts(r *http.Request) bool {
	if s.cfg.Secret == "" {
		return true
	}
	switch r.URL.Path {
	case "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready":
		return true
	}
	return wellknown.IsHealth(r.URL.Path) || brings(r.Header, s.cfg.Secret)
}

// brings reports whether a request has a secret, which is not "".
func brings(h http.Header, secret string) bool {
	return secret != "" && subtle.ConstantTimeCompare([]byte(h.Get(infer.SecretHeader)), []byte(secret)) == 1
}

// storage is the tenant whose stored inputs a request may name; "" where nothing
// shows that the gateway set it. Whose share of a function a call takes, which harms
// nobody else, is believed without.
func (s *Server) storage(h http.Header) string {
	if brings(h, s.cfg.Secret) || brings(h, s.cfg.GatewaySecret) {
		return h.Get(infer.TenantHeader)
	}
	return ""
}

// payer is the tenant that a request's memory is charged to. Where the gateway can
// show that it sets tenants, all whom it did not set are one.
func (s *Server) payer(h http.Header) string {
	if s.cfg.Secret == "" && s.cfg.GatewaySecret == "" {
		return h.Get(infer.TenantHeader)
	}
	return s.storage(h)
}

// panicked logs a panic and is the error its request is answered with.
func (s *Server) panicked(ctx context.Context, p any) error {
	s.logPanic(ctx, p)
	return &panicError{value: p}
}

func (s *Server) logPanic(ctx context.Context, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		return
	}
	s.cfg.Logger.ErrorContext(ctx, "panic while answering a request", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// panicError is an error no client learns anything from.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// guard runs f, and turns a panic in it into an error.
func (s *Server) guard(ctx context.Context, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				panic(p)
			}
			err = s.panicked(ctx, p)
		}
	}()
	return f()
}

// fail answers with an error in the form of the URL's protocol.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.logError(r.Context(), err)
	if isStep(r) {
		problem.WriteStep(w, err, stepOf(err))
		return
	}
	if r.URL.Path == "/" && eventForm(r) != notEvent {
		problem.WriteEvent(w, err)
		return
	}
	if r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/") {
		problem.WriteV2(w, err)
		return
	}
	problem.Write(w, err)
}

// logError logs the server's faults; the client's own are in their answer.
func (s *Server) logError(ctx context.Context, err error) {
	level := slog.LevelDebug
	var panicked *panicError
	code := problemgrpc.CodeOf(err)
	telemetry.SetError(ctx, code, err.Error())
	switch {
	case errors.As(err, &panicked): // has its stack in the log already
	case code == problem.Internal:
		level = slog.LevelError
	case code.Ours():
		level = slog.LevelWarn
	}
	s.cfg.Logger.Log(ctx, level, "request failed", "error", err, "code", code)
}

// trackedWriter remembers whether an answer was begun.
type trackedWriter struct {
	http.ResponseWriter
	wrote bool
}

func (w *trackedWriter) WriteHeader(status int) {
	w.wrote = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *trackedWriter) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

// Flush passes on; connect-go looks for it.
func (w *trackedWriter) Flush() {
	w.wrote = true
	_ = http.NewResponseController(w.ResponseWriter).Flush() // best effort, as http.Flusher is
}

// Unwrap lets http.ResponseController find what is below.
func (w *trackedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// deadline bounds ctx by what is left of the request's time, which the gateway
// sets in a header.
func deadline(ctx context.Context, h http.Header) (context.Context, context.CancelFunc, error) {
	text := h.Get(infer.TimeoutHeader)
	if text == "" {
		return ctx, func() {}, nil // the request's own ends with its handler
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 {
		return nil, nil, problem.Invalid(infer.TimeoutHeader, "expected milliseconds")
	}
	const most = int64(1<<63-1) / int64(time.Millisecond)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(min(ms, most))*time.Millisecond)
	return ctx, cancel, nil
}

// acquire checks a model's name and version, and leases it.
func (s *Server) acquire(ctx context.Context, c *call, name, version string) (Lease, error) {
	if err := checkRef(name, version); err != nil {
		return nil, err
	}
	lease, err := s.cfg.Backend.Acquire(ctx, name, version)
	if err != nil {
		return nil, err
	}
	c.info = lease.Info()
	if l, ok := lease.(Aliased); ok {
		c.alias = l.Alias()
	}
	return lease, nil
}

// checkRef checks a model's name and its version, which may be empty, a number
// or an alias.
func checkRef(name, version string) error {
	if _, err := infer.ParseName(name); err != nil {
		return err
	}
	if version == "" {
		return nil
	}
	return infer.CheckVersion("model_version", version)
}

// run runs one V2 request in a lease, bounded by the request's own timeout from
// its arrival on, and completes the response.
func (s *Server) run(ctx context.Context, c *call, held *memory.Call, lease Lease, req *infer.Request) (*infer.Response, error) {
	if req.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, c.start.Add(req.Timeout))
		defer cancel()
	}
	resp, err := runCharged(ctx, held, lease, req)
	if err != nil {
		return nil, err
	}
	info := lease.Info()
	resp.Model, resp.Version, resp.ID = info.Name, info.Version, req.ID
	c.timing, c.usage = resp.Timing, infer.UsageOf(req.Inputs, resp.Timing)
	return resp, nil
}

// runCharged runs a request in a lease, which charges its outputs to held until they
// are released. While it runs its inputs are charged once more, for a run with others is
// of copies.
func runCharged(ctx context.Context, held *memory.Call, lease Lease, req *infer.Request) (*infer.Response, error) {
	inputs := sizeOf(req.Inputs)
	if err := held.Take(ctx, inputs); err != nil {
		return nil, err
	}
	defer held.Give(inputs)
	req.Held = held
	return lease.Run(ctx, req)
}

// sizeOf is the bytes of tensors.
func sizeOf(tensors []infer.Tensor) int64 {
	var n int64
	for i := range tensors {
		n += int64(len(tensors[i].Data))
	}
	return n
}
