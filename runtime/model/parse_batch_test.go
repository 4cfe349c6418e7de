package model

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// batchManifest is of a model of token ids with a mask, which gives an
// embedding for every second token and one for all.
func batchManifest() *Manifest {
	m := manifest()
	m.Inputs = []infer.TensorSpec{
		{Name: "ids", DataType: infer.Int64, Shape: []int64{-1, -1}, Ragged: &infer.Ragged{Axis: 1, Pad: 3}},
		{Name: "mask", DataType: infer.FP32, Shape: []int64{-1, -1}, Ragged: &infer.Ragged{Axis: 1}},
		{Name: "temperature", DataType: infer.FP32, Shape: []int64{-1}, Unbatched: true},
		{Name: "text", DataType: infer.Bytes, Shape: []int64{-1, -1}},
	}
	m.Outputs = []infer.TensorSpec{
		{Name: "tokens", DataType: infer.FP32, Shape: []int64{-1, -1, 8}, Ragged: &infer.Ragged{Axis: 1, Of: "ids", Divide: 2}},
		{Name: "whole", DataType: infer.FP32, Shape: []int64{-1, 8}},
	}
	m.Batching = &Batching{MaxBatchSize: 16, MaxDelay: 2000}
	m.Cost = &Cost{Memory: 1 << 20, Batches: []BatchCost{{1, 1000, 1100}, {2, 1500, 1600}, {4, 2500, 2600}}}
	return m
}

