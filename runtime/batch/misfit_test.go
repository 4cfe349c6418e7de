package batch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// shaped is a model of rows x [n, t] whose outputs y have the row's first value
// in an axis that some function makes of the rows and the length.
type shaped struct {
	mu   sync.Mutex
	runs [][]int64 // shapes of x
	of   func(rows int, x []float32, length int) (y infer.Tensor)
}

func (s *shaped) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	select {
	case <-time.After(10 * time.Millisecond):
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	x := &inputs[0]
	s.mu.Lock()
	s.runs = append(s.runs, slices.Clone(x.Shape))
	s.mu.Unlock()
	values, err := infer.Values[float32](x)
	if err != nil {
		return nil, nil, err
	}
	y := s.of(int(x.Shape[0]), values, int(x.Shape[1]))
	y.Name = "y"
	return []infer.Tensor{y}, func() {}, nil
}

// frames are rows of so many frames, each with the row's first value.
func frames(rows, count int, x []float32, length int) infer.Tensor {
	y := make([]float32, rows*count)
	for i := range y {
		y[i] = x[i/count*length]
	}
	return infer.NewTensor("y", []int64{int64(rows), int64(count)}, y)
}

// byLength is a model whose frames follow the length by a rule.
func byLength(rule func(length int) int) func(int, []float32, int) infer.Tensor {
	return func(rows int, x []float32, length int) infer.Tensor { return frames(rows, rule(length), x, length) }
}

// misfitsOf is how many misfits of a rule the metrics count.
func misfitsOf(t *testing.T, registry *prometheus.Registry, rule string) (n float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if family.GetName() == "modelserve_batch_misfits_total" && label.GetName() == "rule" && label.GetValue() == rule {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

// TestBrokenRules holds that what was proven of a model is checked where it is
// used: each request is answered as alone, whatever the model does with others'
// rows, and the rule that was broken is used no more.
func TestBrokenRules(t *testing.T) {
	t.Parallel()
	same := []int{800, 800, 800, 800, 800}
	varied := []int{800, 820, 850, 900, 960}
	kaldi := func(n int) int { return (n + 80) / 160 }
	for name, tc := range map[string]struct {
		model   func(rows int, x []float32, length int) infer.Tensor
		divide  int64 // by which y follows x; 0 follows not
		lengths []int // of the requests
		rule    string
		then    []int64 // rows of the runs of the next, of equal lengths
		varied  []int64 // and of different ones
	}{
		"a length that follows otherwise": {byLength(kaldi), 192, varied, RuleRagged, []int64{1, 4}, []int64{1, 1, 1, 1, 1}},
		"the rule holds":                  {byLength(func(n int) int { return (n + 159) / 160 }), 160, varied, "", []int64{1, 4}, []int64{1, 4}},
		"an answer for all": {
			func(_ int, x []float32, n int) infer.Tensor { return frames(1, 3, x, n) },
			0, same, RuleRows,
			[]int64{1, 1, 1, 1, 1},
			nil,
		},
		"no rows": {
			func(rows int, x []float32, n int) infer.Tensor {
				if rows > 1 {
					return infer.NewTensor("y", []int64{}, x[:1])
				}
				return frames(rows, 3, x, n)
			},
			0, same, RuleRows,
			[]int64{1, 1, 1, 1, 1},
			nil,
		},
		"rows of another shape in company": {
			func(rows int, x []float32, n int) infer.Tensor { return frames(rows, 2+rows, x, n) },
			0, same, RuleRows,
			[]int64{1, 1, 1, 1, 1},
			nil,
		},
		"another axis by padding": {
			func(rows int, x []float32, n int) infer.Tensor {
				y := frames(rows, n, x, n)
				if rows > 1 && n == 960 {
					y.Shape = append(y.Shape, 1)
				}
				return y
			},
			1, varied, RuleRagged,
			[]int64{1, 4},
			[]int64{1, 1, 1, 1, 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				model := &shaped{of: tc.model}
				registry := prometheus.NewRegistry()
				metrics, err := NewMetrics(registry)
				if err != nil {
					t.Fatal(err)
				}
				s, err := New(Config{Slots: 1, Queue: 64, Metrics: metrics})
				if err != nil {
					t.Fatal(err)
				}
				var reported []string
				m := Model{Name: "shaped", Runner: model, MaxRows: 8, Rules: &Rules{}, Misfit: func(rule string, _ error) { reported = append(reported, rule) }}
				anyWidth(&m)
				if tc.divide > 0 {
					m.Signature.Inputs[0].Ragged = &infer.Ragged{Axis: 1, Max: 2000}
					m.Signature.Outputs[0].Ragged = &infer.Ragged{Axis: 1, Of: "x", Divide: tc.divide}
				}
				answers := func(q *Queue, lengths []int) (rows []int64) {
					t.Helper()
					model.runs = nil
					var wg sync.WaitGroup
					for i, n := range lengths {
						wg.Go(func() {
							req := wide("", n, float32(i+1))
							res, err := q.Run(t.Context(), req, []string{"y"})
							if err != nil {
								t.Error(err)
								return
							}
							want := tc.model(1, []float32{float32(i + 1)}, n)
							if !slices.Equal(res.Outputs[0].Shape, want.Shape) || !slices.Equal(res.Outputs[0].Data, want.Data) {
								t.Errorf("a length of %d: %v of shape %v, alone %v of shape %v", n, res.Outputs[0].Data, res.Outputs[0].Shape, want.Data, want.Shape)
							}
							res.Release()
						})
						synctest.Wait()
					}
					wg.Wait()
					for _, shape := range model.runs {
						rows = append(rows, shape[0])
					}
					return rows
				}
				q := s.NewQueue(m)
				rows := answers(q, tc.lengths)
				wantRuns, misfits := []int64{1, 4}, map[string]float64{}
				if tc.rule != "" {
					wantRuns, misfits[tc.rule] = []int64{1, 4, 1, 1, 1, 1}, 1
				}
				if !slices.Equal(rows, wantRuns) {
					t.Errorf("runs of %v rows, expected %v", rows, wantRuns)
				}
				for i, shape := range model.runs[1:] {
					// Whoever runs again is not padded any more.
					if i > 0 && shape[1] != int64(tc.lengths[i]) {
						t.Errorf("again with %v, of its length %d", shape, tc.lengths[i])
					}
				}
				for _, rule := range []string{RuleRows, RuleRagged} {
					if got := misfitsOf(t, registry, rule); got != misfits[rule] {
						t.Errorf("%v misfits of %s, expected %v", got, rule, misfits[rule])
					}
				}
				if tc.rule != "" && !slices.Equal(reported, []string{tc.rule}) || tc.rule == "" && reported != nil {
					t.Errorf("reported %v", reported)
				}
				// For good, and for the version when it is loaded again.
				for _, q := range []*Queue{q, s.NewQueue(m)} {
					if rows := slices.Sorted(slices.Values(answers(q, same))); !slices.Equal(rows, tc.then) {
						t.Errorf("then runs of %v rows, expected %v", rows, tc.then)
					}
					if tc.divide > 0 {
						if rows := slices.Sorted(slices.Values(answers(q, varied))); !slices.Equal(rows, tc.varied) {
							t.Errorf("then runs of %v rows of several lengths, expected %v", rows, tc.varied)
						}
					}
				}
			})
		})
	}
}

