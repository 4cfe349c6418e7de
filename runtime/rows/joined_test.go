package rows_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/graph"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/rows"
)

// held is how often verdicts were held to what ONNX Runtime answers.
type held struct {
	lib *ort.Library

	mu                                   sync.Mutex
	accepted, ran, refused, cannot, stop int
	extreme                              int               // of ran, with rows that hold extreme values too
	operators                            map[[2]string]int // in graphs that were accepted and ran
	reasons                              map[string]int
}

func newHeld(t testing.TB) *held {
	t.Helper()
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	lib, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lib.Close(); err != nil {
			t.Error(err)
		}
	})
	return &held{lib: lib, operators: map[[2]string]int{}, reasons: map[string]int{}}
}

// count adds to one of h's counts.
func (h *held) count(n *int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*n++
}

// optimized writes a model as the servers do, and gives what it takes; false
// where ONNX Runtime does not have it.
func (h *held) optimized(t testing.TB, model []byte) (path string, sig infer.Signature, s *ort.Session, ok bool) {
	t.Helper()
	dir, err := os.MkdirTemp(ramDisk(), "rows-") //nolint:usetesting // no disk
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	src := filepath.Join(dir, "model.onnx")
	path = filepath.Join(dir, "model.ort")
	if err := os.WriteFile(src, model, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.lib.Optimize(src, path); err != nil {
		return "", sig, nil, false
	}
	if s, err = h.lib.Open(path, ort.Options{}); err != nil {
		return "", sig, nil, false
	}
	return path, *s.Signature(), s, true
}

// ramDisk is a folder that is no disk, where there is one: thousands of models are
// written, each flushed.
func ramDisk() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// rowsOf are inputs of one row each.
type rowsOf [][]infer.Tensor

// hold holds the verdict on a model to what ONNX Runtime answers to rows alone
// and together: each way in order and in reverse. given makes rows of one.
func (h *held) hold(t *testing.T, name string, model []byte, rowInputs []string, given func(sig *infer.Signature) (rowsOf, []infer.Tensor)) {
	t.Helper()
	path, sig, s, ok := h.optimized(t, model)
	if !ok {
		h.count(&h.cannot)
		return
	}
	defer s.Close()
	for i := range sig.Inputs {
		sig.Inputs[i].Unbatched = !slices.Contains(rowInputs, sig.Inputs[i].Name)
	}
	verdict, err := rows.ProveFile(path, &sig, rowInputs)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !slices.ContainsFunc(sig.Outputs, func(o infer.TensorSpec) bool { return verdict.Outputs[o.Name] != rows.Unknown }) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.refused++
		h.reasons[verdict.Why]++
		return
	}
	h.count(&h.accepted)
	g, err := graph.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	single, shared := given(&sig)
	w := work{s: s, g: g, sig: &sig, rowInputs: rowInputs, single: single, shared: shared}
	result, why := w.compare(verdict)
	if why != "" {
		t.Errorf("%s, with rows of %v: %s", name, rowInputs, why)
	}
	switch result {
	case never:
		h.count(&h.cannot)
	case apart:
		h.count(&h.stop)
	default:
		h.count(&h.ran)
	}
	w.single, w.extreme = extreme(single), true
	result, why = w.compare(verdict)
	if why != "" {
		t.Errorf("%s, with extreme rows of %v: %s", name, rowInputs, why)
	}
	if result == together {
		h.count(&h.extreme)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen(g)
}

// seen counts the operators of a graph.
func (h *held) seen(g *graph.Graph) {
	for i := range g.Nodes {
		n := &g.Nodes[i]
		h.operators[[2]string{n.Domain, n.Op}]++
		for j := range n.Attributes {
			if inner := n.Attributes[j].Graph; inner != nil {
				h.seen(inner)
			}
		}
	}
}

// work is a model and what it is run with.
type work struct {
	s         *ort.Session
	g         *graph.Graph
	sig       *infer.Signature
	rowInputs []string
	single    rowsOf
	shared    []infer.Tensor
	extreme   bool // that some rows hold extreme values
}

// ran is how far a comparison came.
type ran int

const (
	never    ran = iota // fewer than two rows run alone
	apart               // they never run together
	together            // they run
)

// compare runs rows alone, and all that run together, and returns what differs.
func (w *work) compare(verdict rows.Verdict) (result ran, why string) {
	var outputs []string
	for i := range w.sig.Outputs {
		if verdict.Outputs[w.sig.Outputs[i].Name] != rows.Unknown {
			outputs = append(outputs, w.sig.Outputs[i].Name)
		}
	}
	var alone [][]infer.Tensor
	var able rowsOf
	for _, row := range w.single {
		if answer, err := run(w.s, append(slices.Clone(row), w.shared...), outputs); err == nil {
			alone, able = append(alone, answer), append(able, row)
		}
	}
	if len(able) < 2 {
		return never, ""
	}
	result = apart
	for _, order := range orders(len(able)) {
		var members rowsOf
		var want [][]infer.Tensor
		for _, i := range order {
			members, want = append(members, able[i]), append(want, alone[i])
		}
		answer, err := run(w.s, append(joinRows(members), w.shared...), outputs)
		if err != nil {
			continue // the batcher runs each half of them
		}
		result = together
		sizes := rows.Sizes(w.g, w.sig, w.rowInputs, int64(len(order)))
		for i, name := range outputs {
			if !fits(answer[i].Shape, sizes[name]) {
				return result, fmt.Sprintf("output %s has the shape %v, not %v", name, answer[i].Shape, sizes[name])
			}
		}
		for i, name := range outputs {
			if why := differ(answer[i], want, i, verdict.Outputs[name]); why != "" && !w.amongCopies(answer[i], members, name) {
				return result, fmt.Sprintf("output %s of %d rows together is not what they are alone: %s", name, len(order), why)
			}
		}
	}
	return result, ""
}

// amongCopies reports whether each extreme row is what it is where the other rows are
// copies of it: a sum in another order, as a kernel takes it for so many rows, may
// overflow or not. Values that are not extreme must be what they are alone.
func (w *work) amongCopies(got infer.Tensor, members rowsOf, name string) bool {
	if !w.extreme || got.DataType == infer.Bytes || len(got.Data)%len(members) != 0 {
		return false
	}
	size := len(got.Data) / len(members)
	for i, row := range members {
		answer, err := run(w.s, append(joinRows(slices.Repeat(rowsOf{row}, len(members))), w.shared...), []string{name})
		if err != nil || !slices.Equal(answer[0].Shape, got.Shape) {
			return false
		}
		own, one := answer[0], got
		own.Data, one.Data = own.Data[i*size:(i+1)*size], got.Data[i*size:(i+1)*size]
		if unlike(one, own) != "" {
			return false
		}
	}
	return true
}

// fits reports whether a shape is what was inferred; nil is nothing.
func fits(shape, sizes []int64) bool {
	if sizes == nil {
		return true
	}
	return slices.EqualFunc(shape, sizes, func(a, b int64) bool { return b == -1 || a == b })
}

// orders are those in which n rows are joined.
func orders(n int) [][]int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	back := slices.Clone(all)
	slices.Reverse(back)
	out := [][]int{{0, 1}, all, back}
	if n > 3 {
		out = append(out, all[:3], []int{3, 0, 3, 1, 2})
	}
	return out
}

