package local

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/model"
)

// TestFunctions holds what the gateway gets of a function: a failed newest
// revision beside one that answers is a reason and no state.
func TestFunctions(t *testing.T) {
	t.Parallel()
	base := route.Function{Namespace: "default", Tagged: map[string][]model.Ref{}}
	for name, tc := range map[string]struct {
		status FunctionStatus
		want   func(*route.Function)
	}{
		"a canary": {
			FunctionStatus{
				Name: "rec", State: "ready", Serving: "ready", Models: []string{"rec@1"}, Mixed: []string{"rec@2", "no pin"},
				Tags: []string{"canary"}, Tagged: map[string][]string{"canary": {"rec@1", "rec@2"}},
			},
			func(f *route.Function) {
				one, two := model.Ref{Name: "rec", Version: 1}, model.Ref{Name: "rec", Version: 2}
				f.State, f.Models, f.Mixed = "ready", []model.Ref{one}, []model.Ref{two}
				f.Tags, f.Tagged = []string{"canary"}, map[string][]model.Ref{"canary": {one, two}}
			},
		},
		"the newest failed beside a good one": {
			FunctionStatus{Name: "rec", State: "failed", Serving: "idle", Reason: "no such model"},
			func(f *route.Function) { f.State, f.Reason = "idle", "no such model" },
		},
		"the only one failed": {
			FunctionStatus{Name: "rec", State: "failed", Reason: "no such model"},
			func(f *route.Function) { f.State, f.Reason = route.StateFailed, "no such model" },
		},
		"the pool": {
			FunctionStatus{Name: "rec", State: "idle", Models: []string{"*"}},
			func(f *route.Function) { f.State, f.Pool = "idle", true },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := base
			want.Name, want.URL = "rec", "http://rec.default.svc.cluster.local"
			tc.want(&want)
			if diff := cmp.Diff([]route.Function{want}, functions([]FunctionStatus{tc.status})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestModelsOfASplit holds which models every revision with traffic has, and
// which only some of them.
func TestModelsOfASplit(t *testing.T) {
	t.Parallel()
	half, none := int64(50), int64(0)
	one := &service{name: "rec", traffic: []servingv1.TrafficTarget{
		{RevisionName: "rec-00001", Percent: &half},
		{RevisionName: "rec-00002", Percent: &half},
		{RevisionName: "rec-00003", Percent: &none, Tag: "next"},
	}}
	revisions := &past{}
	for revision, models := range map[string]string{"rec-00001": "det@1, rec@1", "rec-00002": "det@1,rec@2", "rec-00003": "other@1"} {
		revisions.Revisions = append(revisions.Revisions, record{Name: revision, Env: []corev1.EnvVar{{Name: "MODELSERVE_MODELS", Value: models}}})
	}
	s := &services{history: &history{services: map[string]*past{"rec": revisions}}}
	common, mixed := s.models(one)
	if diff := cmp.Diff([][]string{{"det@1"}, {"rec@1", "rec@2"}}, [][]string{common, mixed}); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !one.sends("rec-00001") || one.sends("rec-00003") {
		t.Error("who has traffic is wrong")
	}
}
