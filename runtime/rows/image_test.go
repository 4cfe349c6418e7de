package rows_test

import (
	"slices"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/rows"
)

// verdict is what a graph shows of a model, with rows where its signature has
// them.
func (h *held) verdict(t *testing.T, m model) rows.Verdict {
	t.Helper()
	path, sig, s, ok := h.optimized(t, m.marshal())
	if !ok {
		t.Fatal("ONNX Runtime does not have it")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	v, err := rows.ProveFile(path, &sig, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// resized is x resized by scales, its axes in the order of perm and then back.
func resized(shape []int64, perm []int64, by []float32, attributes ...attribute) model {
	list := named(scales(by...), "scales")
	m := model{
		nodes:   []node{{op: "Resize", inputs: []string{"x", "", "scales"}, outputs: []string{"y"}, attributes: attributes}},
		inputs:  []port{{"x", f32, shape}},
		outputs: []string{"y"},
		weights: []infer.Tensor{list},
	}
	if perm == nil {
		return m
	}
	back := make([]int64, len(perm))
	for i, p := range perm {
		back[p] = int64(i)
	}
	m.nodes[0].inputs[0], m.nodes[0].outputs[0] = "turned", "resized"
	m.nodes = slices.Concat(
		[]node{{op: "Transpose", inputs: []string{"x"}, outputs: []string{"turned"}, attributes: []attribute{{"perm", perm}}}},
		m.nodes,
		[]node{{op: "Transpose", inputs: []string{"resized"}, outputs: []string{"y"}, attributes: []attribute{{"perm", back}}}},
	)
	return m
}

// TestResizeOfRows holds where a kernel that interpolates leaves the rows alone:
// elsewhere a row of what is not finite makes its neighbours NaN.
func TestResizeOfRows(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	linear, cubic := attribute{"mode", "linear"}, attribute{"mode", "cubic"}
	const why = "interpolates over the axis that the rows are on"
	for name, c := range map[string]struct {
		m   model
		why string
	}{
		"linear, of matrices":                  {resized([]int64{-1, 4}, nil, []float32{1, 2}, linear), why},
		"linear by corners, of matrices":       {resized([]int64{-1, 4}, nil, []float32{1, 2}, linear, attribute{"coordinate_transformation_mode", "align_corners"}), why},
		"linear, of three axes":                {resized([]int64{-1, 3, 4}, nil, []float32{1, 2, 2}, linear), why},
		"linear, of three axes, one as it is":  {resized([]int64{-1, 3, 4}, nil, []float32{1, 1, 2}, linear), why},
		"linear, of images":                    {resized([]int64{-1, 2, 3, 4}, nil, []float32{1, 1, 2, 2}, linear), ""},
		"linear, of volumes":                   {resized([]int64{-1, 2, 2, 3, 4}, nil, []float32{1, 1, 2, 2, 2}, linear), ""},
		"linear, of images, channels last":     {resized([]int64{-1, 3, 4, 2}, nil, []float32{1, 2, 2, 1}, linear), why},
		"linear, of volumes that stay as deep": {resized([]int64{-1, 2, 2, 3, 4}, nil, []float32{1, 1, 1, 2, 2}, linear), ""},
		"linear, of channels for images":       {resized([]int64{-1, 2, 3, 4}, []int64{1, 0, 2, 3}, []float32{1, 1, 2, 2}, linear), why},
		"linear, of lines for images":          {resized([]int64{-1, 2, 3, 4}, []int64{1, 2, 0, 3}, []float32{1, 1, 1, 2}, linear), why},
		"linear, of some axes of images":       {resized([]int64{-1, 2, 3, 4}, nil, []float32{2, 2}, linear, attribute{"axes", []int64{2, 3}}), ""},
		"linear, of some axes of matrices":     {resized([]int64{-1, 3, 4}, nil, []float32{2}, linear, attribute{"axes", []int64{2}}), why},
		"cubic, of matrices":                   {resized([]int64{-1, 4}, nil, []float32{1, 2}, cubic), why},
		"cubic, of images":                     {resized([]int64{-1, 2, 3, 4}, nil, []float32{1, 1, 2, 2}, cubic), ""},
		"nearest, of matrices":                 {resized([]int64{-1, 4}, nil, []float32{1, 2}), ""},
		"nearest, of lines for images":         {resized([]int64{-1, 2, 3, 4}, []int64{1, 2, 0, 3}, []float32{1, 1, 1, 2}), ""},
		"nearest, of more rows than there are": {resized([]int64{-1, 4}, nil, []float32{2, 1}), "scales the axis that the rows are on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectWhy(t, h.verdict(t, c.m), c.why)
		})
	}
}

// TestSizesOfPools holds what is known of a pool's size: what the reshapes behind
// it need, which put the channels beside it.
func TestSizesOfPools(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	pooled := func(op string, size int64, attributes ...attribute) model {
		return model{
			nodes: []node{
				{op: op, inputs: []string{"x"}, outputs: []string{"pooled"}, attributes: attributes},
				{op: "Reshape", inputs: []string{"pooled", "long"}, outputs: []string{"r"}},
				// Between them, so that the optimiser leaves both.
				{op: "Softmax", inputs: []string{"r"}, outputs: []string{"s"}, attributes: []attribute{int2("axis", 3)}},
				{op: "Reshape", inputs: []string{"s", "flat"}, outputs: []string{"y"}},
			},
			inputs: []port{{"x", f32, []int64{-1, 1024, size, size}}}, outputs: []string{"y"},
			weights: []infer.Tensor{ints("long", -1, 1, 1, 1024), ints("flat", -1, 1024)},
		}
	}
	const unknown = "it has not one of its own for each row"
	kernel := func(n int64) attribute { return attribute{"kernel_shape", []int64{n, n}} }
	strides := func(n int64) attribute { return attribute{"strides", []int64{n, n}} }
	pads := attribute{"pads", []int64{1, 1, 0, 0}}
	for name, c := range map[string]struct {
		m   model
		why string
	}{
		"average of all":   {pooled("AveragePool", 7, kernel(7)), ""},
		"largest of all":   {pooled("MaxPool", 7, kernel(7)), ""},
		"power of all":     {pooled("LpPool", 7, kernel(7)), ""},
		"with strides":     {pooled("AveragePool", 3, kernel(2), strides(2)), ""},
		"with padding":     {pooled("AveragePool", 2, kernel(3), pads), ""},
		"with dilation":    {pooled("MaxPool", 3, kernel(2), attribute{"dilations", []int64{2, 2}}), ""},
		"rounded up":       {pooled("AveragePool", 7, kernel(7), int2("ceil_mode", 1)), unknown},
		"padded by a rule": {pooled("MaxPool", 7, kernel(7), attribute{"auto_pad", "VALID"}), unknown},
		"of four places":   {pooled("AveragePool", 8, kernel(7)), unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectWhy(t, h.verdict(t, c.m), c.why)
		})
	}
}
