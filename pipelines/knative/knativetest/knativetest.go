// Package knativetest is an API server for tests of what keeps the objects of pipelines:
// client-go's fake one, which also takes server-side apply, and a Knative that reports on
// objects when a test says so. Nothing but tests imports it.
package knativetest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

// Resource is that of a kind, of pipelines' objects or of Knative Serving's.
func Resource(kind string) schema.GroupVersionResource {
	group := map[string]string{"Sequence": "flows.knative.dev", "Parallel": "flows.knative.dev", "Subscription": "messaging.knative.dev"}[kind]
	if group == "" {
		group = "serving.knative.dev"
	}
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: strings.ToLower(kind) + "s"}
}

// Kinds are those of pipelines' objects.
func Kinds() []string { return []string{"Sequence", "Parallel", "Subscription"} }

// Cluster is an API server with one namespace.
type Cluster struct {
	*fake.FakeDynamicClient

	namespace string
	mu        sync.Mutex
	refused   error
	applied   int
}

// New makes a Cluster with nothing in it.
func New(namespace string) *Cluster {
	lists := map[schema.GroupVersionResource]string{}
	for _, kind := range append(Kinds(), "Service", "Revision") {
		lists[Resource(kind)] = kind + "List"
	}
	c := &Cluster{FakeDynamicClient: fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists), namespace: namespace}
	c.PrependReactor("patch", "*", c.apply)
	return c
}

// apply is server-side apply as far as such tests need it: what is applied replaces what
// there is of the same path, and other fields stay.
func (c *Cluster) apply(action clienttesting.Action) (bool, runtime.Object, error) {
	patch, ok := action.(clienttesting.PatchAction)
	if !ok || patch.GetPatchType() != types.ApplyPatchType {
		return false, nil, nil
	}
	c.mu.Lock()
	c.applied++
	refused := c.refused
	c.mu.Unlock()
	if refused != nil {
		return true, nil, refused
	}
	wanted := &unstructured.Unstructured{}
	if err := wanted.UnmarshalJSON(patch.GetPatch()); err != nil {
		return true, nil, err
	}
	got, err := c.Tracker().Get(action.GetResource(), c.namespace, patch.GetName())
	if apierrors.IsNotFound(err) {
		return true, wanted, c.Tracker().Create(action.GetResource(), wanted, c.namespace)
	} else if err != nil {
		return true, nil, err
	}
	live, ok := got.(*unstructured.Unstructured)
	if !ok {
		return true, nil, fmt.Errorf("%s is a %T", patch.GetName(), got)
	}
	live = live.DeepCopy()
	merge(live.Object, wanted.Object)
	return true, live, c.Tracker().Update(action.GetResource(), live, c.namespace)
}

func merge(into, from map[string]any) {
	for key, value := range from {
		a, isMap := into[key].(map[string]any)
		b, alsoMap := value.(map[string]any)
		if isMap && alsoMap {
			merge(a, b)
		} else {
			into[key] = value
		}
	}
}

// Refuse has the API server answer what is applied with an error; nil has it taken again.
func (c *Cluster) Refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = err
}

// Applied is how often something was applied.
func (c *Cluster) Applied() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied
}

// Names are those of all objects of pipelines, each behind its kind's first letter.
func (c *Cluster) Names(ctx context.Context) ([]string, error) {
	var all []string
	for _, kind := range Kinds() {
		list, err := c.list(ctx, kind)
		if err != nil {
			return nil, err
		}
		for i := range list {
			all = append(all, kind[:1]+" "+list[i].GetName())
		}
	}
	return all, nil
}

func (c *Cluster) list(ctx context.Context, kind string) ([]unstructured.Unstructured, error) {
	list, err := c.Resource(Resource(kind)).Namespace(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// Report has Knative report that every object is ready, but those of some names, which
// have a reason.
func (c *Cluster) Report(ctx context.Context, but map[string]string) error {
	for _, kind := range Kinds() {
		list, err := c.list(ctx, kind)
		if err != nil {
			return err
		}
		for i := range list {
			condition := map[string]any{"type": "Ready", "status": "True"}
			if reason, ok := but[list[i].GetName()]; ok {
				condition = map[string]any{"type": "Ready", "status": "False", "reason": "NotThere", "message": reason}
			}
			o := list[i].DeepCopy()
			o.Object["status"] = map[string]any{"observedGeneration": int64(0), "conditions": []any{condition}}
			if _, err := c.Resource(Resource(kind)).Namespace(c.namespace).Update(ctx, o, metav1.UpdateOptions{}); err != nil {
				return err
			}
		}
	}
	return nil
}
