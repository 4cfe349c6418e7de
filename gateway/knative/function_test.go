package knative_test

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/modelserveai/modelserve/gateway/knative"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/model"
)

// TestFunctions holds which route each Service becomes.
func TestFunctions(t *testing.T) {
	t.Parallel()
	pin := func(name string, version int) model.Ref { return model.Ref{Name: name, Version: version} }
	broken := func(r *servingv1.Revision, message string) *servingv1.Revision {
		r.Status.Conditions = condition(corev1.ConditionFalse, message)
		return r
	}
	unready := func(s *servingv1.Service, status corev1.ConditionStatus, message string) *servingv1.Service {
		s.Status.Conditions = append(condition(status, message), routed(corev1.ConditionTrue))
		return s
	}
	created := func(s *servingv1.Service, revision string) *servingv1.Service {
		s.Status.LatestCreatedRevisionName = revision
		return s
	}
	unrouted := func(s *servingv1.Service) *servingv1.Service {
		s.Status.Conditions = append(condition(corev1.ConditionUnknown, ""), routed(corev1.ConditionUnknown))
		return s
	}
	noWay := func(s *servingv1.Service) *servingv1.Service {
		s.Status.Conditions = append(condition(corev1.ConditionFalse, "no such revision"), routed(corev1.ConditionFalse))
		return s
	}
	because := func(s *servingv1.Service, message string) *servingv1.Service {
		s.Status.Conditions = append(s.Status.Conditions, apis.Condition{Type: servingv1.ServiceConditionConfigurationsReady, Status: corev1.ConditionFalse, Message: message})
		return s
	}
	notOwned := func(s *servingv1.Service) *servingv1.Service {
		s.Status.InitializeConditions()
		s.Status.MarkRouteNotOwned(s.Name)
		return s
	}
	nowhere := func(s *servingv1.Service) *servingv1.Service {
		s.Status.Address = nil
		return s
	}
	for name, tc := range map[string]struct {
		service   *servingv1.Service
		revisions []*servingv1.Revision
		want      route.Function // namespace, name and URL are filled in
	}{
		"one revision": {
			aService("default/rec", share("rec-1", 100, "")),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec@1, det@2", 2)},
			route.Function{Models: []model.Ref{pin("rec", 1), pin("det", 2)}, State: "ready"},
		},
		"at zero": {
			aService("default/rec", share("rec-1", 100, "")),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec@1", 0)},
			route.Function{Models: []model.Ref{pin("rec", 1)}, State: "idle"},
		},
		"a canary": {
			aService("default/rec", share("rec-1", 90, "stable"), share("rec-2", 10, ""), share("rec-2", 0, "canary"), share("rec-3", 0, "next")),
			[]*servingv1.Revision{
				aRevision("default/rec-1", "det@1,rec@1", 1), aRevision("default/rec-2", "rec@2,det@1", 0), aRevision("default/rec-3", "rec@3", 0),
			},
			route.Function{
				Models: []model.Ref{pin("det", 1)}, Mixed: []model.Ref{pin("rec", 1), pin("rec", 2)}, State: "ready",
				Tags: []string{"stable", "canary", "next"},
				Tagged: map[string][]model.Ref{
					"stable": {pin("det", 1), pin("rec", 1)}, "canary": {pin("rec", 2), pin("det", 1)}, "next": {pin("rec", 3)},
				},
			},
		},
		"the newest fails beside a good one": {
			unready(created(aService("default/rec", share("rec-1", 100, "")), "rec-2"), corev1.ConditionFalse,
				"Revision \"rec-2\" failed with message:\n Container failed with: rec: model rec@2: absent"),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec@1", 0), broken(aRevision("default/rec-2", "rec@2", 0), "absent")},
			route.Function{
				Models: []model.Ref{pin("rec", 1)}, State: "idle",
				Reason: `Revision "rec-2" failed with message: Container failed with: rec: model rec@2: absent`,
			},
		},
		"one of two with traffic cannot serve": {
			unready(aService("default/rec", share("rec-1", 50, ""), share("rec-2", 50, "")), corev1.ConditionFalse, "rec-2 is broken"),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec@1", 0), broken(aRevision("default/rec-2", "rec@2", 0), "broken")},
			route.Function{Mixed: []model.Ref{pin("rec", 1), pin("rec", 2)}, State: "idle", Reason: "rec-2 is broken"},
		},
		"none with traffic can serve": {
			aService("default/rec", share("rec-1", 50, ""), share("rec-2", 50, "")),
			[]*servingv1.Revision{broken(aRevision("default/rec-1", "rec@1", 0), "one"), broken(aRevision("default/rec-2", "rec@1", 0), "two")},
			route.Function{Models: []model.Ref{pin("rec", 1)}, State: route.StateFailed, Reason: "one"},
		},
		"Knative reports that it cannot, and its pods do": {
			aService("default/rec", share("rec-1", 100, "")),
			[]*servingv1.Revision{broken(aRevision("default/rec-1", "rec@1", 1), "one restarted")},
			route.Function{Models: []model.Ref{pin("rec", 1)}, State: "ready", Reason: "one restarted"},
		},
		"the first revision failed": {
			unready(created(nowhere(aService("default/rec")), "rec-1"), corev1.ConditionFalse, "no such image"),
			[]*servingv1.Revision{broken(aRevision("default/rec-1", "rec@1", 0), "no such image")},
			route.Function{Mixed: []model.Ref{pin("rec", 1)}, State: route.StateFailed, Reason: "no such image"},
		},
		"the first revision failed, and only its configuration has the reason": {
			because(unready(created(nowhere(aService("default/rec")), "rec-1"), corev1.ConditionFalse, `Configuration "rec" does not have any ready Revision.`), "unsigned"),
			[]*servingv1.Revision{broken(aRevision("default/rec-1", "rec@1", 0), "unsigned")},
			route.Function{Mixed: []model.Ref{pin("rec", 1)}, State: route.StateFailed, Reason: "unsigned"},
		},
		"the first revision starts": {
			unready(created(nowhere(aService("default/rec")), "rec-1"), corev1.ConditionUnknown, ""),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec@1", 0)},
			route.Function{Mixed: []model.Ref{pin("rec", 1)}, State: "starting", Starting: "the function is starting"},
		},
		"the first revision starts, and Knative reports what it waits for": {
			unready(created(nowhere(aService("default/rec")), "rec-1"), corev1.ConditionUnknown, "it waits\nfor a node"),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec@1", 0)},
			route.Function{
				Mixed: []model.Ref{pin("rec", 1)}, State: "starting", Reason: "it waits for a node",
				Starting: "the function is starting: it waits for a node",
			},
		},
		"the first revision of the pool starts": {
			unready(created(nowhere(aService("default/pool")), "pool-1"), corev1.ConditionUnknown, ""),
			[]*servingv1.Revision{aRevision("default/pool-1", "*", 0)},
			route.Function{Pool: true, State: "starting", Starting: "the function is starting"},
		},
		"Knative decides anew on one that serves": {
			unready(aService("default/rec", share("rec-1", 100, "")), corev1.ConditionUnknown, "a revision is being made"),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec@1", 0)},
			route.Function{Models: []model.Ref{pin("rec", 1)}, State: "idle"},
		},
		"a revision that is not known yet": {
			aService("default/rec", share("rec-1", 50, ""), share("rec-2", 50, "")),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec@1", 0)},
			route.Function{Mixed: []model.Ref{pin("rec", 1)}, State: "idle"},
		},
		"one that starts, and one that cannot": {
			aService("default/rec", share("rec-1", 50, ""), share("rec-2", 50, "")),
			[]*servingv1.Revision{broken(aRevision("default/rec-1", "rec@1", 0), "one")},
			route.Function{Mixed: []model.Ref{pin("rec", 1)}, State: "starting", Reason: "one"},
		},
		"the way to it is not there yet": {
			unrouted(aService("default/rec", share("rec-1", 100, ""))),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec@1", 1)},
			route.Function{Mixed: []model.Ref{pin("rec", 1)}, State: "ready", Starting: "the function is starting"},
		},
		"Knative finds no way for some of its traffic": {
			noWay(aService("default/rec", share("rec-1", 100, ""))),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec@1", 1)},
			route.Function{Mixed: []model.Ref{pin("rec", 1)}, State: "ready", Reason: "no such revision"},
		},
		"its route is still that of one deleted a moment ago": {
			notOwned(nowhere(aService("default/rec"))), nil,
			route.Function{
				State: "starting", Reason: `There is an existing Route "rec" that we do not own.`,
				Starting: `the function is starting: There is an existing Route "rec" that we do not own.`,
			},
		},
		"a user's own": {
			aService("default/rec", share("rec-1", 100, "")),
			[]*servingv1.Revision{aRevision("default/rec-1", "", 1)},
			route.Function{State: "ready"},
		},
		"what is no version of a model": {
			aService("default/rec", share("rec-1", 100, "")),
			[]*servingv1.Revision{aRevision("default/rec-1", "rec,$(X),../y@1,rec@0,rec@4,rec@4", 1)},
			route.Function{Models: []model.Ref{pin("rec", 4)}, State: "ready"},
		},
		"every model, and not the pool": {
			aService("default/rec", share("rec-1", 100, "")),
			[]*servingv1.Revision{aRevision("default/rec-1", "*", 1)},
			route.Function{State: "ready"},
		},
		"the pool": {
			aService("default/pool", share("pool-1", 50, ""), share("pool-2", 50, "")),
			[]*servingv1.Revision{aRevision("default/pool-1", "*", 1), aRevision("default/pool-2", "*", 0)},
			route.Function{Pool: true, State: "ready"},
		},
		"the pool, and half of it is not": {
			aService("default/pool", share("pool-1", 50, ""), share("pool-2", 50, "")),
			[]*servingv1.Revision{aRevision("default/pool-1", "*", 1), aRevision("default/pool-2", "rec@1", 0)},
			route.Function{Mixed: []model.Ref{pin("rec", 1)}, State: "ready"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				objects := []any{tc.service}
				for _, r := range tc.revisions {
					objects = append(objects, r)
				}
				c := newCluster(t, knative.Config{Namespaces: []string{"default"}}, objects...)
				defer c.run()()
				synctest.Wait()
				want := tc.want
				want.Namespace, want.Name = "default", tc.service.Name
				want.URL = "http://" + want.Name + ".default.svc.cluster.local"
				if diff := cmp.Diff(want, c.find("default", want.Name), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}
