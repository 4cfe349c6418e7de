package imaging

import "image"

// chroma reads rows of a Y'CbCr picture. Halved chroma is brought back with the
// triangle filter of libjpeg ("fancy upsampling") and libwebp, not by repeating
// samples: coloured text would fray.
type chroma struct {
	m          *image.YCbCr
	w, h       int
	videoRange bool // WebP's: 16 to 235, where JPEG has 0 to 255

	cb, cr []uint8 // one row at full width
	sums   []int
}

func newChroma(m *image.YCbCr, videoRange bool) *chroma {
	w := m.Rect.Dx()
	return &chroma{m: m, w: w, h: m.Rect.Dy(), videoRange: videoRange, cb: make([]uint8, w+1), cr: make([]uint8, w+1), sums: make([]int, (w+1)/2)}
}

func (c *chroma) row(y int, row []uint8) {
	const narrow = 2 // columns of chroma, of which libjpeg makes no triangles
	repeated := !c.videoRange && len(c.sums) <= narrow && c.m.SubsampleRatio != image.YCbCrSubsampleRatio440
	switch {
	case repeated:
		c.repeat(y)
	case c.m.SubsampleRatio == image.YCbCrSubsampleRatio420 && c.m.Rect.Min == (image.Point{}):
		near, far := y/2, y/2-1+2*(y&1)
		far = min(max(far, 0), (c.h+1)/2-1)
		c.widen(c.cb, c.m.Cb[near*c.m.CStride:], c.m.Cb[far*c.m.CStride:], 4)
		c.widen(c.cr, c.m.Cr[near*c.m.CStride:], c.m.Cr[far*c.m.CStride:], 4)
	case c.m.SubsampleRatio == image.YCbCrSubsampleRatio422 && c.m.Rect.Min == (image.Point{}):
		c.widen(c.cb, c.m.Cb[y*c.m.CStride:], nil, 2)
		c.widen(c.cr, c.m.Cr[y*c.m.CStride:], nil, 2)
	case c.m.SubsampleRatio == image.YCbCrSubsampleRatio440 && c.m.Rect.Min == (image.Point{}):
		// What a quarter turn without loss makes of 4:2:2.
		c.between(c.cb, c.m.Cb, y)
		c.between(c.cr, c.m.Cr, y)
	default:
		c.repeat(y)
	}
	c.colour(c.m.Y[c.m.YOffset(c.m.Rect.Min.X, c.m.Rect.Min.Y+y):], row)
}

// repeat fills row y with the nearest samples.
func (c *chroma) repeat(y int) {
	for x := range c.w {
		i := c.m.COffset(c.m.Rect.Min.X+x, c.m.Rect.Min.Y+y)
		c.cb[x], c.cr[x] = c.m.Cb[i], c.m.Cr[i]
	}
}

// between fills row y of a picture whose chroma is halved downwards only.
func (c *chroma) between(dst, plane []uint8, y int) {
	near, far := y/2, y/2-1+2*(y&1)
	far = min(max(far, 0), (c.h+1)/2-1)
	rounding := 1 + y&1 // libjpeg's
	for x := range c.w {
		dst[x] = uint8((3*int(plane[near*c.m.CStride+x]) + int(plane[far*c.m.CStride+x]) + rounding) >> 2)
	}
}

// widen doubles a row of chroma. With far it is weighed 3:1 with the next
// nearest row first. shift is the sum's scale in bits: 4 with far, 2 without.
func (c *chroma) widen(dst, near, far []uint8, shift uint) {
	n := len(c.sums)
	for i, v := range near[:n] {
		c.sums[i] = int(v)
		if far != nil {
			c.sums[i] = 3*int(v) + int(far[i])
		}
	}
	even, odd := 8, 7 // libjpeg's alternating rounding
	if far == nil {
		even, odd = 1, 2
	}
	for i, this := range c.sums {
		last, next := c.sums[max(i-1, 0)], c.sums[min(i+1, n-1)]
		dst[2*i] = uint8((3*this + last + even) >> shift)
		if 2*i+1 < len(dst) {
			dst[2*i+1] = uint8((3*this + next + odd) >> shift)
		}
	}
}

// colour writes R, G, B, 255 from one row of luma and the chroma beside it:
// JFIF's matrix, or BT.601's video range as libwebp computes it.
func (c *chroma) colour(luma, row []uint8) {
	for x := range c.w {
		y, u, v := int(luma[x]), int(c.cb[x]), int(c.cr[x])
		var r, g, b int
		if c.videoRange {
			y = 19077 * y >> 8
			r = (y + 26149*v>>8 - 14234) >> 6
			g = (y - 6419*u>>8 - 13320*v>>8 + 8708) >> 6
			b = (y + 33050*u>>8 - 17685) >> 6
		} else {
			u, v = u-128, v-128
			r = y + (91881*v+32768)>>16
			g = y + (-22554*u-46802*v+32768)>>16
			b = y + (116130*u+32768)>>16
		}
		out := row[4*x : 4*x+4 : 4*x+4]
		out[0], out[1], out[2], out[3] = clamp(r), clamp(g), clamp(b), 255
	}
}

func clamp(v int) uint8 {
	if uint(v) > 255 {
		if v < 0 {
			return 0
		}
		return 255
	}
	return uint8(v)
}
