// Package imaging turns image files into pixels a text model can take: bounded
// decoding, upright by EXIF, and the resizing, warping and turning that the
// models were trained behind.
//
// Its arithmetic follows OpenCV's 8-bit routines, rounding included, because
// the reference implementations use them and a network sees the difference. It
// is no general image library, and nothing here writes files.
package imaging

// Image is packed 8-bit BGR: three bytes a pixel, blue first, as the models
// were trained. Row y begins at Pix[y*Stride].
type Image struct {
	Width, Height int // pixels
	Stride        int // bytes from one row to the next
	Pix           []uint8
}

// New makes a black image of w×h pixels.
func New(w, h int) *Image {
	return &Image{Width: w, Height: h, Stride: 3 * w, Pix: make([]uint8, 3*w*h)}
}

// Row is row y's pixels.
func (m *Image) Row(y int) []uint8 {
	return m.Pix[y*m.Stride : y*m.Stride+3*m.Width]
}

// Flat reports whether the pixels from (x0, y0) up to (x1, y1), which is outside,
// are of one colour: none differs from the first by more than tolerance in any
// of its three bytes. What lies outside the image does not count.
func (m *Image) Flat(x0, y0, x1, y1 int, tolerance uint8) bool {
	x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, m.Width), min(y1, m.Height)
	if x0 >= x1 || y0 >= y1 {
		return true
	}
	first := m.Row(y0)[3*x0 : 3*x0+3]
	var least, most [3]uint8
	for c, v := range first {
		least[c], most[c] = v-min(v, tolerance), v+min(255-v, tolerance)
	}
	for y := y0; y < y1; y++ {
		row := m.Row(y)[3*x0 : 3*x1]
		for i := 0; i < len(row); i += 3 {
			for c, v := range row[i : i+3] {
				if v < least[c] || v > most[c] {
					return false
				}
			}
		}
	}
	return true
}

// Rotate90 turns the image a quarter counter-clockwise (numpy.rot90).
func (m *Image) Rotate90() *Image {
	out := New(m.Height, m.Width)
	for y := range m.Height {
		src := m.Row(y)
		for x := range m.Width {
			copy(out.Pix[(m.Width-1-x)*out.Stride+3*y:][:3], src[3*x:3*x+3])
		}
	}
	return out
}

// Rotate180 turns the image upside down.
func (m *Image) Rotate180() *Image {
	out := New(m.Width, m.Height)
	for y := range m.Height {
		src, dst := m.Row(y), out.Row(m.Height-1-y)
		for x := range m.Width {
			copy(dst[3*(m.Width-1-x):][:3], src[3*x:3*x+3])
		}
	}
	return out
}

// PadVertical puts black bands of n rows above and below.
func (m *Image) PadVertical(n int) *Image {
	out := New(m.Width, m.Height+2*n)
	for y := range m.Height {
		copy(out.Row(y+n), m.Row(y))
	}
	return out
}
