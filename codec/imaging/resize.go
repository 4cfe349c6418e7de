package imaging

import "math"

// The fixed point of OpenCV's 8-bit bilinear resize.
const (
	resizeBits = 11
	resizeOne  = 1 << resizeBits
)

// tap is where a destination column or row reads: source i weighed w0 and
// i+1 (or i again at the edge) weighed w1, in 1/2048.
type tap struct {
	i0, i1 int
	w0, w1 int32
}

// taps places n destination samples over size source ones, centre to centre
// (half-pixel, no antialiasing).
func taps(n, size int) []tap {
	out := make([]tap, n)
	scale := 1 / (float64(n) / float64(size))
	for d := range out {
		f := float32((float64(d)+0.5)*scale - 0.5)
		i := int(math.Floor(float64(f)))
		f -= float32(i)
		if i < 0 {
			i, f = 0, 0
		}
		if i >= size-1 {
			i, f = size-1, 0
		}
		out[d] = tap{
			i0: i, i1: min(i+1, size-1),
			w0: int32(math.RoundToEven(float64((1 - f) * resizeOne))),
			w1: int32(math.RoundToEven(float64(f * resizeOne))),
		}
	}
	return out
}

// Resize scales the image to w×h as cv2.resize does with INTER_LINEAR.
func (m *Image) Resize(w, h int) *Image {
	out := New(w, h)
	if w == m.Width && h == m.Height {
		for y := range h {
			copy(out.Row(y), m.Row(y))
		}
		return out
	}
	m.resizeRows(w, h, func(y int, row []uint8) { copy(out.Row(y), row) })
	return out
}

// Normalization is how a model's numbers are made of a pixel's bytes: v becomes
// (v/255 − Mean) / Std, each with values for blue, green and red. Std is not 0.
type Normalization struct {
	Mean, Std [3]float32
	RGB       bool // planes are red, green, blue, in place of blue, green, red
}

// levels are the numbers of every byte, for blue, green and red.
func (n *Normalization) levels() (levels [3][256]float32) {
	for c := range levels {
		for v := range levels[c] {
			levels[c][v] = (float32(v)/255 - n.Mean[c]) / n.Std[c]
		}
	}
	return levels
}

// Normalize scales the image to w×h as Resize does and writes it as three
// planes of float32 by n into planes: rows of stride values, planes of plane
// values. What lies beside the image is left as it is.
func (m *Image) Normalize(planes []float32, w, h, stride, plane int, n Normalization) {
	levels := n.levels()
	first, last := 0, 2*plane
	if n.RGB {
		first, last = last, first
	}
	m.resizeRows(w, h, func(y int, row []uint8) {
		b := planes[first+y*stride:][:w]
		g := planes[plane+y*stride:][:w]
		r := planes[last+y*stride:][:w]
		for x := range b {
			px := row[3*x : 3*x+3 : 3*x+3]
			b[x], g[x], r[x] = levels[0][px[0]], levels[1][px[1]], levels[2][px[2]]
		}
	})
}

// resizeRows makes the rows of the scaled image, top to bottom, in one buffer.
func (m *Image) resizeRows(w, h int, emit func(y int, row []uint8)) {
	if w == m.Width && h == m.Height {
		for y := range h {
			emit(y, m.Row(y))
		}
		return
	}
	columns := taps(w, m.Width)
	rows := taps(h, m.Height)
	row := make([]uint8, 3*w)
	// The two source rows last widened, and which they are: going down, the
	// lower one is mostly the next pair's upper one.
	upper, lower := make([]int32, 3*w), make([]int32, 3*w)
	upperY, lowerY := -1, -1
	for y, at := range rows {
		if at.i0 == lowerY {
			upper, lower, upperY, lowerY = lower, upper, lowerY, upperY
		}
		if at.i0 != upperY {
			widen(upper, m.Row(at.i0), columns)
			upperY = at.i0
		}
		second := upper
		if at.i1 != at.i0 {
			if at.i1 != lowerY {
				widen(lower, m.Row(at.i1), columns)
				lowerY = at.i1
			}
			second = lower
		}
		w0, w1 := at.w0, at.w1
		second = second[:len(row)]
		for i, v := range upper[:len(row)] {
			row[i] = uint8((((w0 * (v >> 4)) >> 16) + ((w1 * (second[i] >> 4)) >> 16) + 2) >> 2)
		}
		emit(y, row)
	}
}

// widen scales one row across, keeping the 11 fraction bits.
func widen(dst []int32, src []uint8, columns []tap) {
	for x := range columns {
		c := &columns[x]
		a, b := src[3*c.i0:3*c.i0+3:3*c.i0+3], src[3*c.i1:3*c.i1+3:3*c.i1+3]
		out := dst[3*x : 3*x+3 : 3*x+3]
		out[0] = int32(a[0])*c.w0 + int32(b[0])*c.w1
		out[1] = int32(a[1])*c.w0 + int32(b[1])*c.w1
		out[2] = int32(a[2])*c.w0 + int32(b[2])*c.w1
	}
}
