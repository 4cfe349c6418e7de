package publish

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// clockwork takes a known time for a run.
type clockwork struct {
	time    func(rows int) time.Duration
	out     int // bytes of the output, of each row; shared by all runs
	fails   int // rows with which it does not run; 0 is none
	noise   time.Duration
	running atomic.Int32
	runs    atomic.Int32
	largest atomic.Int32
	answer  sync.Once
	bytes   []byte
}

func (c *clockwork) Run(ctx context.Context, _ memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	rows := int(inputs[0].Shape[0])
	if c.fails > 0 && rows >= c.fails {
		return nil, nil, errors.New("too many rows")
	}
	n := c.runs.Add(1)
	c.largest.Store(max(c.largest.Load(), int32(rows)))
	took := c.time(rows)
	if c.running.Add(1) > 1 {
		took = took * 3 / 2
	}
	defer c.running.Add(-1)
	if uint32(n)*2654435769>>30 == 0 {
		took += c.noise
	}
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	c.answer.Do(func() { c.bytes = make([]byte, mostRows*c.out) })
	return []infer.Tensor{{Data: c.bytes[:rows*c.out]}}, func() {}, nil
}

func rowsSignature(width int64) *infer.Signature {
	axis := 0
	return &infer.Signature{
		Inputs:    []infer.TensorSpec{{Name: "x", DataType: infer.FP32, Shape: []int64{-1, width}, Example: []int64{1, width}}},
		Outputs:   []infer.TensorSpec{{Name: "y", DataType: infer.FP32, Shape: []int64{-1, width}}},
		BatchAxis: &axis,
	}
}

// timed measures by the time of the test.
func timed(model runner, sig *infer.Signature, budget time.Duration) *measurement {
	return newMeasurement(model, sig, 0, wallTime, budget)
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	fixed := func(once, each time.Duration) func(int) time.Duration {
		return func(rows int) time.Duration { return once + time.Duration(rows)*each }
	}
	bounded, shaped, unbatched := rowsSignature(4), rowsSignature(4), rowsSignature(4)
	bounded.MaxElements = 20
	shaped.Inputs[0].MaxShape = []int64{9, 4}
	unbatched.BatchAxis = nil
	for name, tc := range map[string]struct {
		model  *clockwork
		sig    *infer.Signature
		budget time.Duration // 0 is a minute
		want   []int         // sizes
	}{
		"batches that pay":               {model: &clockwork{time: fixed(time.Millisecond, 100*time.Microsecond)}, want: []int{1, 2, 4, 8, 16, 32, 64}},
		"noise in a quarter of the runs": {model: &clockwork{time: fixed(3*time.Millisecond, time.Millisecond), noise: 20 * time.Millisecond}, want: []int{1, 2, 4, 8, 16, 32, 64}},
		"short runs":                     {model: &clockwork{time: fixed(time.Microsecond, time.Microsecond)}, want: []int{1, 2, 4, 8, 16, 32, 64}},
		"batches that cost":              {model: &clockwork{time: func(n int) time.Duration { return time.Duration(n*n) * time.Millisecond }}, want: []int{1, 2, 4}},
		"as fast alone":                  {model: &clockwork{time: fixed(0, time.Millisecond)}, want: []int{1, 2, 4, 8, 16, 32, 64}},
		"one run over a second":          {model: &clockwork{time: fixed(0, 300*time.Millisecond)}, want: []int{1, 2}},
		"a single row over a second":     {model: &clockwork{time: fixed(0, 3*time.Second)}, want: []int{1}},
		"little time":                    {model: &clockwork{time: fixed(0, 20*time.Millisecond)}, budget: time.Second, want: []int{1, 2}},
		"no time at all":                 {model: &clockwork{time: fixed(0, 20*time.Millisecond)}, budget: time.Nanosecond, want: []int{1}},
		"few elements allowed":           {model: &clockwork{time: fixed(time.Millisecond, 0)}, sig: bounded, want: []int{1, 2, 4}},
		"few rows allowed":               {model: &clockwork{time: fixed(time.Millisecond, 0)}, sig: shaped, want: []int{1, 2, 4, 8}},
		"no batch axis":                  {model: &clockwork{time: fixed(time.Millisecond, 0)}, sig: unbatched, want: []int{1}},
		"answers of 40 MiB":              {model: &clockwork{time: fixed(time.Millisecond, 0), out: 20 << 20}, want: []int{1, 2, 4, 8}},
		"it does not run with as many":   {model: &clockwork{time: fixed(time.Millisecond, 0), fails: 8}, want: []int{1, 2, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if tc.sig == nil {
					tc.sig = rowsSignature(4)
				}
				if tc.budget == 0 {
					tc.budget = time.Minute
				}
				begun := time.Now()
				costs, err := timed(tc.model, tc.sig, tc.budget).run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var sizes []int
				for _, c := range costs {
					sizes = append(sizes, c.Size)
					if want := tc.model.time(c.Size); c.Alone != int64(want) {
						t.Errorf("%d rows: %s alone, want %s", c.Size, time.Duration(c.Alone), want)
					}
					if c.Busy < c.Alone || runtime.GOMAXPROCS(0) > 1 && c.Busy < c.Alone*5/4 {
						t.Errorf("%d rows: %s busy, %s alone", c.Size, time.Duration(c.Busy), time.Duration(c.Alone))
					}
				}
				if diff := cmp.Diff(tc.want, sizes); diff != "" {
					t.Errorf("sizes (-want +got):\n%s", diff)
				}
				// At the least each size runs twice, alone, and beside others.
				if took, least := time.Since(begun), 10*tc.model.time(int(tc.model.largest.Load())); took > max(tc.budget, least) {
					t.Errorf("took %s of %s", took, tc.budget)
				}
			})
		})
	}
}

