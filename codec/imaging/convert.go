package imaging

import (
	"image"
	"image/color"
)

// rowFunc writes row y as R, G, B, A (not premultiplied) into row.
type rowFunc func(y int, row []uint8)

// convert packs a decoded picture, turned by its EXIF orientation, on a
// canvas of w×h. Transparent pixels are blended as the reference does: over
// white if what is visible is dark on average, else over black.
func convert(src image.Image, w, h, orientation int, videoRange bool) *Image {
	b := src.Bounds()
	rows, opaque := rowsOf(src, videoRange)
	if full := b.Min == (image.Point{}) && b.Dx() == w && b.Dy() == h; !full {
		rest := canvas(src) // a GIF's frame may be smaller than its screen
		rows, opaque = onCanvas(rows, b, rest), opaque && rest[3] == 255
	}
	row := make([]uint8, 4*w)
	var back float32
	if !opaque {
		back = background(rows, row, h)
	}

	out, start, stepX, stepY := oriented(w, h, orientation)
	for y := range h {
		rows(y, row)
		if !opaque {
			blend(row, back)
		}
		at := start + y*stepY
		for i := 0; i < len(row); i += 4 {
			dst := out.Pix[at : at+3 : at+3]
			dst[0], dst[1], dst[2] = row[i+2], row[i+1], row[i]
			at += stepX
		}
	}
	return out
}

// oriented makes the upright image for a stored one of w×h, and returns where its
// pixel (0, 0) goes and how many bytes one step along its x and y move.
func oriented(w, h, orientation int) (out *Image, start, stepX, stepY int) {
	if orientation >= 5 {
		out = New(h, w)
	} else {
		out = New(w, h)
	}
	right, down := (out.Width-1)*3, (out.Height-1)*out.Stride
	switch orientation {
	case 2:
		return out, right, -3, out.Stride
	case 3:
		return out, right + down, -3, -out.Stride
	case 4:
		return out, down, 3, -out.Stride
	case 5:
		return out, 0, out.Stride, 3
	case 6:
		return out, right, out.Stride, -3
	case 7:
		return out, right + down, -out.Stride, -3
	case 8:
		return out, down, -out.Stride, 3
	default:
		return out, 0, 3, out.Stride
	}
}

// background is the grey level that transparent pixels are laid over.
func background(rows rowFunc, row []uint8, h int) float32 {
	var sum float64
	var n int64
	for y := range h {
		rows(y, row)
		for i := 0; i < len(row); i += 4 {
			if row[i+3] > 0 {
				sum += 0.299*float64(row[i]) + 0.587*float64(row[i+1]) + 0.114*float64(row[i+2])
				n++
			}
		}
	}
	if n == 0 || sum/float64(n) < 128 {
		return 255
	}
	return 0
}

// blend lays a row over the background, truncating as the reference does.
func blend(row []uint8, back float32) {
	for i := 0; i < len(row); i += 4 {
		a := row[i+3]
		if a == 255 {
			continue
		}
		alpha := float32(a) / 255
		for c := i; c < i+3; c++ {
			row[c] = uint8(float32(row[c])*alpha + back*(1-alpha))
		}
	}
}

// canvas is what a GIF has where its frame is not, as R, G, B, A: its first
// colour, as in Pillow, or nothing if one of its colours is transparent.
func canvas(src image.Image) (rgba [4]uint8) {
	m, ok := src.(*image.Paletted)
	if !ok || len(m.Palette) == 0 {
		return rgba
	}
	for _, entry := range m.Palette {
		if _, _, _, a := entry.RGBA(); a == 0 {
			return rgba
		}
	}
	c, _ := color.NRGBAModel.Convert(m.Palette[0]).(color.NRGBA)
	return [4]uint8{c.R, c.G, c.B, c.A}
}

// onCanvas puts rows of the frame b on a canvas that is rest elsewhere.
func onCanvas(rows rowFunc, b image.Rectangle, rest [4]uint8) rowFunc {
	return func(y int, row []uint8) {
		for x := 0; x < len(row); x += len(rest) {
			copy(row[x:], rest[:])
		}
		if y >= b.Min.Y && y < b.Max.Y {
			rows(y-b.Min.Y, row[4*b.Min.X:4*b.Max.X])
		}
	}
}

// rowsOf reads any picture row by row, counted from its own top left.
func rowsOf(src image.Image, videoRange bool) (rows rowFunc, opaque bool) {
	b := src.Bounds()
	switch m := src.(type) {
	case *image.YCbCr:
		return newChroma(m, videoRange).row, true
	case *image.NYCbCrA:
		colour := newChroma(&m.YCbCr, videoRange)
		return func(y int, row []uint8) {
			colour.row(y, row)
			for x := range b.Dx() {
				row[4*x+3] = m.A[y*m.AStride+x]
			}
		}, m.Opaque()
	case *image.Gray:
		return func(y int, row []uint8) {
			for x, v := range m.Pix[y*m.Stride : y*m.Stride+b.Dx()] {
				row[4*x], row[4*x+1], row[4*x+2], row[4*x+3] = v, v, v, 255
			}
		}, true
	case *image.NRGBA:
		return func(y int, row []uint8) { copy(row, m.Pix[y*m.Stride:]) }, m.Opaque()
	case *image.RGBA:
		if m.Opaque() {
			return func(y int, row []uint8) { copy(row, m.Pix[y*m.Stride:]) }, true
		}
	case *image.Paletted:
		return palettedRows(m), m.Opaque()
	}
	return func(y int, row []uint8) {
		for x := range b.Dx() {
			c, _ := color.NRGBAModel.Convert(src.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
			row[4*x], row[4*x+1], row[4*x+2], row[4*x+3] = c.R, c.G, c.B, c.A
		}
	}, isOpaque(src)
}

func palettedRows(m *image.Paletted) rowFunc {
	var palette [256][4]uint8
	for i, entry := range m.Palette {
		c, _ := color.NRGBAModel.Convert(entry).(color.NRGBA)
		palette[i] = [4]uint8{c.R, c.G, c.B, c.A}
	}
	w := m.Bounds().Dx()
	return func(y int, row []uint8) {
		for x, v := range m.Pix[y*m.Stride : y*m.Stride+w] {
			copy(row[4*x:4*x+4], palette[v][:])
		}
	}
}

func isOpaque(src image.Image) bool {
	m, ok := src.(interface{ Opaque() bool })
	return ok && m.Opaque()
}