func run(s *ort.Session, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, error) {
	answer, release, err := s.Run(context.Background(), memory.Unbounded{}, inputs, outputs)
	if err != nil {
		return nil, err
	}
	defer release()
	out := make([]infer.Tensor, len(answer))
	for i, t := range answer {
		t.Data = bytes.Clone(t.Data)
		t.Shape = slices.Clone(t.Shape)
		out[i] = t
	}
	return out, nil
}

// joinRows joins inputs along axis 0.
func joinRows(members rowsOf) []infer.Tensor {
	var out []infer.Tensor
	for i, t := range members[0] {
		t.Shape = slices.Clone(t.Shape)
		t.Data = nil
		t.Shape[0] = 0
		for _, m := range members {
			t.Shape[0] += m[i].Shape[0]
			t.Data = append(t.Data, m[i].Data...)
		}
		out = append(out, t)
	}
	return out
}

// differ describes in what an answer to rows together is not what they are alone.
func differ(got infer.Tensor, alone [][]infer.Tensor, i int, kind rows.Kind) string {
	if kind == rows.Same {
		for _, a := range alone {
			if why := unlike(got, a[i]); why != "" {
				return why
			}
		}
		return ""
	}
	var want rowsOf
	for _, a := range alone {
		if len(a[i].Shape) == 0 || a[i].Shape[0] != 1 {
			return fmt.Sprintf("one row has the shape %v", a[i].Shape)
		}
		if !slices.Equal(a[i].Shape[1:], alone[0][i].Shape[1:]) {
			return fmt.Sprintf("one row has the shape %v, another %v", alone[0][i].Shape, a[i].Shape)
		}
		want = append(want, []infer.Tensor{a[i]})
	}
	whole := joinRows(want)[0]
	if got.DataType != whole.DataType || !slices.Equal(got.Shape, whole.Shape) || got.DataType == infer.Bytes {
		return unlike(got, whole)
	}
	// Each by what is large in it, not in another.
	size := len(got.Data) / len(want)
	for r := range want {
		own := want[r][0]
		one := own
		one.Data = got.Data[r*size : (r+1)*size]
		if why := unlike(one, own); why != "" {
			return fmt.Sprintf("row %d: %s", r, why)
		}
	}
	return ""
}