func TestTakesRows(t *testing.T) {
	t.Parallel()
	optional := rowsSignature(4)
	optional.Inputs = append(optional.Inputs, infer.TensorSpec{Name: "o", Shape: []int64{-1, 1 << 40}, Optional: true})
	for name, tc := range map[string]struct {
		sig  *infer.Signature
		rows int
		want bool
	}{
		"few":                          {rowsSignature(4), 64, true},
		"the most elements of a try":   {rowsSignature(1 << 22), 4, true},
		"more":                         {rowsSignature(1 << 22), 8, false},
		"what an optional input holds": {optional, 64, true},
	} {
		if got := takesRows(tc.sig, tc.rows); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMeasureEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := &clockwork{fails: 1}
		if _, err := timed(broken, rowsSignature(4), time.Second).run(t.Context()); err == nil {
			t.Error("a model that never runs was measured")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		slow := &clockwork{time: func(int) time.Duration { return time.Hour }}
		if _, err := timed(slow, rowsSignature(4), time.Minute).run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// TestPublishMeasures holds that a version has its cost, that what was measured
// makes no other one, and that the publisher's settings do.
func TestPublishMeasures(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	path := onnxtest.Identity(onnxtest.Float, "n", "t", 4).Write(t)
	settings := model.Batching{MaxBatchSize: 16, MaxDelay: 2000}
	ragged := []Ragged{{"x", 1, 0}}
	for _, tc := range []struct {
		name      string
		version   int
		batching  model.Batching
		ragged    []Ragged
		want      int
		unchanged bool
	}{
		{"first", 0, model.Batching{}, nil, 1, false},
		{"again", 0, model.Batching{}, nil, 1, true},
		{"with a batch size", 0, settings, nil, 2, false},
		{"again, with it", 0, settings, nil, 2, true},
		{"again, without", 0, model.Batching{}, nil, 2, true},
		{"another batch size", 0, model.Batching{MaxBatchSize: 1}, nil, 3, false},
		{"a ragged axis", 0, model.Batching{}, ragged, 4, false},
		{"again, with that", 0, model.Batching{}, ragged, 4, true},
		{"another pad", 0, model.Batching{}, []Ragged{{"x", 1, 1}}, 5, false},
		{"settings for a version that is there", 1, settings, ragged, 1, true},
	} {
		done, err := p.Publish(t.Context(), Request{
			Name: "tokens", Version: tc.version, File: path, Batching: tc.batching, Ragged: tc.ragged, Measure: 50 * time.Millisecond,
		})
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if done.Ref.Version != tc.want || done.Unchanged != tc.unchanged {
			t.Errorf("%s: %+v", tc.name, done.Published)
		}
		m := done.Manifest
		if m.Cost == nil || len(m.Cost.Batches) == 0 || m.Cost.Batches[0].Size != 1 {
			t.Errorf("%s: cost %+v", tc.name, m.Cost)
		}
		if tc.unchanged {
			continue
		}
		if !m.Batching.Equal(&tc.batching) || (m.Inputs[0].Ragged != nil) != (tc.ragged != nil) || (m.Outputs[0].Ragged != nil) != (tc.ragged != nil) {
			t.Errorf("%s: published %+v", tc.name, m)
		}
	}
}

// TestPublishTwiceAtOnce holds that two who push the same bytes, each with a
// measurement of their own, push one version.
func TestPublishTwiceAtOnce(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	path := onnxtest.Scale(3, 2).Write(t)
	results := make(chan *Result)
	for range 2 {
		go func() {
			done, err := p.Publish(t.Context(), Request{Name: "scale", File: path, Measure: time.Millisecond})
			if err != nil {
				t.Error(err)
			}
			results <- done
		}()
	}
	a, b := <-results, <-results
	if a == nil || b == nil || a.Digest != b.Digest || a.Unchanged == b.Unchanged {
		t.Errorf("pushed %+v and %+v", a, b)
	}
}

func TestBatchSettingsNeedAnAxis(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	path := onnxtest.Mean(3).Write(t)
	for name, req := range map[string]Request{
		"a size":  {Batching: model.Batching{MaxBatchSize: 2}},
		"a delay": {Batching: model.Batching{MaxDelay: 5}},
		"an axis": {Ragged: []Ragged{{"x", 1, 0}}},
	} {
		req.Name, req.File = "mean", path
		if _, err := p.Publish(t.Context(), req); err == nil {
			t.Errorf("%s was published", name)
		}
	}
	if done, err := p.Publish(t.Context(), Request{Name: "mean", File: path, Batching: model.Batching{MaxBatchSize: 1}, Measure: time.Millisecond}); err != nil || done.Manifest.Batching == nil {
		t.Errorf("no batches of a model that has none: %+v, %v", done, err)
	}
}
