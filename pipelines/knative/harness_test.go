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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/knative"
	"github.com/modelserveai/modelserve/pipelines/knative/knativetest"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

func gvr(kind string) schema.GroupVersionResource { return knativetest.Resource(kind) }

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
	client   *knativetest.Cluster
	versions *versions
	keeper   *knative.Keeper
	registry *prometheus.Registry
	log      *logtest.Log
}

// one is the version that most tests have.
func one() knative.Version { return knative.Version{Owner: "acme", Name: "read", Number: 1} }

func newCluster(t *testing.T, config knative.Config) *cluster {
	t.Helper()
	c := &cluster{t: t, versions: &versions{}, registry: prometheus.NewRegistry(), log: &logtest.Log{}}
	c.versions.set(map[knative.Version]string{one(): "sha256:1"}, nil)
	c.client = knativetest.New("models")
	config.Namespace = "models"
	var err error
	c.keeper, err = knative.New(config, c.client, c.versions, c.registry, slog.New(slog.NewTextHandler(c.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return c
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
	return must(c.client.Names(c.t.Context()))
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
	if err := c.client.Report(c.t.Context(), but); err != nil {
		c.t.Fatal(err)
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
