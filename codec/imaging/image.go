// Package imaging turns image files into the pixels that a vision model takes:
// bounded decoding, upright by EXIF, and the resizing, turning and scaling that
// models are trained behind.
//
// Its arithmetic follows OpenCV's 8-bit routines, rounding included, because
// most models are trained behind them and a network sees the difference. It
// is no general image library, and nothing here writes files.
package imaging

// Image is packed 8-bit BGR: three bytes a pixel, blue first, as OpenCV has it. Row y begins at Pix[y*Stride].
type Image struct {
	Width, Height int // pixels
	Stride        int // bytes from one row to the next
	Pix           []uint8
}

// New makes a black image of w×h pixels.
func New(w, h int) *Image {
	return &Image{Width: w, Height: h, Stride: 3 * w, Pix: make([]uint8, 3*w*h)}
}

// Row is row y's pixels: 3*Width bytes, which are the image's own.
func (m *Image) Row(y int) []uint8 {
	return m.Pix[y*m.Stride : y*m.Stride+3*m.Width]
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
