// Package revision is one revision of a Service: its instances, the requests
// that wait for one, and the decision how many there shall be.
//
// The decision is knative.dev/serving's own autoscaler, the limit of an
// instance its own breaker. What a cluster's controllers do around them (bounds,
// grace before zero, restarts with backoff, draining) is done here, over
// whatever starts an instance; this package starts no process itself.
package revision

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"knative.dev/networking/pkg/http/stats"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"github.com/modelserveai/modelserve/gateway/route"
)

// Instance is a started copy of the function.
type Instance interface {
	// Ready returns when the instance can take requests, or why it never will.
	Ready(ctx context.Context) error
	// Done is closed when the instance has ended, and Err then has the reason.
	Done() <-chan struct{}
	Err() error
	// Stop lets the instance finish within grace and ends it. It may be called
	// again, also while it runs, with less grace.
	Stop(grace time.Duration)
}

// Config is what a revision is made of.
type Config struct {
	Name        string // text-detect-00002
	Autoscaler  *autoscalerconfig.Config
	Annotations map[string]string // of the template: autoscaling.knative.dev/…

	ContainerConcurrency int           // requests at once on an instance; 0: no limit
	Timeout              time.Duration // of one request, and of draining
	StartTimeout         time.Duration // until an instance is ready
	MaxWaiting           int           // requests that wait for an instance
	MaxWait              time.Duration // of one of them

	// Build is called once, before the first start. wanted reports whether a request
	// waits for it by now.
	Build    func(ctx context.Context, wanted func() bool) error
	Building func() string                               // what Build is about, for who waits for it; may be nil
	Start    func(ctx context.Context) (Instance, error) // once per instance
	Changed  func()                                      // after each change that Status shows; must not call back
	Logger   *slog.Logger
}

// Errors of Acquire that its callers act on; all others are problems.
var (
	ErrAtZero  = errors.New("at zero")          // and the caller did not want to wake it
	ErrRetired = errors.New("no longer routed") // ask again where the request goes
)

// Revision is running from New until Close.
type Revision struct {
	cfg      Config
	scaler   *scaler
	stats    *stats.RequestStats
	poke     chan struct{}
	cancel   context.CancelFunc
	ctx      context.Context //nolint:containedctx // the owner's, for goroutines this revision starts
	wg       sync.WaitGroup
	kill     chan struct{} // closed when what still runs is ended at once
	killed   sync.Once
	prepared chan struct{} // closed when it is built
	ready    chan struct{} // closed when the first instance was ready

	mu        sync.Mutex // pick, state changes and counts are one step under it
	builtAt   time.Time  // zero until it is
	reason    error      // of the last failure; nil when all is well
	instances []*instance
	waiting   waiters
	failures  int       // starts in a row of which none became ready
	faults    int       // of them, those that ended by themselves
	notBefore time.Time // the next start
	refusing  bool      // until then, for what waits would only see another failure
	proving   int       // starts that may still fail before it is given up
	reachable bool
	closed    bool
}

// New makes a revision and begins to build it. It starts nothing until it is
// called for, unless its scale bounds require it.
func New(ctx context.Context, cfg Config) *Revision {
	ctx, cancel := context.WithCancel(ctx)
	r := &Revision{
		cfg: cfg, ctx: ctx, cancel: cancel,
		stats:   stats.NewRequestStats(time.Now()),
		waiting: newWaiters(cfg.MaxWaiting),
		poke:    make(chan struct{}, 1), kill: make(chan struct{}), prepared: make(chan struct{}), ready: make(chan struct{}), reachable: true,
	}
	r.scaler = newScaler(&r.cfg, r.readyCount)
	r.wg.Go(r.run)
	return r
}

// Name is the revision's name.
func (r *Revision) Name() string { return r.cfg.Name }

// Ready is closed once an instance has been ready.
func (r *Revision) Ready() <-chan struct{} { return r.ready }

// Prove starts an instance, so that the revision is known to work before
// traffic goes to it.
func (r *Revision) Prove() {
	r.mu.Lock()
	if !isClosed(r.ready) {
		r.proving = provingStarts
	}
	r.mu.Unlock()
	r.wake()
}

// SetReachable sets whether traffic may come. Without, what is waiting is still
// answered, then every instance drains.
func (r *Revision) SetReachable(reachable bool) {
	r.mu.Lock()
	r.reachable = reachable
	if !reachable {
		r.proving = 0
	}
	r.mu.Unlock()
	r.wake()
}

// Close ends every instance, within grace, and returns when they have ended.
// Requests that wait are refused (ErrRetired). It may be called again, with less grace.
func (r *Revision) Close(grace time.Duration) {
	over := time.AfterFunc(grace, func() { r.killed.Do(func() { close(r.kill) }) })
	defer over.Stop()
	r.mu.Lock()
	r.closed = true
	r.waiting.fail(ErrRetired)
	instances := append([]*instance(nil), r.instances...)
	for _, i := range instances {
		i.drain(grace)
	}
	r.mu.Unlock()
	r.cancel()
	r.wg.Wait()
}

// wake has run look at the state now.
func (r *Revision) wake() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// run owns the scale: it samples and decides on Knative's ticks while anything
// runs or waits, and sleeps otherwise.
func (r *Revision) run() {
	for !r.build() {
		if r.ctx.Err() != nil {
			return
		}
	}
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	r.decide(time.Now(), true)
	for ticks := 0; ; {
		tick := ticker.C
		if r.idle() {
			tick = nil
		}
		select {
		case <-r.ctx.Done():
			return
		case <-r.held():
			r.decide(time.Now(), true)
		case <-r.poke:
			r.decide(time.Now(), true)
		case <-tick:
			now := time.Now() // a tick that waited while all was at zero is old
			r.scaler.sample(now, r.stats.Report(now))
			if ticks++; ticks%ticksPerDecision == 0 {
				r.decide(now, false)
			}
		}
	}
}

