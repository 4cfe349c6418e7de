package batch

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
)

func TestUnequalSharedInputsAreNotJoined(t *testing.T) {
	t.Parallel()
	sig := doubling()
	sig.Inputs = append(sig.Inputs, infer.TensorSpec{Name: "k", DataType: infer.Int64, Unbatched: true})
	q := &Queue{m: Model{Signature: sig}, rules: &Rules{}}
	key := func(rows int, k int64, wanted ...string) string {
		x := infer.NewTensor("x", []int64{int64(rows), 2}, make([]float32, 2*rows))
		f := q.formOf(nil, &infer.Request{Inputs: []infer.Tensor{infer.NewTensor("k", []int64{}, []int64{k}), x}}, wanted)
		return string(f.key)
	}
	if key(1, 7, "y") != key(3, 7, "y") {
		t.Error("rows keep requests apart")
	}
	for name, other := range map[string]string{"another shared input": key(1, 8, "y"), "other outputs": key(1, 7)} {
		if other == key(1, 7, "y") {
			t.Errorf("%s: joined", name)
		}
	}
}

func TestLengthsThatDifferAreNotJoinedWithEqualOnes(t *testing.T) {
	t.Parallel()
	axis := 0
	spec := func(name string) infer.TensorSpec {
		return infer.TensorSpec{Name: name, DataType: infer.Int64, Shape: []int64{-1, -1}, Ragged: &infer.Ragged{Axis: 1, Max: 2000}}
	}
	q := &Queue{m: Model{Signature: &infer.Signature{Inputs: []infer.TensorSpec{spec("ids"), spec("mask")}, BatchAxis: &axis}}, rules: &Rules{}}
	key := func(ids, mask int64) string {
		f := q.formOf(nil, &infer.Request{Inputs: []infer.Tensor{
			infer.NewTensor("ids", []int64{1, ids}, slices.Repeat([]int64{1}, int(ids))), infer.NewTensor("mask", []int64{1, mask}, slices.Repeat([]int64{1}, int(mask))),
		}}, nil)
		return string(f.key)
	}
	if key(5, 5) != key(6, 6) {
		t.Error("lengths of one class are kept apart")
	}
	if key(2000, 2000) != key(1999, 1999) {
		t.Error("a length that padding was proven for is kept apart")
	}
	for _, n := range []int64{1999, 2000, 2002} {
		if key(2001, 2001) == key(n, n) {
			t.Errorf("2001 is joined with %d, and padding was proven up to 2000", n)
		}
	}
	if again := key(2001, 2001); again != key(2001, 2001) {
		t.Error("equal lengths are kept apart")
	}
	if key(5, 6) == key(6, 6) {
		t.Error("ids and mask of different lengths are joined with equal ones")
	}
}

func TestStringsAreCutByElements(t *testing.T) {
	t.Parallel()
	tensor := infer.NewBytes("s", []int64{3, 2}, "a", "bb", "", "dddd", "e", "f\x00")
	for row, want := range [][]string{{"a", "bb"}, {"", "dddd"}, {"e", "f\x00"}} {
		cut := rowsOfTensor(&tensor, row, 1)
		want := infer.NewBytes("s", []int64{1, 2}, want...)
		if !slices.Equal(cut.Data, want.Data) || !slices.Equal(cut.Shape, want.Shape) {
			t.Errorf("row %d: %q %v", row, cut.Data, cut.Shape)
		}
	}
}

func TestPaddingIsWrittenAndTrimmed(t *testing.T) {
	t.Parallel()
	axis := 0
	sig := &infer.Signature{
		Inputs:    []infer.TensorSpec{{Name: "x", DataType: infer.Int32, Shape: []int64{-1, 2, -1, 2}, Ragged: &infer.Ragged{Axis: 2, Pad: -7, Max: 3}}},
		Outputs:   []infer.TensorSpec{{Name: "x", DataType: infer.Int32, Shape: []int64{-1, 2, -1, 2}, Ragged: &infer.Ragged{Axis: 2, Of: "x"}}},
		BatchAxis: &axis,
	}
	q := &Queue{m: Model{Signature: sig}, rules: &Rules{}}
	c := &class{q: q, ragged: true}
	var members []*item
	var parts [][]infer.Tensor
	for _, length := range []int64{1, 3, 0, 2} {
		values := make([]int32, 4*length)
		for i := range values {
			values[i] = int32(10*length) + int32(i)
		}
		inputs := []infer.Tensor{infer.NewTensor("x", []int64{1, 2, length, 2}, values)}
		parts = append(parts, inputs)
		members = append(members, &item{class: c, inputs: inputs, rows: 1, lengths: lengthsOf(sig, inputs)})
	}
	joined, padding, all := joinInputs(sig, parts, 4)
	if !slices.Equal(joined[0].Shape, []int64{4, 2, 3, 2}) || all != 48 || padding != 24 {
		t.Fatalf("shape %v, %d of %d are padding", joined[0].Shape, padding, all)
	}
	if got := int32(binary.LittleEndian.Uint32(joined[0].Data[8:])); got != -7 {
		t.Errorf("padding is %d", got)
	}
	cut, _, _ := q.cutOutputs(t.Context(), members, joined, &room{}, func() {})
	for i := range parts {
		if !slices.Equal(cut[i][0].Data, parts[i][0].Data) || !slices.Equal(cut[i][0].Shape, parts[i][0].Shape) {
			t.Errorf("member %d: %v %v", i, cut[i][0].Shape, cut[i][0].Data)
		}
	}
}

// TestWhatIsReadTogetherIsFreeTogether holds that the memory of outputs of which several
// members read their rows is free, and nobody's any more, when the last has read, and
// that small ones are copied, which are charged too.
func TestWhatIsReadTogetherIsFreeTogether(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		width  int64
		viewed bool
	}{"large": {smallOutputs, true}, "small": {4, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &Queue{m: Model{Signature: &infer.Signature{Outputs: []infer.TensorSpec{{Name: "y", DataType: infer.Int32, Shape: []infer.Dim{infer.Dynamic, tc.width}}}}}}
			members := []*item{{rows: 1}, {rows: 1}, {rows: 1}}
			outputs := []infer.Tensor{infer.NewTensor("y", []int64{3, tc.width}, make([]int32, 3*tc.width))}
			freed, account := false, memory.New(1<<20, time.Second)
			request := account.Open("a")
			charged := &room{call: request.Sibling(), ahead: &advance{}, own: true}
			if err := charged.Take(t.Context(), size(outputs)); err != nil {
				t.Fatal(err)
			}
			request.End()
			_, done, err := q.cutOutputs(t.Context(), members, outputs, charged, func() { freed = true })
			if err != nil || freed == tc.viewed {
				t.Fatalf("freed %v before any has read, %v", freed, err)
			}
			for i := range members {
				if used := account.Used(); used != size(outputs) {
					t.Errorf("%d bytes are charged once %d have read", used, i)
				}
				done()
			}
			if !freed || account.Used() != 0 {
				t.Errorf("freed %v, %d bytes are charged once all have read", freed, account.Used())
			}
		})
	}
}
