package knative_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/modelserveai/modelserve/gateway/knative"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/logtest"
)

func gvr(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: plural}
}

// share is a line of a Service's traffic in force.
func share(revision string, percent int64, tag string) servingv1.TrafficTarget {
	return servingv1.TrafficTarget{RevisionName: revision, Percent: &percent, Tag: tag}
}

// aService is a Service in a namespace ("ns/name"), ready and with an address,
// whose newest revision is the last one of its traffic.
func aService(key string, traffic ...servingv1.TrafficTarget) *servingv1.Service {
	namespace, name, _ := strings.Cut(key, "/")
	s := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Status.Address = &duckv1.Addressable{URL: apis.HTTP(name + "." + namespace + ".svc.cluster.local")}
	s.Status.Traffic = traffic
	if len(traffic) > 0 {
		s.Status.LatestCreatedRevisionName = traffic[len(traffic)-1].RevisionName
	}
	s.Status.Conditions = append(condition(corev1.ConditionTrue, ""), routed(corev1.ConditionTrue))
	return s
}

// aRevision is a Revision with a value of MODELSERVE_MODELS, ready and with
// pods.
func aRevision(key, models string, pods int32) *servingv1.Revision {
	namespace, name, _ := strings.Cut(key, "/")
	r := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	r.Spec.Containers = []corev1.Container{{Name: "function", Env: []corev1.EnvVar{{Name: "PORT_NAME", Value: "x"}}}}
	if models != "" {
		r.Spec.Containers[0].Env = append(r.Spec.Containers[0].Env, corev1.EnvVar{Name: "MODELSERVE_MODELS", Value: models})
	}
	r.Status.Conditions = condition(corev1.ConditionTrue, "")
	r.Status.ActualReplicas = &pods
	return r
}

func condition(status corev1.ConditionStatus, message string) duckv1.Conditions {
	return duckv1.Conditions{{Type: apis.ConditionReady, Status: status, Message: message}}
}

// routed is what Knative reports of a Service's way through the ingress.
func routed(status corev1.ConditionStatus) apis.Condition {
	return apis.Condition{Type: servingv1.ServiceConditionRoutesReady, Status: status}
}

// object is a typed object as the API server sends it.
func object(t testing.TB, typed any) *unstructured.Unstructured {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetAPIVersion("serving.knative.dev/v1")
	switch typed.(type) {
	case *servingv1.Service:
		u.SetKind("Service")
	case *servingv1.Revision:
		u.SetKind("Revision")
	}
	return u
}

// cluster is an API server, a Watcher of it, and the routes it keeps.
type cluster struct {
	t       *testing.T
	client  *fake.FakeDynamicClient
	routes  *route.Routes
	watcher *knative.Watcher
	log     *logtest.Log
}

func newCluster(t *testing.T, config knative.Config, objects ...any) *cluster {
	t.Helper()
	var there []runtime.Object
	for _, o := range objects {
		there = append(there, object(t, o))
	}
	c := &cluster{t: t, log: &logtest.Log{}}
	c.client = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		gvr("services"): "ServiceList", gvr("revisions"): "RevisionList",
	}, there...)
	var err error
	if c.routes, err = route.New("{function}.{namespace}.models.test", "{function}.short.test"); err != nil {
		t.Fatal(err)
	}
	c.watcher = knative.New(config, c.client, c.routes, slog.New(slog.NewTextHandler(c.log, nil)))
	return c
}

// run runs the Watcher until the returned function is called.
func (c *cluster) run() (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.watcher.Run(ctx)
	}()
	return func() { cancel(); <-done }
}

func plural(u *unstructured.Unstructured) string { return strings.ToLower(u.GetKind()) + "s" }

// apply creates or updates objects.
func (c *cluster) apply(objects ...any) {
	c.t.Helper()
	for _, o := range objects {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			u = object(c.t, o)
		}
		in := c.client.Resource(gvr(plural(u))).Namespace(u.GetNamespace())
		_, err := in.Create(c.t.Context(), u, metav1.CreateOptions{})
		if err != nil {
			_, err = in.Update(c.t.Context(), u, metav1.UpdateOptions{})
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cluster) remove(typed any) {
	c.t.Helper()
	u := object(c.t, typed)
	if err := c.client.Resource(gvr(plural(u))).Namespace(u.GetNamespace()).Delete(c.t.Context(), u.GetName(), metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// names lists the functions in force.
func (c *cluster) names() string {
	var names []string
	for _, f := range c.routes.Functions() {
		names = append(names, f.Namespace+"/"+f.Name)
	}
	return strings.Join(names, " ")
}

// find is a function in force.
func (c *cluster) find(namespace, name string) route.Function {
	c.t.Helper()
	for _, f := range c.routes.Functions() {
		if f.Namespace == namespace && f.Name == name {
			return f
		}
	}
	c.t.Fatalf("no %s/%s among %s", namespace, name, c.names())
	return route.Function{}
}
