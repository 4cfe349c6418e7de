package knative_test

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/modelserveai/modelserve/gateway/knative"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/model"
)

func TestNamespaces(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"/etc/modelserve/routes.yaml": "a file", "knative": "a file",
		"knative:default": "default", "knative:default, tenant-a,default": "default tenant-a",
		"knative:": "wrong", "knative:a,,b": "wrong", "knative:a/b": "wrong", "knative://default": "wrong",
	} {
		namespaces, ok, err := knative.Namespaces(setting)
		got := strings.Join(namespaces, " ")
		switch {
		case err != nil:
			got = "wrong"
		case !ok:
			got = "a file"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", setting, got, want)
		}
	}
}

// TestChangesAreFollowed holds that what is created, changed and deleted is in
// force as soon as the API server has it, and nothing of other namespaces is.
func TestChangesAreFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, knative.Config{
			Namespaces: []string{"default", "tenant"}, Self: knative.Name{Namespace: "default", Name: "gateway"},
		},
			aService("default/gateway", share("gateway-1", 100, "")), aRevision("default/gateway-1", "", 1),
			aService("default/rec", share("rec-1", 100, "")), aRevision("default/rec-1", "rec@1", 1),
			aService("other/secret", share("secret-1", 100, "")), aRevision("other/secret-1", "secret@1", 1),
		)
		if err := c.watcher.Ready(t.Context()); err == nil {
			t.Error("it is ready before it has looked")
		}
		defer c.run()()
		wants := func(what, want string) {
			t.Helper()
			synctest.Wait()
			if got := c.names(); got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		wants("at first", "default/rec")
		if err := c.watcher.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		c.apply(aRevision("tenant/gateway-1", "", 1), aService("tenant/gateway", share("gateway-1", 100, "")))
		wants("another's function of the gateway's name", "default/rec tenant/gateway")
		c.apply(aRevision("default/rec-2", "rec@2", 0), aService("default/rec", share("rec-1", 50, ""), share("rec-2", 50, "new")))
		synctest.Wait()
		got := c.find("default", "rec")
		if diff := cmp.Diff([]model.Ref{{Name: "rec", Version: 1}, {Name: "rec", Version: 2}}, got.Mixed); diff != "" || len(got.Models) > 0 {
			t.Errorf("a split: %v, -want +got:\n%s", got.Models, diff)
		}
		if bound, _ := c.routes.Host("new-rec.default.models.test"); bound == nil || bound.URL.Host != "new-rec.default.svc.cluster.local" {
			t.Errorf("the tag's host leads to %v", bound)
		}
		c.remove(aService("default/rec"))
		wants("after a deletion", "tenant/gateway")
	})
}

// TestAServiceIsRoutedOnceAndForAll holds that calls by path stay with a service
// while Knative changes the way to it, which goes on to lead there.
func TestAServiceIsRoutedOnceAndForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := func(status corev1.ConditionStatus) *servingv1.Service {
			s := aService("default/rec", share("rec-1", 100, ""))
			s.Status.Conditions = append(condition(status, ""), routed(status))
			return s
		}
		c := newCluster(t, knative.Config{Namespaces: []string{"default"}}, rec(corev1.ConditionUnknown), aRevision("default/rec-1", "rec@1", 1))
		defer c.run()()
		for _, step := range []struct {
			what   string
			change func()
			routed bool
		}{
			{"the way is being made", func() {}, false},
			{"it is there", func() { c.apply(rec(corev1.ConditionTrue)) }, true},
			{"it is changed", func() { c.apply(rec(corev1.ConditionUnknown)) }, true},
			{"the service is made anew", func() { c.remove(rec(corev1.ConditionTrue)); synctest.Wait(); c.apply(rec(corev1.ConditionUnknown)) }, false},
		} {
			step.change()
			synctest.Wait()
			if at := c.routes.Model(model.Ref{Name: "rec", Version: 1}); (at != nil) != step.routed {
				t.Errorf("%s: calls by path go to %v", step.what, at)
			}
		}
	})
}

