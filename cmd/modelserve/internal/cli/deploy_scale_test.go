package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// costing makes a manifest whose runs take so many ms with every processor busy,
// by 1, 2, 4, … rows.
func costing(axis bool, ms ...float64) *model.Manifest {
	m := &model.Manifest{Cost: &model.Cost{}}
	if axis {
		m.BatchAxis = new(int)
	}
	for i, t := range ms {
		ns := int64(t * float64(time.Millisecond))
		m.Cost.Batches = append(m.Cost.Batches, model.BatchCost{Size: 1 << i, Alone: ns, Busy: ns})
	}
	return m
}

func TestScale(t *testing.T) {
	t.Parallel()
	bounded := costing(true, 10, 10, 10, 10)
	bounded.Batching = &model.Batching{MaxBatchSize: 2}
	for name, tc := range map[string]struct {
		of   *model.Manifest
		rows int
		want scale
	}{
		"not measured":                   {&model.Manifest{}, 1, scale{32, 0}},
		"no sizes":                       {costing(true), 1, scale{32, 0}},
		"slow, and batches are no use":   {costing(true, 200, 400, 800), 1, scale{16, 4}},
		"fast, and batches are no use":   {costing(true, 10, 20, 40), 1, scale{80, 20}},
		"very fast":                      {costing(true, 0.1, 0.2), 1, scale{256, 256}},
		"batches of 8 pay":               {costing(true, 100, 100, 100, 100, 200), 1, scale{128, 32}},
		"nearly as good with fewer":      {costing(true, 100, 197.5, 395, 780), 1, scale{16, 4}},
		"no batch axis":                  {costing(false, 100, 100, 100), 1, scale{16, 4}},
		"the publisher's bound":          {bounded, 1, scale{160, 40}},
		"a request of many rows":         {costing(true, 50, 100), 10, scale{16, 4}},
		"a request of more than a batch": {costing(true, 1, 1, 1, 1), 16, scale{256, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := scaleOf(tc.of, tc.rows)
			if got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
			if got.target > got.concurrency {
				t.Errorf("another instance starts at %d at once, which this one of %d never has", got.target, got.concurrency)
			}
		})
	}
}

// The shipped functions have what follows from the measurements that
// config/README.md lists.
func TestShippedScale(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../../../config/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		size, rows int
		ms         float64
	}{
		"text-detect":    {1, 1, 352},
		"text-orient":    {4, 11, 6.7},
		"text-recognize": {1, 11, 35},
		"speech-detect":  {1, 1, 12.9},
		"content-detect": {1, 1, 14.2},
	} {
		m := &model.Manifest{Signature: infer.Signature{BatchAxis: new(int)}}
		busy := int64(tc.ms * float64(time.Millisecond))
		m.Cost = &model.Cost{Batches: []model.BatchCost{{Size: 1, Alone: busy, Busy: busy}}}
		if tc.size > 1 {
			m.Cost.Batches = append(m.Cost.Batches, model.BatchCost{Size: tc.size, Alone: busy, Busy: busy})
		}
		want := scaleOf(m, tc.rows)
		text, err := os.ReadFile("../../../../config/base/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var object servingv1.Service
		if err := yaml.UnmarshalStrict(text, &object); err != nil {
			t.Fatal(err)
		}
		template := object.Spec.Template
		if got := template.Annotations["autoscaling.knative.dev/target"]; got != strconv.Itoa(want.target) || *template.Spec.ContainerConcurrency != int64(want.concurrency) {
			t.Errorf("%s: target %s and concurrency %d, want %+v", name, got, *template.Spec.ContainerConcurrency, want)
		}
		row := fmt.Sprintf("| `%s` | %d | %g ms | %d | %d |\n", name, tc.size, tc.ms, want.target, want.concurrency)
		if !strings.Contains(string(readme), row) {
			t.Errorf("config/README.md has no row %s", row)
		}
	}
}

func TestDeadlineAndMemory(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		size, memory int64
		deadline     time.Duration
		requested    int64
	}{
		"small":     {20 << 20, 100 << 20, 2 * time.Minute, 192},
		"large":     {10 << 30, 12 << 30, 469 * time.Second, 12352},
		"optimised": {0, 0, 2 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &model.Manifest{
				Cost: &model.Cost{Memory: tc.memory},
				Files: []model.File{
					{Path: "model.onnx", Size: tc.size},
					{Path: "model.ort", Size: 100 << 30, Optimized: &model.Target{}}, // only one of the two is fetched
				},
			}
			if got := deadlineOf(m); got != tc.deadline {
				t.Errorf("deadline %s, want %s", got, tc.deadline)
			}
			if got := memoryOf(m); got != tc.requested {
				t.Errorf("memory %d MiB, want %d", got, tc.requested)
			}
		})
	}
	if got := memoryOf(&model.Manifest{}); got != 0 {
		t.Errorf("not measured: %d MiB", got)
	}
}
