package knative_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/knative"
)

// name is that of the Sequence of a segment of version one.
func name(segment int) string { return compile.Sequence("acme", "read", 1, segment) }

// every is the names of all objects of version one.
func every() []string {
	return []string{"S " + name(0), "S " + name(1), "S " + name(2), "P " + compile.Parallel("acme", "read", 1, 0), "S " + name(2) + "-tap-1"}
}

// settle lets the Keeper look at what changed.
func settle() {
	time.Sleep(time.Second) // of a bubble: no time
	synctest.Wait()
}

// kept runs a test with a cluster in which the objects of version one are ready.
func kept(t *testing.T, config knative.Config, test func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, config)
		defer c.run()()
		settle()
		c.report(nil)
		settle()
		if state := c.keeper.State(one()); !state.Ready {
			t.Fatalf("not ready: %s\n%s", state.Reason, c.log)
		}
		test(t, c)
	})
}

func TestObjectsAreMadeAndBecomeReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, knative.Config{})
		if err := c.keeper.Ready(t.Context()); err == nil {
			t.Error("ready before anything was listed")
		}
		defer c.run()()
		settle()
		if diff := cmp.Diff(every(), c.names()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if err := c.keeper.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		first := func(segment int) string {
			url, host, err := c.keeper.First(t.Context(), "acme", "read", 1, segment, 0)
			if err != nil {
				if !errors.Is(err, knative.ErrNotReady) {
					t.Errorf("got %v", err)
				}
				return err.Error()
			}
			return url + " " + host
		}
		if got := first(0); !strings.Contains(got, "not reported") {
			t.Errorf("got %s", got)
		}
		c.report(map[string]string{name(2): "no such\nservice"})
		settle()
		want := knative.State{Reason: "Sequence " + name(2) + ": NotThere: no such service"}
		if diff := cmp.Diff(want, c.keeper.State(one())); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		host := name(0) + "-kn-sequence-0-kn-channel.models.svc.cluster.local"
		if got := first(0); got != "http://"+host+"/ "+host {
			t.Errorf("a segment whose Sequence is ready: %s", got)
		}
		if got := first(2); !strings.Contains(got, "no such service") {
			t.Errorf("got %s", got)
		}
		c.report(nil)
		settle()
		if state := c.keeper.State(one()); !state.Ready || c.metric("modelserve_pipeline_versions", "state=ready") != 1 {
			t.Errorf("got %v", state)
		}
		if c.log.String() != "" {
			t.Errorf("logged: %s", c.log)
		}
	})
}

func TestAVersionIsMadeWhenItIsWanted(t *testing.T) {
	t.Parallel()
	kept(t, knative.Config{Interval: time.Hour}, func(t *testing.T, c *cluster) {
		two := one()
		two.Number = 2
		c.versions.set(map[knative.Version]string{one(): "sha256:1", two: "sha256:2"}, nil)
		if _, _, err := c.keeper.First(t.Context(), "acme", "read", 2, 0, 0); !errors.Is(err, knative.ErrNotReady) || !strings.Contains(err.Error(), "not made yet") {
			t.Errorf("got %v", err)
		}
		settle()
		if len(c.names()) != 2*len(every()) {
			t.Errorf("there are %v", c.names())
		}
	})
}

// TestWhatIsChangedIsPutBack holds that nobody's edit of an object stays, whether it
// changes a field of ours or adds one.
func TestWhatIsChangedIsPutBack(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(o map[string]any){
		"a step elsewhere": func(o map[string]any) {
			steps, _, _ := unstructured.NestedSlice(o, "spec", "steps")
			steps[0].(map[string]any)["uri"] = "/elsewhere"
			_ = unstructured.SetNestedSlice(o, steps, "spec", "steps")
		},
		"no reply":     func(o map[string]any) { unstructured.RemoveNestedField(o, "spec", "reply") },
		"a field more": func(o map[string]any) { _ = unstructured.SetNestedField(o, "x", "spec", "reply", "audience") },
		"another label": func(o map[string]any) {
			_ = unstructured.SetNestedField(o, "9", "metadata", "labels", compile.LabelVersion)
		},
		"no annotations": func(o map[string]any) { unstructured.RemoveNestedField(o, "metadata", "annotations") },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			kept(t, knative.Config{}, func(t *testing.T, c *cluster) {
				before := c.get("Sequence", name(0))
				c.edit("Sequence", name(0), change)
				settle()
				if diff := cmp.Diff(before.Object["spec"], c.get("Sequence", name(0)).Object["spec"]); diff != "" {
					t.Errorf("spec: -before +after:\n%s", diff)
				}
				if diff := cmp.Diff(before.GetLabels(), c.get("Sequence", name(0)).GetLabels()); diff != "" {
					t.Errorf("labels: -before +after:\n%s", diff)
				}
				if got := c.metric("modelserve_pipeline_objects_repaired_total", "kind=Sequence", "was=changed"); got != 1 {
					t.Errorf("%v repairs are counted", got)
				}
				if !strings.Contains(c.log.String(), "put back") || !c.keeper.State(one()).Ready {
					t.Errorf("state %v, log %s", c.keeper.State(one()), c.log)
				}
			})
		})
	}
}

