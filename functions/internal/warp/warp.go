// Package warp cuts quadrilaterals out of images and straightens them, as
// OpenCV's warpPerspective does, rounding included: lines of text for the models
// that read them. It finds none.
package warp

import (
	"math"

	"github.com/modelserveai/modelserve/codec/imaging"
)

// The fixed point of OpenCV's remap: places in 1/32 pixel, weights in 1/32768.
const (
	warpBits   = 5
	warpTab    = 1 << warpBits
	weightBits = 15
	weightOne  = 1 << weightBits
)

// Point is a place in pixels: x to the right, y down.
type Point struct{ X, Y float64 }

// Quad is four corners, clockwise from the one that is the crop's top left.
type Quad [4]Point

// Size is the crop's size in whole pixels: its longer pair of opposite sides
// each way.
func (q Quad) Size() (w, h int) {
	w = int(math.Max(distance(q[0], q[1]), distance(q[2], q[3])))
	h = int(math.Max(distance(q[0], q[3]), distance(q[1], q[2])))
	return w, h
}

// Valid reports whether the quad can be straightened: its corners run clockwise
// and enclose at least a pixel, and the last three are not in one line.
func (q Quad) Valid() bool {
	twice := 0.0
	for i, a := range q {
		b := q[(i+1)%len(q)]
		twice += a.X*b.Y - a.Y*b.X
	}
	w, h := q.Size()
	return twice >= 2 && w > 0 && h > 0 && math.Abs(q.corner()) >= 1e-6
}

// corner is the cross product of the sides that meet in the third corner.
func (q Quad) corner() float64 {
	return (q[1].X-q[2].X)*(q[3].Y-q[2].Y) - (q[3].X-q[2].X)*(q[1].Y-q[2].Y)
}

func distance(a, b Point) float64 { return math.Hypot(a.X-b.X, a.Y-b.Y) }

// Warper cuts quadrilaterals out of images. It holds the table of bicubic
// weights and is safe for many goroutines.
type Warper struct {
	weights [warpTab * warpTab][16]int32
}

// NewWarper builds the table as OpenCV does: Keys' kernel with a = −0.75 (Keys
// 1981, "Cubic convolution interpolation for digital image processing"), each
// set of weights summing to one exactly.
func NewWarper() *Warper {
	var t Warper
	var line [warpTab][4]float32
	for i := range line {
		line[i] = cubic(float32(i) / warpTab)
	}
	for y := range warpTab {
		for x := range warpTab {
			t.weights[y*warpTab+x] = fixed(line[y], line[x])
		}
	}
	return &t
}

func cubic(x float32) [4]float32 {
	const a = -0.75
	var c [4]float32
	c[0] = ((a*(x+1)-5*a)*(x+1)+8*a)*(x+1) - 4*a
	c[1] = ((a+2)*x-(a+3))*x*x + 1
	c[2] = ((a+2)*(1-x)-(a+3))*(1-x)*(1-x) + 1
	c[3] = 1 - c[0] - c[1] - c[2]
	return c
}

// fixed multiplies the weights of a row and a column out in fixed point. What
// rounding left over goes to the largest or smallest of the middle four.
func fixed(vy, vx [4]float32) [16]int32 {
	var w [16]int32
	sum := int32(0)
	for i := range w {
		w[i] = int32(math.RoundToEven(float64(vy[i/4] * vx[i%4] * weightOne)))
		sum += w[i]
	}
	if sum != weightOne {
		least, most := 10, 10 // (2, 2), where OpenCV begins
		for _, i := range [4]int{10, 11, 14, 15} {
			if w[i] < w[least] {
				least = i
			} else if w[i] > w[most] {
				most = i
			}
		}
		if diff := sum - weightOne; diff < 0 {
			w[most] -= diff
		} else {
			w[least] -= diff
		}
	}
	return w
}

