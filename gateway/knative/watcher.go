package knative

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/client-go/dynamic"

	"github.com/modelserveai/modelserve/gateway/route"
)

// Watcher keeps routes as the cluster has its functions.
type Watcher struct {
	config   Config
	client   dynamic.Interface
	routes   *route.Routes
	logger   *slog.Logger
	mirrors  []namespace
	dirty    chan struct{}
	inForce  atomic.Bool
	standing atomic.Pointer[standings]
}

// standings are how functions stand, by their hosts, until replaced is closed.
type standings struct {
	by       map[string]standing
	replaced chan struct{}
}

// namespace is what is known of one.
type namespace struct {
	name      string
	services  *mirror[service]
	revisions *mirror[revision]
}

// New makes a Watcher, which does nothing until Run.
func New(config Config, client dynamic.Interface, routes *route.Routes, logger *slog.Logger) *Watcher {
	w := &Watcher{config: config, client: client, routes: routes, logger: logger, dirty: make(chan struct{}, 1)}
	w.standing.Store(&standings{replaced: make(chan struct{})})
	for _, name := range config.Namespaces {
		w.mirrors = append(w.mirrors, namespace{
			name:      name,
			services:  newMirror(name, "Service", "services", readService, w.changed),
			revisions: newMirror(name, "Revision", "revisions", readRevision, w.changed),
		})
	}
	return w
}

// Run follows the cluster until ctx ends. While its API server does not answer,
// routes stay as they were.
func (w *Watcher) Run(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	for _, n := range w.mirrors {
		following.Go(func() { n.services.follow(ctx, w.client, w.logger) })
		following.Go(func() { n.revisions.follow(ctx, w.client, w.logger) })
	}
	logged := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.dirty:
			if w.ready() == nil {
				logged = w.logFaults(ctx, logged, w.update(ctx))
			}
		}
	}
}

// changed wakes Run. It never waits.
func (w *Watcher) changed() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

// Ready returns why no routes are in force yet. Once they are they stay, so it is
// nil from then on.
func (w *Watcher) Ready(context.Context) error {
	if w.inForce.Load() {
		return nil
	}
	if err := w.ready(); err != nil {
		return err
	}
	return errors.New("no routes are in force yet")
}

func (w *Watcher) ready() error {
	for _, n := range w.mirrors {
		if err := errors.Join(n.services.ready(), n.revisions.ready()); err != nil {
			return err
		}
	}
	return nil
}

// update puts what is mirrored in force, and returns what is left out.
func (w *Watcher) update(ctx context.Context) []error {
	functions, standing, faults := w.functions()
	var left route.Faults
	if errors.As(w.routes.Replace(functions), &left) {
		faults = append(faults, left...)
	}
	close(w.standing.Swap(&standings{by: standing, replaced: make(chan struct{})}).replaced)
	if !w.inForce.Swap(true) {
		w.logger.InfoContext(ctx, "routes are in force", "functions", len(functions)-len(left), "namespaces", w.config.Namespaces)
	}
	return faults
}

func (w *Watcher) functions() (functions []route.Function, byHost map[string]standing, faults []error) {
	byHost = map[string]standing{}
	for _, n := range w.mirrors {
		services, wrong := n.services.snapshot()
		revisions, alsoWrong := n.revisions.snapshot()
		faults = append(append(faults, wrong...), alsoWrong...)
		for _, name := range slices.Sorted(maps.Keys(services)) {
			if w.config.Self == (Name{Namespace: n.name, Name: name}) {
				continue
			}
			f := function(n.name, name, services[name], revisions)
			functions = append(functions, f)
			stands(&f, services[name], revisions, byHost)
		}
	}
	return functions, byHost, faults
}

// logFaults logs what is left out, each reason once for as long as it holds, and
// returns the reasons.
func (w *Watcher) logFaults(ctx context.Context, logged map[string]bool, faults []error) map[string]bool {
	now := map[string]bool{}
	for _, fault := range faults {
		text := fault.Error()
		if !logged[text] && !now[text] {
			w.logger.ErrorContext(ctx, "left out of the routes", "error", text)
		}
		now[text] = true
	}
	return now
}