func TestWhatOthersAddToMetadataStays(t *testing.T) {
	t.Parallel()
	kept(t, knative.Config{}, func(t *testing.T, c *cluster) {
		c.edit("Sequence", name(0), func(o map[string]any) {
			_ = unstructured.SetNestedField(o, "b", "metadata", "annotations", "a")
		})
		settle()
		if got := c.get("Sequence", name(0)).GetAnnotations()["a"]; got != "b" || c.log.String() != "" {
			t.Errorf("got %q, log %s", got, c.log)
		}
	})
}

func TestWhatIsDeletedIsPutBack(t *testing.T) {
	t.Parallel()
	kept(t, knative.Config{}, func(t *testing.T, c *cluster) {
		c.remove("Sequence", name(0))
		c.remove("Subscription", name(2)+"-tap-1")
		settle()
		if diff := cmp.Diff(every(), c.names()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		for _, kind := range []string{"Sequence", "Subscription"} {
			if got := c.metric("modelserve_pipeline_objects_repaired_total", "kind="+kind, "was=deleted"); got != 1 {
				t.Errorf("%s: %v repairs are counted", kind, got)
			}
		}
		if state := c.keeper.State(one()); state.Ready {
			t.Error("ready before Knative has reported on it")
		}
	})
}

// TestWhoGoesOnChangingIsNotFought holds that an object that somebody else changes again
// and again is put back ever less often.
func TestWhoGoesOnChangingIsNotFought(t *testing.T) {
	t.Parallel()
	kept(t, knative.Config{}, func(t *testing.T, c *cluster) {
		before := c.client.Applied()
		for range 600 {
			c.edit("Sequence", name(0), func(o map[string]any) { _ = unstructured.SetNestedField(o, "/x", "spec", "reply", "uri") })
			time.Sleep(time.Second)
		}
		if n := c.client.Applied() - before; n < 5 || n > 20 {
			t.Errorf("put back %d times in ten minutes", n)
		}
		if state := c.keeper.State(one()); state.Ready || !strings.Contains(state.Reason, "put back later") {
			t.Errorf("state %v", state)
		}
		time.Sleep(2 * time.Minute)
		if got, _, _ := unstructured.NestedString(c.get("Sequence", name(0)).Object, "spec", "reply", "uri"); got != "/events/reply" {
			t.Errorf("at last it is %s", got)
		}
	})
}

func TestWhatNobodyWantsIsRemoved(t *testing.T) {
	t.Parallel()
	kept(t, knative.Config{}, func(t *testing.T, c *cluster) {
		others := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "flows.knative.dev/v1", "kind": "Sequence", "metadata": map[string]any{"name": "others", "namespace": "models"},
		}}
		if _, err := c.client.Resource(gvr("Sequence")).Namespace("models").Create(t.Context(), others, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.versions.set(nil, errors.New("the database is not available"))
		time.Sleep(10 * time.Minute)
		if len(c.names()) != len(every())+1 {
			t.Fatalf("nobody knows what is wanted, and there are %v", c.names())
		}
		c.versions.set(map[knative.Version]string{}, nil)
		time.Sleep(30 * time.Second)
		if len(c.names()) != len(every())+1 {
			t.Errorf("before its grace is over there are %v", c.names())
		}
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"S others"}, c.names()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if got := c.metric("modelserve_pipeline_objects_removed_total"); got != float64(len(every())) {
			t.Errorf("%v removals are counted", got)
		}
		if state := c.keeper.State(one()); state.Ready {
			t.Error("a version that is gone is ready")
		}
	})
}

