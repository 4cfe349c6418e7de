package standalone

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/knative"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/runtime/model"
)

// TestWhereFunctionsAnswer holds that steps go where the gateway sends calls.
func TestWhereFunctionsAnswer(t *testing.T) {
	t.Parallel()
	steps := []definition.Step{{Function: "text-detect"}, {Function: "churn"}, {Function: "iris"}, {Function: "own"}, {URI: "https://example.com"}, {Function: "pool"}}
	own := []route.Function{
		{Name: "text-detect", Namespace: "models", URL: "http://text-detect", Models: []model.Ref{{Name: "text-detect", Version: 1}}},
		{Name: "churn", Namespace: "models", URL: "http://churn", Models: []model.Ref{{Name: "churn", Version: 2}}},
		{Name: "own", Namespace: "models", URL: "http://own"},
	}
	alone := map[string]compile.Function{"text-detect": {Service: "text-detect"}, "churn": {Service: "churn", Model: true}, "own": {Service: "own"}}
	for name, tc := range map[string]struct {
		functions []route.Function
		want      map[string]compile.Function
	}{
		"with a pool": {append(own[:3:3], route.Function{Name: "pool", Namespace: "models", URL: "http://pool", Pool: true}), map[string]compile.Function{
			"text-detect": {Service: "text-detect"}, "churn": {Service: "churn", Model: true}, "own": {Service: "own"},
			"iris": {Service: "pool", Model: true}, "pool": {Service: "pool", Model: true},
		}},
		"without one": {own, alone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			routes, err := route.New("{function}.test")
			if err != nil {
				t.Fatal(err)
			}
			if err := routes.Replace(tc.functions); err != nil {
				t.Fatal(err)
			}
			v := &versions{routes: routes}
			if diff := cmp.Diff(tc.want, v.functions(&definition.Definition{Steps: steps})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// stored is a store of versions, a full page of which are in use.
type stored struct{ loads int }

func (s *stored) Version(_ context.Context, id record.VersionID) (*record.Version, error) {
	s.loads++
	if id.Number == 0 {
		return nil, record.ErrNotFound
	}
	return &record.Version{VersionID: id, Canonical: []byte(twoSteps), Digest: "sha256:1"}, nil
}

func (s *stored) InUse(_ context.Context, after record.VersionID) ([]record.VersionID, error) {
	var page []record.VersionID
	for n := after.Number + 1; n <= record.MaxBatch+1 && len(page) < record.MaxBatch; n++ {
		page = append(page, record.VersionID{Owner: "acme", Name: "two", Number: n})
	}
	return page, nil
}

func TestEveryVersionInUseIsWanted(t *testing.T) {
	t.Parallel()
	v := &versions{store: &stored{}}
	all, err := v.Wanted(t.Context())
	if err != nil || len(all) != record.MaxBatch+1 || all[record.MaxBatch] != (knative.Version{Owner: "acme", Name: "two", Number: record.MaxBatch + 1}) {
		t.Errorf("%d, %v", len(all), err)
	}
}

// TestAVersionIsReadOnce holds that what never changes of a version is read once, for as
// long as it is in use, and that nothing is made of one while the functions are not known.
func TestAVersionIsReadOnce(t *testing.T) {
	t.Parallel()
	routes, err := route.New("{function}.test")
	if err != nil {
		t.Fatal(err)
	}
	s := &stored{}
	unknown := errors.New("no routes are in force yet")
	v := &versions{store: s, routes: routes, ready: func(context.Context) error { return unknown }}
	one := knative.Version{Owner: "acme", Name: "two", Number: 1}
	if _, err := v.Objects(t.Context(), one); !errors.Is(err, unknown) || s.loads != 0 {
		t.Errorf("%d loads, %v", s.loads, err)
	}
	for range 3 {
		if _, err := v.planOf(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Wanted(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s.loads != 1 {
		t.Errorf("it was loaded %d times", s.loads)
	}
	if _, err := v.planOf(t.Context(), knative.Version{Name: "two"}); !errors.Is(err, record.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}
