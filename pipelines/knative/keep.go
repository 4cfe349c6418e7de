package knative

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/modelserveai/modelserve/pipelines/compile"
)

// What had been done to an object that is put back.
const (
	wasChanged = "changed"
	wasDeleted = "deleted"
)

const (
	firstPause = time.Second      // after the first repair of an object
	lastPause  = time.Minute      // after many: somebody else wants it otherwise, and goes on
	forgotten  = 10 * time.Minute // without a repair, after which the next is a first one
	callBound  = 20 * time.Second // of one call of the API server
	spacing    = 100 * time.Millisecond
)

// deleting is why an object that goes is not ready.
const deleting = "it is being deleted"

// wanted is an object that must be there.
type wanted struct {
	version Version
	object  *unstructured.Unstructured
	seen    bool   // it was there
	good    string // the resource version in which it was as it must be
}

// pause is how long an object that was put back is left alone.
type pause struct {
	until time.Time
	wait  time.Duration
}

// Run keeps the objects until ctx ends. While the API server or Versions do not answer,
// what is there stays.
func (k *Keeper) Run(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	for _, m := range k.mirrors {
		following.Go(func() { m.follow(ctx, k.client, k.logger) })
	}
	tick := time.NewTicker(k.config.Interval)
	defer tick.Stop()
	ask := true
	for {
		if k.Ready(ctx) == nil {
			if ask {
				ask = !k.ask(ctx)
			}
			if k.asks != nil {
				k.keep(ctx)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(spacing): // what changes together is looked at once
		}
		select {
		case <-ctx.Done():
			return
		case <-k.dirty:
		case <-k.asked:
			ask = true
		case <-tick.C:
			ask = true
		}
	}
}

// ask takes over which versions are wanted, and what they run on; false where that could
// not be found out.
func (k *Keeper) ask(ctx context.Context) bool {
	versions, err := k.versions.Wanted(ctx)
	if err != nil {
		k.logOnce(ctx, []string{"list the versions that are wanted: " + err.Error()})
		return false
	}
	next, asked := map[types.NamespacedName]*wanted{}, map[Version]string{}
	for _, v := range versions {
		objects, err := k.unstructured(ctx, v)
		if err != nil { // what there is of it stays
			asked[v] = err.Error()
			for key, w := range k.wanted {
				if w.version == v {
					next[key] = w
				}
			}
			continue
		}
		asked[v] = ""
		for _, o := range objects {
			key := types.NamespacedName{Namespace: o.GetKind(), Name: o.GetName()}
			w := &wanted{version: v, object: o}
			if before := k.wanted[key]; before != nil {
				w.seen = before.seen
				if equality.Semantic.DeepEqual(before.object, o) {
					w.good = before.good
				}
			}
			next[key] = w
		}
	}
	k.wanted, k.asks = next, asked
	k.order = slices.SortedFunc(maps.Keys(next), inOrder())
	return true
}

func (k *Keeper) unstructured(ctx context.Context, v Version) ([]*unstructured.Unstructured, error) {
	objects, err := k.versions.Objects(ctx, v)
	if err != nil {
		return nil, err
	}
	return objects.Unstructured()
}

// keep looks at every object once, and puts right what is not as it must be.
func (k *Keeper) keep(ctx context.Context) {
	k.faults = nil
	states := make(map[Version]State, len(k.asks))
	for v, fault := range k.asks {
		states[v] = State{Ready: true}
		if fault != "" {
			states[v] = State{Reason: fault}
			k.faults = append(k.faults, v.String()+": "+fault)
		}
	}
	for _, w := range k.wanted {
		states[w.version] = State{Ready: true} // also of one that cannot be made now: what there is of it counts
	}
	for _, key := range k.order {
		w := k.wanted[key]
		if reason := k.hold(ctx, key, w); reason != "" && states[w.version].Ready {
			states[w.version] = State{Reason: fmt.Sprintf("%s %s: %s", key.Namespace, key.Name, reason)}
		}
		if ctx.Err() != nil {
			return
		}
	}
	k.setStates(states)
	k.remove(ctx)
	k.logOnce(ctx, k.faults)
}

// inOrder compares by kind, as they are applied, and then by name.
func inOrder() func(a, b types.NamespacedName) int {
	rank := map[string]int{}
	for i, kind := range kinds() {
		rank[kind.name] = i
	}
	return func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(rank[a.Namespace], rank[b.Namespace]), cmp.Compare(a.Name, b.Name))
	}
}