// TestAReasonOutlivesItsRevision holds that why a revision did not come up is reported
// after Knative has given it up, whose message has no more than that, and of no other.
func TestAReasonOutlivesItsRevision(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// recs are rec and a revision of it, for which Knative reports the same as for another
		// function's, which has traffic.
		recs := func(uid types.UID, revision string, status corev1.ConditionStatus, message string) []any {
			s := aService("default/rec")
			s.UID, s.Status.LatestCreatedRevisionName = uid, revision
			s.Status.Conditions = append(condition(status, "Configuration \"rec\" does not have any ready Revision."),
				apis.Condition{Type: servingv1.ServiceConditionConfigurationsReady, Status: status, Message: "Revision failed with message: " + message + "."})
			r, old := aRevision("default/"+revision, "rec@1", 0), aRevision("default/old-1", "old@1", 0)
			r.UID, old.UID = types.UID(revision)+uid, types.UID(revision)+uid
			r.Status.Conditions, old.Status.Conditions = condition(status, message), condition(status, message)
			return []any{r, old, s}
		}
		const noImage, gaveUp = "no such image", "Initial scale was never achieved"
		c := newCluster(t, knative.Config{Namespaces: []string{"default"}}, aService("default/old", share("old-1", 100, "")))
		defer c.run()()
		synctest.Wait()
		for _, step := range []struct {
			what     string
			uid      types.UID
			revision string
			status   corev1.ConditionStatus
			message  string
			want     string
		}{
			{"it has no image", "a", "rec-1", corev1.ConditionFalse, noImage, noImage},
			{"Knative decides anew", "a", "rec-1", corev1.ConditionUnknown, "", ""},
			{"it has taken too long", "a", "rec-1", corev1.ConditionFalse, `ReplicaSet "rec-1-5d" has timed out progressing.`, noImage},
			{"Knative has given it up", "a", "rec-1", corev1.ConditionFalse, gaveUp, noImage},
			{"and reports it again", "a", "rec-1", corev1.ConditionFalse, gaveUp, noImage},
			{"of the next revision it reported nothing else", "a", "rec-2", corev1.ConditionFalse, gaveUp, gaveUp},
			{"nor of one made anew", "b", "rec-2", corev1.ConditionFalse, gaveUp, gaveUp},
			{"which is over quota", "b", "rec-2", corev1.ConditionFalse, "exceeded quota", "exceeded quota"},
			{"and works at last", "b", "rec-2", corev1.ConditionTrue, "", ""},
			{"until it is given up", "b", "rec-2", corev1.ConditionFalse, gaveUp, gaveUp},
		} {
			c.apply(recs(step.uid, step.revision, step.status, step.message)...)
			synctest.Wait()
			for _, name := range []string{"rec", "old"} {
				f := c.find("default", name)
				if step.status != corev1.ConditionFalse {
					if f.State == route.StateFailed {
						t.Errorf("%s: %s failed: %s", step.what, name, f.Reason)
					}
				} else if f.State != route.StateFailed || !strings.Contains(f.Reason, step.want) {
					t.Errorf("%s: %s is %s: %s", step.what, name, f.State, f.Reason)
				}
			}
		}
	})
}

