package knative_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/knative"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

func gvr(kind string) schema.GroupVersionResource {
	group := "flows.knative.dev"
	if kind == "Subscription" {
		group = "messaging.knative.dev"
	}
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: strings.ToLower(kind) + "s"}
}

func kinds() []string { return []string{"Sequence", "Parallel", "Subscription"} }

type signer struct{}

func (signer) Address(_ string, p ticket.Plan) (string, error) { return "/?plan=" + p.Step, nil }

// objects are what a version of a pipeline of three steps, and a fork, runs on.
func objects(v knative.Version, digest string) *compile.Objects {
	step := func(name, needs string) definition.Step {
		return definition.Step{Name: name, Function: "f", Needs: strings.Fields(needs), Input: "input", Timeout: time.Second}
	}
	p := plan.Of(&definition.Definition{Steps: []definition.Step{step("a", ""), step("b", "a"), step("c", "a"), step("d", "c")}})
	o, err := compile.Of(p, compile.Version{Tenant: v.Owner, Pipeline: v.Name, Number: v.Number, Digest: digest}, compile.Target{
		Namespace: "models", Functions: map[string]compile.Function{"f": {Service: "f"}},
		Service: duckv1.KReference{APIVersion: "v1", Kind: "Service", Name: "pipelines"},
	}, signer{})
	if err != nil {
		panic(err)
	}
	return o
}

// versions are those that are wanted.
type versions struct {
	mu     sync.Mutex
	err    error
	digest map[knative.Version]string // "" cannot be made
}

func (s *versions) set(digest map[knative.Version]string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.digest, s.err = digest, err
}

func (s *versions) Wanted(context.Context) ([]knative.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.digest)), s.err
}

func (s *versions) Objects(_ context.Context, v knative.Version) (*compile.Objects, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.digest[v] == "" {
		return nil, errors.New("there is no function f")
	}
	return objects(v, s.digest[v]), nil
}

// cluster is an API server, and a Keeper of it.
type cluster struct {
	t        *testing.T
	client   *fake.FakeDynamicClient
	versions *versions
	keeper   *knative.Keeper
	registry *prometheus.Registry
	log      *logtest.Log

	mu      sync.Mutex
	refused error // what the API server answers to writes; nil takes them
	applied int
}

// one is the version that most tests have.
func one() knative.Version { return knative.Version{Owner: "acme", Name: "read", Number: 1} }

func newCluster(t *testing.T, config knative.Config) *cluster {
	t.Helper()
	c := &cluster{t: t, versions: &versions{}, registry: prometheus.NewRegistry(), log: &logtest.Log{}}
	c.versions.set(map[knative.Version]string{one(): "sha256:1"}, nil)
	lists := map[schema.GroupVersionResource]string{}
	for _, kind := range kinds() {
		lists[gvr(kind)] = kind + "List"
	}
	c.client = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists)
	c.client.PrependReactor("patch", "*", c.apply)
	config.Namespace = "models"
	var err error
	c.keeper, err = knative.New(config, c.client, c.versions, c.registry, slog.New(slog.NewTextHandler(c.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// apply is server-side apply as far as these tests need it: what is applied replaces
// what there is of the same path, and other fields stay. Each change has a resource
// version.
func (c *cluster) apply(action clienttesting.Action) (bool, runtime.Object, error) {
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
	tracker := c.client.Tracker()
	got, err := tracker.Get(action.GetResource(), "models", patch.GetName())
	if apierrors.IsNotFound(err) {
		return true, wanted, tracker.Create(action.GetResource(), wanted, "models")
	} else if err != nil {
		return true, nil, err
	}
	live := got.(*unstructured.Unstructured).DeepCopy()
	merge(live.Object, wanted.Object)
	return true, live, tracker.Update(action.GetResource(), live, "models")
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

// refuse has the API server answer writes with an error.
func (c *cluster) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = err
}

// writes is how often something was applied.
func (c *cluster) writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied
}

// run runs the Keeper until the returned function is called.
func (c *cluster) run() (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.keeper.Run(ctx)
	}()
	return func() { cancel(); <-done }
}

// names are those of all objects, with their kinds' first letters.
func (c *cluster) names() []string {
	c.t.Helper()
	var all []string
	for _, kind := range kinds() {
		list, err := c.client.Resource(gvr(kind)).Namespace("models").List(c.t.Context(), metav1.ListOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, o := range list.Items {
			all = append(all, kind[:1]+" "+o.GetName())
		}
	}
	return all
}

func (c *cluster) get(kind, name string) *unstructured.Unstructured {
	c.t.Helper()
	o, err := c.client.Resource(gvr(kind)).Namespace("models").Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return o
}

// edit changes an object as somebody else would.
func (c *cluster) edit(kind, name string, change func(o map[string]any)) {
	c.t.Helper()
	o := c.get(kind, name).DeepCopy()
	change(o.Object)
	if _, err := c.client.Resource(gvr(kind)).Namespace("models").Update(c.t.Context(), o, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) remove(kind, name string) {
	c.t.Helper()
	if err := c.client.Resource(gvr(kind)).Namespace("models").Delete(c.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// report has Knative report that every object is ready, but those of some names.
func (c *cluster) report(but map[string]string) {
	c.t.Helper()
	for _, kind := range kinds() {
		list, err := c.client.Resource(gvr(kind)).Namespace("models").List(c.t.Context(), metav1.ListOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, o := range list.Items {
			condition := map[string]any{"type": "Ready", "status": "True"}
			if reason, ok := but[o.GetName()]; ok {
				condition = map[string]any{"type": "Ready", "status": "False", "reason": "NotThere", "message": reason}
			}
			c.edit(kind, o.GetName(), func(o map[string]any) {
				o["status"] = map[string]any{"observedGeneration": int64(0), "conditions": []any{condition}}
			})
		}
	}
}

func (c *cluster) metric(name string, labels ...string) float64 {
	c.t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetName()+"="+l.GetValue())
			}
			if f.GetName() == name && slices.Equal(got, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	c.t.Fatalf("no metric %s%v", name, labels)
	return 0
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
