// Package dispatch does what is due of executions: it begins those that may, posts the
// events of their segments to the channels, calls the steps that are not ours, has
// leases that ran out and deadlines decided on, and removes what is over.
//
// What comes back is package receive's. It decides nothing itself (pipelines/execution
// by way of pipelines/decide), and what it has in memory may be lost at any time: the
// rows come again.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/charge"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/outside"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/values"
)

// Store is what is needed of the record, beside what package decide does.
type Store interface {
	record.Work
	record.Survey
	record.Retention

	Load(ctx context.Context, id string) (*record.Loaded, error)
}

// Channels are where segments begin.
type Channels interface {
	// First is where the event of a segment's step is posted to, and the Host that the
	// request must have; "" is the URL's own. An error means that the version's objects
	// are not ready yet; they are made because of the question.
	First(ctx context.Context, owner, pipeline string, version, segment, step int) (url, host string, err error)
}

// Outside calls steps that are not ours (pipelines/outside).
type Outside interface {
	// Post calls a URL for a tenant, whom the answer is charged to until it is closed.
	Post(ctx context.Context, tenant, url string, header http.Header, body []byte) (*outside.Answer, error)
}

// Charges charges tenants for what ran.
type Charges interface {
	// Charge waits for nothing.
	Charge(t charge.Took)
}

// Calls makes calls that are answered later (pipelines/calls).
type Calls interface {
	// Call makes the call of an execution once. The record has no step and no epoch.
	Call(ctx context.Context, x *execution.Execution, epoch int) (envelope.Value, envelope.Record, *execution.Failure)

	// Lost is what becomes of a call that may have been made and whose answer nobody waits
	// for any more: its failure, or nil where it may be made again.
	Lost(x *execution.Execution) *execution.Failure
}

// Config bounds the work of one replica. Zero fields are their defaults.
type Config struct {
	Posts     int           // events that are on their way at once, with all that follows from them where channels are synchronous; 256
	PerTenant int           // of these, of one tenant; a quarter
	Running   int           // executions that run at once for one tenant, in all replicas; twice PerTenant
	Poll      time.Duration // between two looks at what is due, where nothing is noticed; 1 s
	Hold      time.Duration // for which rows are taken; 30 s
	Unready   time.Duration // for which an execution is tried that cannot begin, before it fails; 1 h
	Sweep     time.Duration // between two removals of what is over; 1 min
	// Orphans is between two removals of stored values that are of no execution; 6 h.
	Orphans time.Duration
	// Void has everything that was sent before Start sent again at once: where the
	// channels end with this process.
	Void bool
	// Synchronous is set where a channel answers only when all is over that follows from
	// an event, as Knative's in memory does: then an event that came to nothing is sent
	// again at once, instead of when its lease ends. Void implies it.
	Synchronous bool
}

func (c Config) defaulted() Config {
	set(&c.Posts, 256)
	set(&c.PerTenant, max(c.Posts/4, 1))
	set(&c.Running, 2*c.PerTenant)
	c.Synchronous = c.Synchronous || c.Void
	set(&c.Poll, time.Second)
	set(&c.Hold, 30*time.Second)
	set(&c.Unready, time.Hour)
	set(&c.Sweep, time.Minute)
	set(&c.Orphans, 6*time.Hour)
	return c
}

func set[T int | time.Duration](to *T, otherwise T) {
	if *to == 0 {
		*to = otherwise
	}
}

// Deps are what a Dispatcher works with.
type Deps struct {
	Store    Store
	Decider  *decide.Decider
	Values   *values.Values
	Channels Channels
	Outside  Outside // nil: steps that are not ours fail
	Calls    Calls   // nil: calls that are answered later fail
	Charges  Charges // of what these take; nil: nobody is charged
	Signer   *ticket.Signer
	Registry prometheus.Registerer
	Logger   *slog.Logger
}

// Dispatcher does what is due. Any number of replicas may run beside each other.
type Dispatcher struct {
	Deps

	cfg     Config
	client  *http.Client
	posts   *posts
	metrics *metrics
	wakes   chan struct{}
	tenants tenants

	work     sync.WaitGroup
	deciding chan struct{} // a token for each decision beside those of posts

	mu       sync.Mutex
	stop     context.CancelCauseFunc // of what Start began; nil before it
	next     time.Time               // when something is known to be due; zero is not
	later    []later
	sent     map[execution.BranchID]*sending
	noticed  map[string]bool // executions that may have changed elsewhere
	lastFail time.Time
}

// later is a row that was taken and could not be gone on with yet.
type later struct {
	row   execution.Branch
	at    time.Time
	until time.Time // that it is taken for
}

// sending is an event that is on its way.
type sending struct {
	epoch   int
	cancel  context.CancelCauseFunc
	decided bool // something came of it
}