// TestARuleThatFailsAloneIsDropped holds that one request alone shows a wrong
// rule before anybody is cut by it.
func TestARuleThatFailsAloneIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model := &shaped{of: byLength(func(n int) int { return (n + 80) / 160 })}
		_, q := newQueue(t, 1, 64, &fake{}, func(m *Model) {
			anyWidth(m)
			m.Runner = model
			m.Signature.Inputs[0].Ragged = &infer.Ragged{Axis: 1, Max: 2000}
			m.Signature.Outputs[0].Ragged = &infer.Ragged{Axis: 1, Of: "x", Divide: 192}
		})
		res, err := q.Run(t.Context(), wide("", 1200, 1), []string{"y"})
		if err != nil || !slices.Equal(res.Outputs[0].Shape, []int64{1, 8}) {
			t.Fatalf("%+v, %v", res, err)
		}
		if !q.rules.exact.Load() {
			t.Error("1200 samples are 8 frames, and 7 by the rule that stays")
		}
	})
}

// TestLongerRowsThanProvenAreJoinedOnlyWithEqualOnes holds that nothing is padded
// beyond the length up to which padding was proven, that the rule is not asked
// there, and that equal lengths still share a run and keep all of their answers.
func TestLongerRowsThanProvenAreJoinedOnlyWithEqualOnes(t *testing.T) {
	t.Parallel()
	rule := func(n int) int { // another one beyond 900
		if n > 900 {
			return n
		}
		return (n + 159) / 160
	}
	for name, tc := range map[string]struct {
		most    int64
		lengths []int
		shapes  [][]int64
	}{
		"up to the bound":       {900, []int{890, 850, 870, 900}, [][]int64{{1, 890}, {3, 900}}},
		"beyond it":             {900, []int{890, 910, 920, 930}, [][]int64{{1, 890}, {1, 910}, {1, 920}, {1, 930}}},
		"beyond it, and equal":  {900, []int{890, 910, 910, 910}, [][]int64{{1, 890}, {3, 910}}},
		"one beside shorter":    {900, []int{800, 850, 910, 900}, [][]int64{{1, 800}, {1, 910}, {2, 900}}},
		"none proven":           {0, []int{800, 850, 870}, [][]int64{{1, 800}, {1, 850}, {1, 870}}},
		"none proven and equal": {0, []int{800, 850, 850}, [][]int64{{1, 800}, {2, 850}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				model := &shaped{of: byLength(rule)}
				_, q := newQueue(t, 1, 64, &fake{}, func(m *Model) {
					anyWidth(m)
					m.Runner, m.MaxRows = model, 8
					m.Signature.Inputs[0].Ragged = &infer.Ragged{Axis: 1, Max: tc.most}
					m.Signature.Outputs[0].Ragged = &infer.Ragged{Axis: 1, Of: "x", Divide: 160}
				})
				var wg sync.WaitGroup
				for i, n := range tc.lengths {
					wg.Go(func() {
						res, err := q.Run(t.Context(), wide("", n, float32(i+1)), []string{"y"})
						if err != nil || !slices.Equal(res.Outputs[0].Shape, []int64{1, int64(rule(n))}) {
							t.Errorf("a length of %d: %+v, %v; expected %d frames", n, res, err, rule(n))
						}
					})
					synctest.Wait()
				}
				wg.Wait()
				slices.SortFunc(model.runs[1:], slices.Compare)
				slices.SortFunc(tc.shapes[1:], slices.Compare)
				if !slices.EqualFunc(model.runs, tc.shapes, slices.Equal[[]int64]) {
					t.Errorf("runs of %v, expected %v", model.runs, tc.shapes)
				}
				if q.rules.exact.Load() {
					t.Error("the rule was dropped for what it does not cover")
				}
			})
		})
	}
}