// rebuildAfter is how long a failed build stays failed; a request that comes
// later tries again, for the source may have been corrected.
const rebuildAfter = 2 * time.Second

// build builds. When that fails it returns false as soon as a request wants
// another try.
func (r *Revision) build() bool {
	err := r.cfg.Build(r.ctx, r.wanted)
	r.mu.Lock()
	r.reason, r.refusing = err, err != nil
	if err == nil {
		r.builtAt = time.Now()
		close(r.prepared)
	} else {
		r.notBefore = time.Now().Add(rebuildAfter)
		r.waiting.fail(r.unavailable(time.Now()))
	}
	r.mu.Unlock()
	r.cfg.Changed()
	if err == nil {
		return true
	}
	for {
		select {
		case <-r.ctx.Done():
			return false
		case <-r.poke:
			if r.wanted() {
				return false
			}
		}
	}
}

// wanted reports whether a request waits.
func (r *Revision) wanted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting.len() > 0
}

// idle is true when nothing can change but by a poke.
func (r *Revision) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.instances) == 0 && r.waiting.len() == 0 && r.failures == 0 && r.proving == 0 && r.scaler.minimum() == 0
}

// held returns when a start that requests wait for, and that is held back for now,
// may be; nil when none is.
func (r *Revision) held() <-chan time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.live() > 0 || r.waiting.len() == 0 {
		return nil
	}
	return time.After(max(0, time.Until(r.notBefore)))
}

// decide asks the autoscaler how many instances there shall be and brings that
// about. poked is true for a decision between ticks: a request that waits is
// then what the autoscaler sees, as Knative's activator would report it.
func (r *Revision) decide(now time.Time, poked bool) {
	r.mu.Lock()
	waiting, reachable, live := r.waiting.len(), r.reachable, r.live()
	r.mu.Unlock()
	if poked && waiting > 0 && live == 0 {
		r.scaler.arrived(now, float64(waiting))
	}
	desired := r.scaler.desired(now, reachable, waiting)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if r.proving > 0 {
		desired = max(desired, 1)
	}
	if !reachable && waiting == 0 {
		desired = 0
	}
	r.apply(now, desired)
}

// apply starts or drains instances. Called with mu held.
func (r *Revision) apply(now time.Time, desired int) {
	live := r.live()
	if live < desired && now.Before(r.notBefore) {
		return // a later tick comes by
	}
	for ; live < desired; live++ {
		r.start(now)
		if r.failures > 0 {
			break // one at a time until it is known to work
		}
	}
	if r.waiting.len() > 0 {
		return
	}
	for k := len(r.instances) - 1; k >= 0; k-- { // the youngest goes first
		i := r.instances[k]
		surplus := live > desired || !r.reachable
		if surplus && i.state == stateReady && i.inFlight == 0 || !r.reachable && i.state != stateDraining {
			i.drain(r.cfg.Timeout)
			live--
		}
	}
}

// live counts the instances that take or will take requests.
func (r *Revision) live() int {
	n := 0
	for _, i := range r.instances {
		if i.state == stateStarting || i.state == stateReady {
			n++
		}
	}
	return n
}

func (r *Revision) readyCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, i := range r.instances {
		if i.state == stateReady {
			n++
		}
	}
	return n
}

// podAutoscaler is the object a cluster would have for this revision.
func podAutoscaler(cfg *Config, reachable bool) *autoscalingv1alpha1.PodAutoscaler {
	pa := &autoscalingv1alpha1.PodAutoscaler{}
	pa.Name, pa.Namespace, pa.Annotations = cfg.Name, namespace, cfg.Annotations
	pa.Spec.ContainerConcurrency = int64(cfg.ContainerConcurrency)
	pa.Spec.Reachability = autoscalingv1alpha1.ReachabilityReachable
	if !reachable {
		pa.Spec.Reachability = autoscalingv1alpha1.ReachabilityUnreachable
	}
	return pa
}

// Status is how a revision stands.
type Status struct {
	Name     string
	State    route.State
	Reason   string // of failed, and of the last end that nobody asked for
	Ready    int
	Starting int
	Draining int
	Waiting  int
}

// Status reports how the revision stands now.
func (r *Revision) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{Name: r.cfg.Name, Waiting: r.waiting.len()}
	for _, i := range r.instances {
		switch i.state {
		case stateReady:
			s.Ready++
		case stateStarting:
			s.Starting++
		case stateDraining:
			s.Draining++
		case stateDead:
		}
	}
	if r.reason != nil {
		s.Reason = r.reason.Error()
	}
	switch {
	case s.Ready > 0:
		s.State = route.StateReady
	case s.Starting > 0:
		s.State = route.StateStarting
	case r.failures > 0 || r.refusing:
		s.State = route.StateFailed
	case r.builtAt.IsZero():
		s.State = route.StateBuilding
	default:
		s.State = route.StateIdle
	}
	return s
}

// failed notes that a start or an instance failed, and when to try again.
// Called with mu held.
func (r *Revision) failed(now time.Time, err error) {
	r.reason = err
	r.notBefore = now.Add(backoff(r.failures))
	r.failures++
	var end interface{ Killed() bool }
	if !errors.As(err, &end) || !end.Killed() {
		r.faults++
	}
	if r.proving > 0 {
		r.proving--
	}
	if r.refusing = r.faults > mostFaults || r.failures > mostKills; r.refusing && r.live() == 0 {
		r.waiting.fail(r.unavailable(now))
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