// New makes a Dispatcher, which does nothing before Start.
func New(cfg Config, deps Deps) (*Dispatcher, error) {
	cfg = cfg.defaulted()
	m, err := newMetrics(deps.Registry)
	if err != nil {
		return nil, err
	}
	d := &Dispatcher{
		Deps: deps, cfg: cfg, metrics: m, wakes: make(chan struct{}, 1), sent: map[execution.BranchID]*sending{}, noticed: map[string]bool{},
		deciding: make(chan struct{}, deciding), tenants: tenants{known: map[string]string{}},
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
				MaxIdleConnsPerHost: cfg.Posts, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	d.posts = newPosts(cfg.Posts, cfg.PerTenant, d.work.Go, d.Wake)
	if err := m.inFlight(deps.Registry, d.posts); err != nil {
		return nil, err
	}
	deps.Decider.OnSaved(d.saved)
	return d, nil
}

// Start begins the work. ctx bounds the start alone.
func (d *Dispatcher) Start(ctx context.Context) error {
	if d.cfg.Void {
		n, err := d.Store.Voids(ctx)
		if err != nil {
			return fmt.Errorf("void what was sent before: %w", err)
		}
		if n > 0 {
			d.Logger.InfoContext(ctx, "what was on its way when the process ended is sent again", "events", n)
		}
	}
	working, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	d.mu.Lock()
	d.stop = stop
	d.mu.Unlock()
	d.work.Go(func() { d.run(working) })
	d.work.Go(func() { d.sweeps(working) })
	d.work.Go(func() { d.survey(working) })
	return nil
}

// Stop begins nothing new, and waits for what is on its way until ctx ends; then it cuts
// that off, and gives back what was taken and not begun. When it returns, nothing runs any
// more. Stopping twice is safe.
func (d *Dispatcher) Stop(ctx context.Context) error {
	d.posts.close()
	done := make(chan struct{})
	go func() { d.posts.wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	d.mu.Lock()
	if d.stop != nil {
		d.stop(errStopping)
	}
	d.mu.Unlock()
	d.work.Wait()
	<-done
	d.giveBack(ctx)
	d.client.CloseIdleConnections()
	return nil
}

// Wake has it look at what is due now. It waits for nothing.
func (d *Dispatcher) Wake() {
	select {
	case d.wakes <- struct{}{}:
	default:
	}
}

// saved looks at what a change means for the work here.
func (d *Dispatcher) saved(ctx context.Context, s *decide.Saved) {
	d.metrics.saved(s)
	d.tenants.saved(s)
	d.log(ctx, s)
	removed := map[execution.BranchID]bool{}
	for _, id := range s.Change.Remove {
		removed[id] = id != s.Cause // whose own answer ends it is about to be answered
	}
	d.mu.Lock()
	for id, sending := range d.sent {
		if removed[id] {
			sending.cancel(errOver)
		}
	}
	if own := d.sent[s.Cause]; own != nil {
		_, gone := removed[s.Cause]
		own.decided = own.decided || gone
	}
	for i := range s.Change.Put {
		if own := d.sent[s.Change.Put[i].BranchID]; own != nil && s.Change.Put[i].What == execution.Send {
			own.decided = true
		}
	}
	d.mu.Unlock()
	for i := range s.Change.Put {
		if b := &s.Change.Put[i]; b.What == execution.Send {
			d.due(time.Now().Add(b.Due.Sub(s.Now)))
		}
	}
}

// Why what is on its way is cut off.
var (
	errOver     = errors.New("the execution does not wait for it any more")
	errStopping = errors.New("the process ends")
)

// due has the work look at a time, at the latest.
func (d *Dispatcher) due(at time.Time) {
	d.mu.Lock()
	sooner := d.next.IsZero() || at.Before(d.next)
	if sooner {
		d.next = at
	}
	d.mu.Unlock()
	if sooner {
		d.Wake()
	}
}

// log writes what became of an execution: ids and status, no values.
func (d *Dispatcher) log(ctx context.Context, s *decide.Saved) {
	x := s.Execution
	if dead := s.Change.Dead; dead != nil {
		d.Logger.WarnContext(ctx, "a step of an execution is not tried again", "tenant", x.Tenant, "execution", x.ID, "pipeline", x.Pipeline,
			"version", x.Version, "step", dead.Step, "item", dead.Item, "attempts", dead.Attempts, "breaks", dead.Breaks, "code", dead.Error.Code)
	}
	for _, e := range s.Change.Events {
		if e.Ends() {
			d.Logger.InfoContext(ctx, "an execution ended", "tenant", x.Tenant, "execution", x.ID, "pipeline", x.Pipeline,
				"version", x.Version, "status", string(e.Status), "took", x.Finished.Sub(x.Created).String())
		}
	}
}