// TestPartsThatAreNotTheirRowsAreRunWhole holds that a request whose parts do not
// make it up is run as it came.
func TestPartsThatAreNotTheirRowsAreRunWhole(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(int, []float32, int) infer.Tensor{
		"one answer for all": func(_ int, x []float32, n int) infer.Tensor { return frames(1, 2, x, n) },
		"no rows":            func(_ int, x []float32, _ int) infer.Tensor { return infer.NewTensor("y", []int64{}, x[:1]) },
		"by how many they are": func(rows int, x []float32, n int) infer.Tensor {
			return frames(rows, 1+rows, x, n)
		},
		// As many as went in, in all, and none of them its own.
		"a row moved": func(rows int, x []float32, n int) infer.Tensor {
			if rows == 4 {
				return frames(5, 2, append(slices.Clone(x), x[:n]...), n)
			}
			return frames(max(rows-1, 1), 2, x, n)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				model := &shaped{of: of}
				_, q := newQueue(t, 2, 64, &fake{}, func(m *Model) { anyWidth(m); m.Runner, m.MaxRows = model, 4 })
				req := wide("", 22, 3)
				req.Inputs[0].Shape = []int64{11, 2}
				values, _ := infer.Values[float32](&req.Inputs[0])
				want := of(11, values, 2)
				for range 2 {
					res, err := q.Run(t.Context(), req, []string{"y"})
					if err != nil || !slices.Equal(res.Outputs[0].Shape, want.Shape) || !slices.Equal(res.Outputs[0].Data, want.Data) {
						t.Fatalf("%+v, %v; expected the shape %v", res, err, want.Shape)
					}
				}
				if rows := len(model.runs); rows != 3+1+1 || !q.rules.whole.Load() {
					t.Errorf("runs of %v", model.runs)
				}
			})
		})
	}
}

// padding is a Runner that pads by the rule itself, as on a GPU.
type padding struct {
	*shaped
	report func(error)
	exact  bool
}

func (p *padding) Misfits(report func(error)) { p.report = report }
func (p *padding) Exact()                     { p.exact = true }

// TestABrokenRuleEndsPaddingToo holds that what one user of a rule sees ends the
// other's use of it, too.
func TestABrokenRuleEndsPaddingToo(t *testing.T) {
	t.Parallel()
	p := &padding{shaped: &shaped{}}
	_, q := newQueue(t, 1, 64, &fake{}, func(m *Model) { m.Runner = p })
	p.report(errors.New("four rows made one"))
	if !q.rules.whole.Load() || !p.exact {
		t.Errorf("joined: %v, padded: %v", !q.rules.whole.Load(), !p.exact)
	}
}