// hold puts an object right, and returns why it is not ready; "" where it is.
func (k *Keeper) hold(ctx context.Context, key types.NamespacedName, w *wanted) (reason string) {
	live, there := k.mirrors[key.Namespace].get(key.Name)
	switch {
	case !there && !w.seen:
		return k.apply(ctx, w.object, nil)
	case !there:
		return k.repair(ctx, key, w, nil, wasDeleted)
	case live.GetDeletionTimestamp() != nil:
		w.seen = true
		return deleting
	case another(w.object, live):
		w.seen = false
		return k.delete(ctx, live)
	}
	w.seen = true
	if w.good == "" || w.good != live.GetResourceVersion() {
		if differs(w.object, live) != "" {
			return k.repair(ctx, key, w, live, wasChanged)
		}
		w.good = live.GetResourceVersion()
	}
	_, reason = verdict(live)
	return reason
}

// repair puts an object back, unless that was done a moment ago.
func (k *Keeper) repair(ctx context.Context, key types.NamespacedName, w *wanted, live *unstructured.Unstructured, was string) (reason string) {
	now := time.Now()
	p := k.repairs[key]
	if p == nil || now.Sub(p.until) > forgotten {
		p = &pause{wait: firstPause}
	}
	if now.Before(p.until) {
		return "it was put back, and " + was + " again; it is put back later"
	}
	p.until, p.wait = now.Add(p.wait), min(2*p.wait, lastPause)
	k.repairs[key] = p
	what := ""
	if live != nil {
		what = differs(w.object, live)
	}
	k.metrics.repairs.WithLabelValues(key.Namespace, was).Inc()
	k.logger.WarnContext(ctx, "an object of a pipeline was "+was+", and is put back",
		"kind", key.Namespace, "name", key.Name, "pipeline", w.version.Name, "version", w.version.Number, "what", what)
	return k.apply(ctx, w.object, live)
}

// apply applies an object. live is what there is of it, nil for nothing. Where another
// manager of its fields has added some to it, which applying leaves, it is replaced.
func (k *Keeper) apply(ctx context.Context, object, live *unstructured.Unstructured) (reason string) {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	in := k.client.Resource(k.mirrors[object.GetKind()].kind.resource).Namespace(object.GetNamespace())
	got, err := in.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: compile.Manager, Force: true})
	if err == nil && live != nil && differs(object, got) != "" {
		whole := got.DeepCopy()
		whole.Object["spec"] = object.DeepCopy().Object["spec"]
		got, err = in.Update(ctx, whole, metav1.UpdateOptions{FieldManager: compile.Manager})
	}
	if err != nil {
		return k.failed(object, "apply it", err)
	}
	_, reason = verdict(got)
	return reason
}

// delete deletes an object as it was seen.
func (k *Keeper) delete(ctx context.Context, live *unstructured.Unstructured) (reason string) {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	uid, version := live.GetUID(), live.GetResourceVersion()
	in := k.client.Resource(k.mirrors[live.GetKind()].kind.resource).Namespace(live.GetNamespace())
	err := in.Delete(ctx, live.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
	if err != nil && !apierrors.IsNotFound(err) {
		return k.failed(live, "delete it", err)
	}
	return deleting
}

// failed counts a write that failed, and returns why it did.
func (k *Keeper) failed(o *unstructured.Unstructured, what string, err error) string {
	k.metrics.failures.Inc()
	text := fmt.Sprintf("%s: %v", what, err)
	text = strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
	k.faults = append(k.faults, o.GetKind()+" "+o.GetName()+": "+text)
	return text
}

// remove deletes what no version has wanted for a while.
func (k *Keeper) remove(ctx context.Context) {
	now := time.Now()
	since := map[types.NamespacedName]time.Time{}
	for _, kind := range kinds() {
		m := k.mirrors[kind.name]
		for _, name := range m.names() {
			key := types.NamespacedName{Namespace: kind.name, Name: name}
			if k.wanted[key] != nil {
				continue
			}
			first, known := k.unwanted[key]
			if !known {
				first = now
			}
			since[key] = first
			live, there := m.get(name)
			if !there || now.Sub(first) < k.config.Grace || live.GetDeletionTimestamp() != nil || k.asks[versionOf(live)] != "" {
				continue
			}
			if reason := k.delete(ctx, live); reason == deleting {
				k.metrics.removed.Inc()
			}
		}
	}
	k.unwanted = since
	maps.DeleteFunc(k.repairs, func(_ types.NamespacedName, p *pause) bool { return now.Sub(p.until) > forgotten })
}