func TestManifestBatchesAreChecked(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(*Manifest)
		want  string // "" is a good one
	}{
		"as it is":                   {func(*Manifest) {}, ""},
		"nothing of it":              {func(m *Manifest) { m.Batching, m.Cost = nil, nil }, ""},
		"empty settings":             {func(m *Manifest) { m.Batching, m.Cost = &Batching{}, &Cost{} }, ""},
		"the largest batch":          {func(m *Manifest) { m.Batching.MaxBatchSize = MaxBatch }, ""},
		"a larger one":               {func(m *Manifest) { m.Batching.MaxBatchSize = MaxBatch + 1 }, "batching.max_batch_size: expected 0 to 4096, got 4097"},
		"a negative one":             {func(m *Manifest) { m.Batching.MaxBatchSize = -1 }, "batching.max_batch_size: "},
		"a long delay":               {func(m *Manifest) { m.Batching.MaxDelay = MaxDelay + 1 }, "batching.max_delay_us: expected 0 to 10000000, got 10000001"},
		"a negative delay":           {func(m *Manifest) { m.Batching.MaxDelay = -1 }, "batching.max_delay_us: "},
		"negative memory":            {func(m *Manifest) { m.Cost.Memory = -1 }, "cost.memory_bytes: "},
		"memory beyond any":          {func(m *Manifest) { m.Cost.Memory = math.MaxInt64 }, "cost.memory_bytes: "},
		"a size twice":               {func(m *Manifest) { m.Cost.Batches[2].Size = 2 }, "cost.batches[2].size: expected 3 to 4096, rising, got 2"},
		"a size of nothing":          {func(m *Manifest) { m.Cost.Batches[0].Size = 0 }, "cost.batches[0].size: "},
		"a size of too much":         {func(m *Manifest) { m.Cost.Batches[2].Size = MaxBatch + 1 }, "cost.batches[2].size: "},
		"no time alone":              {func(m *Manifest) { m.Cost.Batches[1].Alone = 0 }, "cost.batches[1].alone_ns: "},
		"a negative time":            {func(m *Manifest) { m.Cost.Batches[1].Busy = -5 }, "cost.batches[1].busy_ns: "},
		"a time of days":             {func(m *Manifest) { m.Cost.Batches[1].Busy = math.MaxInt64 }, "cost.batches[1].busy_ns: "},
		"too many sizes":             {func(m *Manifest) { m.Cost.Batches = make([]BatchCost, maxCosts+1) }, "cost.batches: 33 sizes, at most 32"},
		"a negative axis":            {func(m *Manifest) { m.Inputs[0].Ragged.Axis = -1 }, "inputs[0].ragged.axis: expected an axis of"},
		"an axis not there":          {func(m *Manifest) { m.Inputs[1].Ragged.Axis = 2 }, "inputs[1].ragged.axis: expected an axis of"},
		"the batch axis":             {func(m *Manifest) { m.Inputs[0].Ragged.Axis = 0 }, "inputs[0].ragged.axis: 0 is the batch axis"},
		"a fixed axis":               {func(m *Manifest) { m.Outputs[0].Ragged.Axis = 2 }, "outputs[0].ragged.axis: axis 2 of the shape [-1 -1 8] is not dynamic"},
		"no batch axis":              {func(m *Manifest) { m.BatchAxis = nil }, "inputs[0].ragged: the model has no batch axis"},
		"an unbatched input":         {func(m *Manifest) { m.Inputs[2].Ragged = &infer.Ragged{} }, `inputs[2].ragged: "temperature" is unbatched`},
		"an unbatched output":        {func(m *Manifest) { m.Outputs[0].Unbatched = true }, `outputs[0].ragged: "tokens" is unbatched`},
		"strings":                    {func(m *Manifest) { m.Inputs[3].Ragged = &infer.Ragged{Axis: 1} }, `inputs[3].ragged: "text" is BYTES`},
		"a shape not declared":       {func(m *Manifest) { m.Outputs[0].Shape = nil }, "outputs[0].ragged.axis: "},
		"a pad that is no number":    {func(m *Manifest) { m.Inputs[1].Ragged.Pad = math.NaN() }, "inputs[1].ragged.pad: "},
		"an infinite pad":            {func(m *Manifest) { m.Inputs[1].Ragged.Pad = math.Inf(-1) }, "inputs[1].ragged.pad: "},
		"a pad beyond the type":      {func(m *Manifest) { m.Inputs[1].Ragged.Pad = 1e39 }, "inputs[1].ragged.pad: expected a finite number that FP32 has, got 1e+39"},
		"half an integer":            {func(m *Manifest) { m.Inputs[0].Ragged.Pad = 0.5 }, "inputs[0].ragged.pad: "},
		"a length it was proven for": {func(m *Manifest) { m.Inputs[0].Ragged.Max = 512 }, ""},
		"a length of before":         {func(m *Manifest) { m.Inputs[0].Ragged.Before = 1024 }, ""},
		"a negative one of before":   {func(m *Manifest) { m.Inputs[0].Ragged.Before = -1 }, "inputs[0].ragged.max: expected 0 or more, got -1"},
		"an output's of before":      {func(m *Manifest) { m.Outputs[0].Ragged.Before = 9 }, "outputs[0].ragged.max: only an input has it, got 9"},
		"rows of only padding":       {func(m *Manifest) { m.Inputs[0].Ragged.Blank = true }, ""},
		"an output's":                {func(m *Manifest) { m.Outputs[0].Ragged.Blank = true }, "outputs[0].ragged.blank: only an input has it"},
		"values it was proven with": {func(m *Manifest) {
			m.Inputs[2].RaggedWith, m.Inputs[3].RaggedWith = [][]byte{make([]byte, 4)}, [][]byte{{}}
		}, ""},
		"too many values":              {func(m *Manifest) { m.Inputs[2].RaggedWith = make([][]byte, 17) }, "inputs[2].ragged_with: expected at most 16 values"},
		"values too large":             {func(m *Manifest) { m.Inputs[2].RaggedWith = [][]byte{make([]byte, MaxRaggedBytes+1)} }, "inputs[2].ragged_with: expected at most 16 values"},
		"values of a ragged input":     {func(m *Manifest) { m.Inputs[0].RaggedWith = [][]byte{{1}} }, "inputs[0].ragged_with: only an input that is unbatched or BYTES has it"},
		"values of rows of numbers":    {func(m *Manifest) { m.Inputs[1].Ragged, m.Inputs[1].RaggedWith = nil, [][]byte{{1}} }, "inputs[1].ragged_with: only"},
		"values of an output":          {func(m *Manifest) { m.Outputs[1].RaggedWith = [][]byte{{1}} }, "outputs[1].ragged_with: only an input has it"},
		"a negative length":            {func(m *Manifest) { m.Inputs[0].Ragged.Max = -1 }, "inputs[0].ragged.up_to: expected 0 or more, got -1"},
		"an output's length":           {func(m *Manifest) { m.Outputs[0].Ragged.Max = 9 }, "outputs[0].ragged.up_to: only an input has it, got 9"},
		"an output's pad":              {func(m *Manifest) { m.Outputs[0].Ragged.Pad = 1 }, "outputs[0].ragged.pad: only an input has it"},
		"an input that follows":        {func(m *Manifest) { m.Inputs[0].Ragged.Of = "mask" }, "inputs[0].ragged.of: only an output"},
		"an input's divisor":           {func(m *Manifest) { m.Inputs[0].Ragged.Divide = 2 }, "inputs[0].ragged.divide: only an output"},
		"a negative divisor":           {func(m *Manifest) { m.Outputs[0].Ragged.Divide = -1 }, "outputs[0].ragged.divide: expected 0 or more, got -1"},
		"the divisor left out":         {func(m *Manifest) { m.Outputs[0].Ragged.Divide = 0 }, ""},
		"of an input that is not":      {func(m *Manifest) { m.Outputs[0].Ragged.Of = "text" }, `outputs[0].ragged.of: expected an input that is ragged, got "text"`},
		"of nothing":                   {func(m *Manifest) { m.Outputs[0].Ragged.Of = "" }, "outputs[0].ragged.of: "},
		"of an input that is not here": {func(m *Manifest) { m.Outputs[0].Ragged.Of = "x" }, "outputs[0].ragged.of: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := batchManifest()
			tc.spoil(m)
			err := m.Check()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestPaddingOfOlderManifestsIsRead holds that a manifest whose padding was proven in
// another way is read, and that nothing is padded by it.
func TestPaddingOfOlderManifestsIsRead(t *testing.T) {
	t.Parallel()
	m := batchManifest()
	m.Inputs[0].Ragged.Max, m.Inputs[0].Ragged.Blank = 512, true
	m.Inputs[2].RaggedWith = [][]byte{{0, 0, 0, 0}}
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseManifest(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, again); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	before, err := ParseManifest(bytes.Replace(data, []byte(`"up_to"`), []byte(`"max"`), 1))
	if err != nil {
		t.Fatal(err)
	}
	if r := before.Inputs[0].Ragged; r.Max != 0 || r.Before != 512 {
		t.Errorf("padded up to %d, and before %d", r.Max, r.Before)
	}
}
