// Package knative keeps in a cluster the objects that versions of pipelines run on: it
// applies them, puts back what somebody edits or deletes, removes what nothing needs any
// more, and reports where the channels of a version are.
//
// What the objects are is package compile's. Any number of replicas may keep the same
// objects: they apply the same, and nothing of this package is stored. Its account needs
// get, list, watch, create, patch, update and delete of sequences and parallels of
// flows.knative.dev and of subscriptions of messaging.knative.dev, in one namespace.
package knative

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/modelserveai/modelserve/pipelines/compile"
)

// Version names a version of a pipeline.
type Version struct {
	Owner  string // the tenant whose it is; "" where it is shipped
	Name   string
	Number int
}

func (v Version) String() string {
	if v.Owner == "" {
		return fmt.Sprintf("%s version %d", v.Name, v.Number)
	}
	return fmt.Sprintf("%s/%s version %d", v.Owner, v.Name, v.Number)
}

// Versions says which versions there are to be, and what they run on.
type Versions interface {
	// Wanted returns the versions whose objects must be there: defaults, and those of
	// executions that have not ended.
	Wanted(ctx context.Context) ([]Version, error)

	// Objects returns what a version runs on. It is called for every version at every
	// Interval, as where its functions are may change.
	Objects(ctx context.Context, v Version) (*compile.Objects, error)
}

// Config is how a Keeper works.
type Config struct {
	Namespace string // where the objects are

	// Interval is how often it is asked which versions are wanted; 0 is 10 s.
	Interval time.Duration

	// Grace is how long objects stay that no version wants any more; 0 is a minute.
	// Another replica may have wanted them a moment ago.
	Grace time.Duration

	// Ingress is a URL that events of all channels are posted to, each with its channel's
	// name as Host; "" posts them to the channels' own hosts.
	Ingress string

	// Domain is the cluster's, for channels whose addresses are not known; "" is
	// cluster.local.
	Domain string
}

// ErrNotReady is of a version whose objects are not there yet, or not ready.
var ErrNotReady = errors.New("the pipeline's objects are not ready")

// State is how a version's objects stand.
type State struct {
	Ready  bool
	Reason string // why it is not
}

// Keeper keeps the objects.
type Keeper struct {
	config   Config
	client   dynamic.Interface
	versions Versions
	metrics  *metrics
	logger   *slog.Logger
	mirrors  map[string]*mirror // by kind
	dirty    chan struct{}      // something changed in the cluster
	asked    chan struct{}      // somebody wants a version

	mu     sync.Mutex
	states map[Version]State

	// What follows is Run's alone.
	asks     map[Version]string               // the wanted versions, and why one cannot be made; nil until it is known
	wanted   map[types.NamespacedName]*wanted // by kind, as the namespace, and name
	order    []types.NamespacedName           // its keys, as they are looked at
	repairs  map[types.NamespacedName]*pause
	unwanted map[types.NamespacedName]time.Time // since when
	faults   []string
	logged   map[string]bool
}

// New makes a Keeper, which does nothing until Run.
func New(config Config, client dynamic.Interface, versions Versions, registry prometheus.Registerer, logger *slog.Logger) (*Keeper, error) {
	if config.Interval == 0 {
		config.Interval = 10 * time.Second
	}
	if config.Grace == 0 {
		config.Grace = time.Minute
	}
	if config.Domain == "" {
		config.Domain = "cluster.local"
	}
	m, err := newMetrics(registry)
	if err != nil {
		return nil, err
	}
	k := &Keeper{
		config: config, client: client, versions: versions, metrics: m, logger: logger,
		dirty: make(chan struct{}, 1), asked: make(chan struct{}, 1),
		states: map[Version]State{}, wanted: map[types.NamespacedName]*wanted{},
		repairs: map[types.NamespacedName]*pause{}, unwanted: map[types.NamespacedName]time.Time{}, logged: map[string]bool{},
	}
	k.mirrors = k.newMirrors()
	return k, nil
}

// Want has the objects of all wanted versions made soon, instead of at the next
// Interval. It never waits.
func (k *Keeper) Want() { wake(k.asked) }

// State is how a version's objects stand.
func (k *Keeper) State(v Version) State {
	k.mu.Lock()
	defer k.mu.Unlock()
	state, ok := k.states[v]
	if !ok {
		return State{Reason: "its objects are not made yet"}
	}
	return state
}

// Ready returns why nothing is known of the cluster yet; nil once something is.
func (k *Keeper) Ready(context.Context) error {
	for _, kind := range kinds() {
		if err := k.mirrors[kind.name].ready(); err != nil {
			return err
		}
	}
	return nil
}

// First is where an event for a step of a segment is posted: a URL, and the Host that
// the request must have. The error is ErrNotReady, with the reason, while the segment's
// Sequence is not; a version that nobody wanted before is then made.
func (k *Keeper) First(_ context.Context, owner, pipeline string, version, segment, step int) (url, host string, err error) {
	name := compile.Sequence(owner, pipeline, version, segment)
	live, ok := k.mirrors[sequenceKind].get(name)
	if !ok {
		k.Want()
		state := k.State(Version{Owner: owner, Name: pipeline, Number: version})
		if state.Reason == "" {
			state.Reason = "Sequence " + name + " is not there"
		}
		return "", "", fmt.Errorf("%w: %s", ErrNotReady, state.Reason)
	}
	if good, reason := verdict(live); !good {
		return "", "", fmt.Errorf("%w: Sequence %s: %s", ErrNotReady, name, reason)
	}
	url, host = address(live, name, step, k.config)
	if k.config.Ingress != "" {
		url = k.config.Ingress
	}
	return url, host, nil
}

// wake puts a token into a channel of one, unless there is one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// setStates replaces what is known of versions.
func (k *Keeper) setStates(states map[Version]State) {
	k.mu.Lock()
	k.states = states
	k.mu.Unlock()
	ready := 0
	for _, s := range states {
		if s.Ready {
			ready++
		}
	}
	k.metrics.versions.WithLabelValues("ready").Set(float64(ready))
	k.metrics.versions.WithLabelValues("waiting").Set(float64(len(states) - ready))
}

// logOnce logs faults, each for as long as it holds once.
func (k *Keeper) logOnce(ctx context.Context, faults []string) {
	now := map[string]bool{}
	for _, fault := range faults {
		fault = strings.TrimSpace(fault)
		if !k.logged[fault] && !now[fault] {
			k.logger.ErrorContext(ctx, "objects of pipelines are not as they must be", "error", fault)
		}
		now[fault] = true
	}
	k.logged = now
}
