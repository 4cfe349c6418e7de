package dispatch

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/pipelines/record"
)

func TestWhatWaitsIsShownWhileItIsKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, registry := newBacklog(), prometheus.NewRegistry()
		registry.MustRegister(b)
		shown := func() (all []string) {
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				for _, m := range f.GetMetric() {
					name := strings.TrimPrefix(f.GetName(), "modelserve_pipelines_")
					for _, l := range m.GetLabel() {
						name += " " + l.GetValue()
					}
					all = append(all, fmt.Sprint(name, " ", m.GetGauge().GetValue()))
				}
			}
			return all
		}
		if got := shown(); got != nil {
			t.Errorf("before anything was counted: %v", got)
		}
		b.set(record.Backlog{Queued: 5, Running: 2, Due: 3, Age: 90 * time.Second})
		want := []string{"due 3", "due_age_seconds 90", "executions queued 5", "executions running 2"}
		if diff := cmp.Diff(want, shown()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		time.Sleep(stale + time.Second)
		if got := shown(); got != nil {
			t.Errorf("though nobody has counted for %v: %v", stale, got)
		}
	})
}

func TestMetricsNameSoManyPipelines(t *testing.T) {
	t.Parallel()
	var n named
	for i := range 2 * mostNamed {
		name := fmt.Sprint("p", i)
		want := name
		if i >= mostNamed {
			want = otherPipelines
		}
		if got := n.label(name); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
	if first, call := n.label("p0"), n.label(""); first != "p0" || call != "" {
		t.Errorf("%s, %q", first, call)
	}
}
