package knative

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	"github.com/modelserveai/modelserve/pipelines/compile"
)

// The waits between attempts to reach an API server that does not answer.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// mirror is the objects of a kind that are ours, as the API server last sent them; while
// it does not answer they stay. It is the store of a reflector.
type mirror struct {
	kind      kind
	namespace string
	changed   func()

	mu      sync.Mutex
	synced  bool
	trouble error // why the API server does not answer; nil while it does
	objects map[string]*unstructured.Unstructured
}

var _ cache.ReflectorStore = (*mirror)(nil)

func (k *Keeper) newMirrors() map[string]*mirror {
	all := map[string]*mirror{}
	for _, kind := range kinds() {
		all[kind.name] = &mirror{
			kind: kind, namespace: k.config.Namespace, changed: func() { wake(k.dirty) }, objects: map[string]*unstructured.Unstructured{},
		}
	}
	return all
}

// follow keeps the mirror until ctx ends.
func (m *mirror) follow(ctx context.Context, client dynamic.Interface, logger *slog.Logger) {
	expected := &unstructured.Unstructured{}
	expected.SetAPIVersion(m.kind.resource.GroupVersion().String())
	expected.SetKind(m.kind.name)
	reflector := cache.NewReflectorWithOptions(m.listWatch(client), expected, m, cache.ReflectorOptions{Name: m.kind.name + " in " + m.namespace})
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
		d := min(lastRetry, firstRetry<<min(failures, 10))
		select {
		case <-ctx.Done():
			return
		case <-time.After(d/2 + rand.N(d/2)): //nolint:gosec // jitter
		}
	}
}

func (m *mirror) listWatch(client dynamic.Interface) cache.ListerWatcher {
	in := client.Resource(m.kind.resource).Namespace(m.namespace)
	ours := compile.ManagedBy + "=" + compile.Manager
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = ours
			return in.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = ours
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
func (m *mirror) logTrouble(ctx context.Context, err error, logger *slog.Logger) {
	m.mu.Lock()
	known := m.trouble
	m.trouble = err
	m.mu.Unlock()
	if err != nil && (known == nil || known.Error() != err.Error()) {
		logger.WarnContext(ctx, "the cluster cannot be followed: objects of pipelines stay as they are",
			"kind", m.kind.name, "namespace", m.namespace, "error", err)
	}
}

func (m *mirror) get(name string) (*unstructured.Unstructured, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[name]
	return o, ok
}

// names are those of all objects.
func (m *mirror) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]string, 0, len(m.objects))
	for name := range m.objects {
		all = append(all, name)
	}
	return all
}

// put keeps an object. Called with mu held.
func (m *mirror) put(object any) {
	o, ok := object.(*unstructured.Unstructured)
	switch {
	case !ok: // the reflector lets nothing else through
	case isOurs(o):
		m.objects[o.GetName()] = o
	default:
		delete(m.objects, o.GetName())
	}
}

// ready returns why there was no list yet; nil once there was.
func (m *mirror) ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.synced:
		return nil
	case m.trouble != nil:
		return fmt.Errorf("list the %s of %s: %w", m.kind.resource.Resource, m.namespace, m.trouble)
	default:
		return fmt.Errorf("list the %s of %s: not yet", m.kind.resource.Resource, m.namespace)
	}
}

// Add implements cache.ReflectorStore.
func (m *mirror) Add(object any) error { return m.Update(object) }

// Update implements cache.ReflectorStore.
func (m *mirror) Update(object any) error {
	m.mu.Lock()
	m.put(object)
	m.mu.Unlock()
	m.changed()
	return nil
}

// Delete implements cache.ReflectorStore.
func (m *mirror) Delete(object any) error {
	if o, ok := object.(*unstructured.Unstructured); ok {
		m.mu.Lock()
		delete(m.objects, o.GetName())
		m.mu.Unlock()
	}
	m.changed()
	return nil
}

// Replace implements cache.ReflectorStore: a list is whole.
func (m *mirror) Replace(list []any, _ string) error {
	m.mu.Lock()
	clear(m.objects)
	for _, object := range list {
		m.put(object)
	}
	m.synced, m.trouble = true, nil
	m.mu.Unlock()
	m.changed()
	return nil
}

// Resync implements cache.ReflectorStore: nothing here is done again by time.
func (m *mirror) Resync() error { return nil }