// Crop cuts q out of m and straightens it to w×h, bicubic, with the image's
// edge repeated outside it: cv2.warpPerspective with INTER_CUBIC and
// BORDER_REPLICATE. q must be Valid.
func (t *Warper) Crop(m *imaging.Image, q Quad, w, h int) *imaging.Image {
	p := q.projection(float64(w), float64(h))
	out := imaging.New(w, h)
	for y := range h {
		row := out.Row(y)
		for x := range w {
			sx, sy := p.at(float64(x), float64(y))
			t.sample(row[3*x:3*x+3:3*x+3], m, sx, sy)
		}
	}
	return out
}

// projection maps crop coordinates into the image.
type projection [9]float64

// projection is the perspective map that takes the corners of a w×h crop to
// the quad's (Heckbert 1989, "Fundamentals of Texture Mapping and Image
// Warping", 2.2.3).
func (q Quad) projection(w, h float64) projection {
	dx1, dx2 := q[1].X-q[2].X, q[3].X-q[2].X
	dy1, dy2 := q[1].Y-q[2].Y, q[3].Y-q[2].Y
	sx := q[0].X - q[1].X + q[2].X - q[3].X
	sy := q[0].Y - q[1].Y + q[2].Y - q[3].Y
	det := q.corner()
	g := (sx*dy2 - dx2*sy) / det
	k := (dx1*sy - sx*dy1) / det
	return projection{
		(q[1].X - q[0].X + g*q[1].X) / w, (q[3].X - q[0].X + k*q[3].X) / h, q[0].X,
		(q[1].Y - q[0].Y + g*q[1].Y) / w, (q[3].Y - q[0].Y + k*q[3].Y) / h, q[0].Y,
		g / w, k / h, 1,
	}
}

// at is the place in the image, in 1/32 pixel.
func (p *projection) at(x, y float64) (sx, sy int) {
	z := p[6]*x + p[7]*y + p[8]
	if z != 0 {
		z = warpTab / z
	}
	return saturate((p[0]*x + p[1]*y + p[2]) * z), saturate((p[3]*x + p[4]*y + p[5]) * z)
}

// saturate rounds half to even within a range that no image reaches, so that a
// folded quad reads edges instead of overflowing.
func saturate(v float64) int {
	const far = 1 << 40
	return int(math.RoundToEven(math.Max(-far, math.Min(far, v))))
}

func (t *Warper) sample(dst []uint8, m *imaging.Image, sx, sy int) {
	weights := &t.weights[(sy&(warpTab-1))*warpTab+sx&(warpTab-1)]
	x, y := sx>>warpBits-1, sy>>warpBits-1
	var b, g, r int32
	if x >= 0 && y >= 0 && x+4 <= m.Width && y+4 <= m.Height {
		at := y*m.Stride + 3*x
		for i := 0; i < 16; i += 4 {
			px := m.Pix[at : at+12 : at+12]
			w0, w1, w2, w3 := weights[i], weights[i+1], weights[i+2], weights[i+3]
			b += int32(px[0])*w0 + int32(px[3])*w1 + int32(px[6])*w2 + int32(px[9])*w3
			g += int32(px[1])*w0 + int32(px[4])*w1 + int32(px[7])*w2 + int32(px[10])*w3
			r += int32(px[2])*w0 + int32(px[5])*w1 + int32(px[8])*w2 + int32(px[11])*w3
			at += m.Stride
		}
	} else {
		for i, w := range weights {
			px := m.Row(min(max(y+i/4, 0), m.Height-1))[3*min(max(x+i%4, 0), m.Width-1):]
			b += int32(px[0]) * w
			g += int32(px[1]) * w
			r += int32(px[2]) * w
		}
	}
	dst[0], dst[1], dst[2] = rounded(b), rounded(g), rounded(r)
}

func rounded(v int32) uint8 { return uint8(min(max((v+1<<(weightBits-1))>>weightBits, 0), 255)) }