// TestWhatIsWantedAgainStays holds that a version that is wanted again before its grace
// is over loses nothing.
func TestWhatIsWantedAgainStays(t *testing.T) {
	t.Parallel()
	kept(t, knative.Config{}, func(t *testing.T, c *cluster) {
		for range 10 {
			c.versions.set(map[knative.Version]string{}, nil)
			time.Sleep(40 * time.Second)
			c.versions.set(map[knative.Version]string{one(): "sha256:1"}, nil)
			time.Sleep(40 * time.Second)
		}
		if diff := cmp.Diff(every(), c.names()); diff != "" || c.metric("modelserve_pipeline_objects_removed_total") != 0 {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// TestAnotherDefinitionIsMadeAnew holds that an object of another definition under the
// same name is deleted first: Knative does not carry out every change of one.
func TestAnotherDefinitionIsMadeAnew(t *testing.T) {
	t.Parallel()
	kept(t, knative.Config{}, func(t *testing.T, c *cluster) {
		c.versions.set(map[knative.Version]string{one(): "sha256:2"}, nil)
		time.Sleep(20 * time.Second)
		if got := c.get("Sequence", name(0)); got.GetAnnotations()[compile.AnnotationDigest] != "sha256:2" || got.Object["status"] != nil {
			t.Errorf("it is %v", got.Object)
		}
		if got := c.metric("modelserve_pipeline_objects_repaired_total", "kind=Sequence", "was=deleted"); got != 0 {
			t.Errorf("%v repairs are counted", got)
		}
	})
}

// TestAVersionThatCannotBeMade holds that it has its reason, keeps what there is of it,
// and keeps no other from being made.
func TestAVersionThatCannotBeMade(t *testing.T) {
	t.Parallel()
	kept(t, knative.Config{}, func(t *testing.T, c *cluster) {
		two := one()
		two.Number = 2
		three := one()
		three.Number = 3
		c.versions.set(map[knative.Version]string{one(): "", two: "", three: "sha256:3"}, nil)
		time.Sleep(5 * time.Minute)
		if len(c.names()) != 2*len(every()) {
			t.Errorf("there are %v", c.names())
		}
		if state := c.keeper.State(one()); !state.Ready {
			t.Errorf("what there is of it is not ready: %s", state.Reason)
		}
		if state := c.keeper.State(two); state.Reason != "there is no function f" {
			t.Errorf("state %v", state)
		}
		if n := strings.Count(c.log.String(), "acme/read version 2: there is no function f"); n != 1 {
			t.Errorf("logged %d times: %s", n, c.log)
		}
	})
}

// TestAfterARestart holds that a Keeper which knows nothing yet removes nothing of a
// version that cannot be made now.
func TestAfterARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, knative.Config{})
		all := must(objects(one(), "sha256:1").Unstructured())
		for _, o := range all {
			must(c.client.Resource(gvr(o.GetKind())).Namespace("models").Create(t.Context(), o, metav1.CreateOptions{}))
		}
		c.versions.set(map[knative.Version]string{one(): ""}, nil)
		defer c.run()()
		time.Sleep(10 * time.Minute)
		if diff := cmp.Diff(every(), c.names()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestTheAPIServerRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, knative.Config{})
		c.client.Refuse(errors.New("admission webhook denied the request"))
		defer c.run()()
		time.Sleep(time.Minute)
		if state := c.keeper.State(one()); !strings.Contains(state.Reason, "apply it: admission webhook denied") {
			t.Errorf("state %v", state)
		}
		if got := c.metric("modelserve_pipeline_objects_failures_total"); got < 5 {
			t.Errorf("%v failures are counted", got)
		}
		if n := strings.Count(c.log.String(), name(0)+": apply it"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		c.client.Refuse(nil)
		time.Sleep(time.Minute)
		if diff := cmp.Diff(every(), c.names()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	const host = "-kn-sequence-2-kn-channel.models.svc."
	for what, tc := range map[string]struct {
		config    knative.Config
		status    string // of the Sequence; SEQUENCE is its name
		url, host string
	}{
		"none is reported":      {knative.Config{}, "", "http://SEQUENCE" + host + "cluster.local/", "SEQUENCE" + host + "cluster.local"},
		"another domain":        {knative.Config{Domain: "a.test"}, "", "http://SEQUENCE" + host + "a.test/", "SEQUENCE" + host + "a.test"},
		"as reported":           {knative.Config{Domain: "a.test"}, "https://SEQUENCE-kn-sequence-0-kn-channel.models.svc.b.test", "https://SEQUENCE" + host + "b.test/", "SEQUENCE" + host + "b.test"},
		"of channels elsewhere": {knative.Config{}, "http://SEQUENCE-kn-sequence-0.channels.test/", "http://SEQUENCE-kn-sequence-2.channels.test/", "SEQUENCE-kn-sequence-2.channels.test"},
		"none that we know":     {knative.Config{}, "http://dispatcher.test/0", "http://SEQUENCE" + host + "cluster.local/", "SEQUENCE" + host + "cluster.local"},
		"by one entrance":       {knative.Config{Ingress: "http://10.0.0.1/"}, "", "http://10.0.0.1/", "SEQUENCE" + host + "cluster.local"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			kept(t, tc.config, func(t *testing.T, c *cluster) {
				with := func(text string) string { return strings.ReplaceAll(text, "SEQUENCE", name(0)) }
				c.edit("Sequence", name(0), func(o map[string]any) {
					_ = unstructured.SetNestedField(o, with(tc.status), "status", "address", "url")
				})
				settle()
				url, host, err := c.keeper.First(t.Context(), "acme", "read", 1, 0, 2)
				if err != nil || url != with(tc.url) || host != with(tc.host) {
					t.Errorf("got %s, %s, %v", url, host, err)
				}
			})
		})
	}
}
