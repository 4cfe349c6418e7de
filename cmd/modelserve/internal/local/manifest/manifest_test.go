package manifest_test

import (
	"testing"

	"github.com/modelserveai/modelserve/cmd/modelserve/internal/local/manifest"
)

func TestShippedOverlay(t *testing.T) {
	t.Parallel()
	set, _, err := manifest.Load(t.Context(), manifest.Source{Overlay: "../../../../../config/overlays/local"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range set.Services {
		t.Log(s.Name, s.File, s.Import, s.Env, *s.Object.Spec.Template.Spec.ContainerConcurrency, s.Container().ReadinessProbe)
	}
	t.Log(set.Autoscaler)
}
