package publish

import (
	"fmt"
	"math"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// fill is how the values of a trial's row are made, beside what all rows share.
type fill struct {
	name    string
	usual   bool // such values as a network is made for
	integer byte // what integers are that whole does not say
	most    int  // of whole numbers; 0 is something else

	number func(i int) float64 // of the i-th element of floating-point inputs; nil leaves the usual ones
	whole  func(i int) float64 // of integer inputs and flags
	text   func(i int) string
}

// fills are tried in this order. The first ones are the usual: of the integers
// some models take only ones, and some only zeros.
//
// Two rows of usual values do not show a scale that is taken over the whole
// tensor, as dynamic quantization does. Models take ids of their own
// vocabularies, as integers or floats, and refuse others; so all sizes from two
// on are tried, the largest id first.
func fills() []fill {
	strange := []float64{math.NaN(), math.Inf(1), math.Inf(-1)}
	letters := func(i int) string { return string(rune('a' + i%26)) }
	all := []fill{
		{name: "usual values", usual: true, integer: 1},
		{name: "usual values", usual: true, integer: 0},
		{name: "other usual values", usual: true, number: func(i int) float64 { return weyl(i + 7919) }, whole: func(i int) float64 { return float64(i % 2) }, text: letters},
		{name: "large values", integer: 1, number: func(i int) float64 { return 1000 * (weyl(i) + 1) }},
		{name: "large negative values", integer: 1, number: func(i int) float64 { return -1000 * (weyl(i) + 1) }},
		{name: "NaN and infinities", integer: 1, number: func(i int) float64 { return strange[i%len(strange)] }},
		{name: "zeros", number: func(int) float64 { return 0 }},
		{name: "numbers as text", integer: 1, text: func(i int) string { return fmt.Sprint(i % 7) }},
	}
	for _, most := range []int{1, 2, 3, 7, 15, 31, 63, 127, 255, 1000, 5000, 30_000, 100_000} {
		all = append(all, wholeNumbers(most))
	}
	return all
}

// wholeNumbers spreads over 0 to most, which comes first.
func wholeNumbers(most int) fill {
	id := func(i int) float64 { return float64(most - (89*i)%(most+1)) }
	return fill{name: fmt.Sprintf("whole numbers up to %d", most), most: most, number: id, whole: id}
}

// apply writes the fill's values into an input, where its type has such.
func (f *fill) apply(t *infer.Tensor) {
	if t.DataType == infer.Bytes {
		if f.text == nil {
			return
		}
		n := t.Elements()
		t.Data = nil
		for i := range n {
			t.Data = infer.AppendBytes(t.Data, f.text(int(i)))
		}
		return
	}
	isFloat := tolerance(t.DataType) > 0
	value := f.whole
	if isFloat {
		value = f.number
	}
	if value == nil {
		return
	}
	width := t.DataType.Size()
	data := make([]byte, 0, len(t.Data))
	for i := range len(t.Data) / width {
		if isFloat {
			data = append(data, make([]byte, width)...)
			putFloat(data[i*width:], t.DataType, value(i))
			continue
		}
		var fits bool
		if data, fits = infer.AppendNumber(data, t.DataType, value(i)); !fits {
			return
		}
	}
	t.Data = data
}

// weyl is a Weyl sequence in [0, 1): the same each time, and no two neighbours
// alike.
func weyl(i int) float64 { return float64(uint32(i)*2654435769>>8) / (1 << 24) }