// unlike describes in what two tensors differ, but for what a sum in another order
// makes.
func unlike(a, b infer.Tensor) string {
	if a.DataType != b.DataType || !slices.Equal(a.Shape, b.Shape) {
		return fmt.Sprintf("%s%v where %s%v was expected", a.DataType, a.Shape, b.DataType, b.Shape)
	}
	x, y := numbers(a), numbers(b)
	if x == nil {
		if !bytes.Equal(a.Data, b.Data) {
			return fmt.Sprintf("%x where %x was expected", cut(a.Data), cut(b.Data))
		}
		return ""
	}
	largest := 0.0
	for _, v := range y {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			largest = max(largest, math.Abs(v))
		}
	}
	tolerance := 1e-4
	if a.DataType == infer.FP16 || a.DataType == infer.BF16 {
		tolerance = 2e-2
	}
	for i := range x {
		if x[i] == y[i] || math.IsNaN(x[i]) && math.IsNaN(y[i]) || math.Abs(x[i]-y[i]) <= tolerance*max(largest, 1e-3) {
			continue
		}
		return fmt.Sprintf("element %d of %v is %v where %v was expected", i, a.Shape, x[i], y[i])
	}
	return ""
}

func cut(b []byte) []byte { return b[:min(len(b), 64)] }

// numbers are a tensor's elements, where they are floats.
func numbers(t infer.Tensor) []float64 {
	out := []float64{}
	for b := t.Data; len(b) > 0; b = b[t.DataType.Size():] {
		switch t.DataType {
		case infer.FP32:
			out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		case infer.FP64:
			out = append(out, math.Float64frombits(binary.LittleEndian.Uint64(b)))
		case infer.BF16:
			out = append(out, float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b))<<16)))
		case infer.FP16:
			out = append(out, half(binary.LittleEndian.Uint16(b)))
		default:
			return nil
		}
	}
	return out
}

func half(bits uint16) float64 {
	sign := 1 - 2*float64(bits>>15)
	exponent, fraction := int(bits>>10&31), float64(bits&1023)
	switch {
	case exponent == 31 && fraction != 0:
		return math.NaN()
	case exponent == 31:
		return sign * math.Inf(1)
	case exponent == 0:
		return sign * math.Ldexp(fraction, -24)
	}
	return sign * math.Ldexp(1+fraction/1024, exponent-15)
}

// slices of a tensor along axis 0, n of them: its own, and then its own with
// their elements moved about.
func slicesOf(t infer.Tensor, n int, random *rand.Rand) []infer.Tensor {
	elements := split(t)
	per := len(elements) / int(t.Shape[0])
	var out []infer.Tensor
	for i := range n {
		first := i % int(t.Shape[0]) * per
		own := slices.Clone(elements[first : first+per])
		if i >= int(t.Shape[0]) {
			random.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
		}
		row := infer.Tensor{Name: t.Name, DataType: t.DataType, Shape: slices.Clone(t.Shape), Data: bytes.Join(own, nil)}
		row.Shape[0] = 1
		out = append(out, row)
	}
	return out
}

// split is a tensor's elements.
func split(t infer.Tensor) [][]byte {
	var out [][]byte
	for b := t.Data; len(b) > 0; {
		size := t.DataType.Size()
		if t.DataType == infer.Bytes {
			size = 4 + int(binary.LittleEndian.Uint32(b))
		}
		out, b = append(out, b[:size]), b[size:]
	}
	return out
}
