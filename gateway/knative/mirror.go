package knative

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
)

// The waits between attempts to reach an API server that does not answer.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// mirror is what is needed of the objects of one kind in one namespace, as the
// API server last sent them; while it does not answer they stay.
//
// It is the store of a reflector (client-go), which lists, watches, and lists
// again where a watch cannot go on.
type mirror[V any] struct {
	namespace, kind, plural string

	read    func(o *unstructured.Unstructured, before V) (V, error)
	changed func()

	mu      sync.Mutex
	synced  bool
	trouble error // why the API server does not answer; nil while it does
	objects map[string]V
	faults  map[string]error // of objects that cannot be read, by name
}

var _ cache.ReflectorStore = (*mirror[int])(nil)

func newMirror[V any](namespace, kind, plural string, read func(o *unstructured.Unstructured, before V) (V, error), changed func()) *mirror[V] {
	return &mirror[V]{
		namespace: namespace, kind: kind, plural: plural, read: read, changed: changed,
		objects: map[string]V{}, faults: map[string]error{},
	}
}

// follow keeps the mirror until ctx ends.
func (m *mirror[V]) follow(ctx context.Context, client dynamic.Interface, logger *slog.Logger) {
	expected := &unstructured.Unstructured{}
	expected.SetAPIVersion(apiVersion)
	expected.SetKind(m.kind)
	reflector := cache.NewReflectorWithOptions(m.listWatch(client), expected, m, cache.ReflectorOptions{Name: m.kind + " in " + m.namespace})
	failures := 0
	for {
		err := reflector.ListAndWatchWithContext(ctx)
		if ctx.Err() != nil {
			return
		}
		if failures++; err == nil { // it had listed, and the watch ended, as they do
			failures = 0
		}
		m.logTrouble(ctx, err, logger)
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff(failures)):
		}
	}
}

func backoff(failures int) time.Duration {
	d := min(lastRetry, firstRetry<<min(failures, 10))
	return d/2 + rand.N(d/2) //nolint:gosec // jitter
}

func (m *mirror[V]) listWatch(client dynamic.Interface) cache.ListerWatcher {
	in := client.Resource(resource(m.plural)).Namespace(m.namespace)
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return in.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			w, err := in.Watch(ctx, options)
			if err != nil {
				// Its text alone: a connection that was refused would have the reflector
				// wait for up to a minute, where follow tries every few seconds.
				return nil, errors.New(err.Error())
			}
			return w, nil
		},
	}, client)
}

// logTrouble logs why the API server does not answer, each reason once.
func (m *mirror[V]) logTrouble(ctx context.Context, err error, logger *slog.Logger) {
	m.mu.Lock()
	known := m.trouble
	m.trouble = err
	m.mu.Unlock()
	if err != nil && (known == nil || known.Error() != err.Error()) {
		logger.WarnContext(ctx, "the cluster cannot be followed: routes stay as they are",
			"kind", m.kind, "namespace", m.namespace, "error", err)
	}
}

// snapshot returns what is mirrored, and why some objects are not.
func (m *mirror[V]) snapshot() (objects map[string]V, faults []error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, err := range m.faults {
		faults = append(faults, fmt.Errorf("%s %s/%s: %w", m.kind, m.namespace, name, err))
	}
	return maps.Clone(m.objects), faults
}

// ready returns why there was no list yet; nil once there was.
func (m *mirror[V]) ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.synced:
		return nil
	case m.trouble != nil:
		return fmt.Errorf("list the %s of %s: %w", m.plural, m.namespace, m.trouble)
	default:
		return fmt.Errorf("list the %s of %s: not yet", m.plural, m.namespace)
	}
}

// Add implements cache.ReflectorStore.
func (m *mirror[V]) Add(object any) error { return m.Update(object) }

// Update implements cache.ReflectorStore.
func (m *mirror[V]) Update(object any) error {
	m.mu.Lock()
	m.put(object, m.objects)
	m.mu.Unlock()
	m.changed()
	return nil
}

// Delete implements cache.ReflectorStore.
func (m *mirror[V]) Delete(object any) error {
	if o, ok := object.(metav1.Object); ok {
		m.mu.Lock()
		delete(m.objects, o.GetName())
		delete(m.faults, o.GetName())
		m.mu.Unlock()
	}
	m.changed()
	return nil
}

// Replace implements cache.ReflectorStore: a list is whole.
func (m *mirror[V]) Replace(list []any, _ string) error {
	m.mu.Lock()
	before := maps.Clone(m.objects)
	clear(m.objects)
	clear(m.faults)
	for _, object := range list {
		m.put(object, before)
	}
	m.synced, m.trouble = true, nil
	m.mu.Unlock()
	m.changed()
	return nil
}

// Resync implements cache.ReflectorStore: nothing here is done again by time.
func (m *mirror[V]) Resync() error { return nil }

// put reads an object, which was there before or not. One that cannot be read is left out, and keeps no other
// from being there. Called with mu held.
func (m *mirror[V]) put(object any, before map[string]V) {
	o, ok := object.(*unstructured.Unstructured)
	if !ok {
		return // the reflector lets nothing else through
	}
	name := o.GetName()
	value, err := m.read(o, before[name])
	if err != nil {
		delete(m.objects, name)
		m.faults[name] = err
		return
	}
	delete(m.faults, name)
	m.objects[name] = value
}