// TestAWrongServiceIsLeftOutAlone holds that one object keeps no other from
// being followed, and that each reason is logged once.
func TestAWrongServiceIsLeftOutAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, knative.Config{Namespaces: []string{"default", "a-tenant"}},
			aService("default/rec", share("rec-1", 100, "")), aRevision("default/rec-1", "rec@1", 1),
			aService("default/pool", share("pool-1", 100, "")), aRevision("default/pool-1", "*", 1),
			// Its host by the template without a namespace is that of default's, and so
			// is its model; a pool is there already.
			aService("a-tenant/rec", share("rec-1", 100, "")), aRevision("a-tenant/rec-1", "rec@1", 1),
			aService("a-tenant/pool", share("pool-1", 100, "")), aRevision("a-tenant/pool-1", "*", 1),
		)
		wrong := object(t, aService("default/odd"))
		if err := unstructured.SetNestedField(wrong.Object, "all of it", "status", "traffic"); err != nil {
			t.Fatal(err)
		}
		c.apply(wrong)
		defer c.run()()
		for n := range int32(3) { // changes of others do not log it again
			synctest.Wait()
			c.apply(aRevision("default/rec-1", "rec@1", n))
		}
		synctest.Wait()
		if got := c.names(); got != "default/pool default/rec" {
			t.Errorf("in force: %s", got)
		}
		if at := c.routes.Model(model.Ref{Name: "rec", Version: 1}); at == nil || at.Function.Namespace != "default" {
			t.Errorf("calls by path go to %v", at)
		}
		for _, once := range []string{
			"function a-tenant/rec: its host rec.short.test is that of default/rec already",
			"function a-tenant/pool: there is a pool already: default/pool",
			"Service default/odd: is not as Knative's API has it",
		} {
			if n := strings.Count(c.log.String(), once); n != 1 {
				t.Errorf("%q was logged %d times:\n%s", once, n, c.log.String())
			}
		}
		c.apply(aService("default/odd"))
		c.remove(aService("default/pool"))
		synctest.Wait()
		if got := c.names(); got != "a-tenant/pool default/odd default/rec" {
			t.Errorf("once they are right: %s", got)
		}
	})
}

// TestRoutesOutliveTheAPIServer holds that the gateway waits for a first list,
// and that what it had stays in force while the API server is away.
func TestRoutesOutliveTheAPIServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, knative.Config{Namespaces: []string{"default"}},
			aService("default/rec", share("rec-1", 100, "")), aRevision("default/rec-1", "rec@1", 1),
			aService("default/old", share("old-1", 100, "")), aRevision("default/old-1", "old@1", 1))
		refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		var away, half atomic.Bool
		var mu sync.Mutex
		var watches []watch.Interface
		c.client.PrependReactor("list", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
			return away.Load() || half.Load() && action.GetResource().Resource == "revisions", nil, refused
		})
		c.client.PrependWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
			if away.Load() {
				return true, nil, refused
			}
			w, err := c.client.Tracker().Watch(action.GetResource(), action.GetNamespace())
			mu.Lock()
			defer mu.Unlock()
			watches = append(watches, w)
			return true, w, err
		})
		away.Store(true)
		defer c.run()()
		time.Sleep(time.Minute)
		if err := c.watcher.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("before the first list: %v", err)
		}
		if n := strings.Count(c.log.String(), "cannot be followed"); n != 2 { // one of each kind
			t.Errorf("logged %d times:\n%s", n, c.log.String())
		}
		half.Store(true)
		away.Store(false)
		time.Sleep(6 * time.Second)
		if err := c.watcher.Ready(t.Context()); err == nil || c.names() != "" {
			t.Errorf("with the Services alone: %v, %s", err, c.names())
		}
		half.Store(false)
		time.Sleep(6 * time.Second)
		if err := c.watcher.Ready(t.Context()); err != nil || c.names() != "default/old default/rec" {
			t.Errorf("after it: %v, %s", err, c.names())
		}

		away.Store(true)
		mu.Lock()
		for _, w := range watches {
			w.Stop()
		}
		mu.Unlock()
		c.apply(aRevision("default/det-1", "det@1", 1), aService("default/det", share("det-1", 100, "")))
		c.remove(aService("default/old"))
		time.Sleep(10 * time.Minute)
		if err := c.watcher.Ready(t.Context()); err != nil || c.names() != "default/old default/rec" {
			t.Errorf("while it is away: %v, %s", err, c.names())
		}
		away.Store(false)
		time.Sleep(6 * time.Second)
		if got := c.names(); got != "default/det default/rec" {
			t.Errorf("when it is back: %s", got)
		}
	})
}
