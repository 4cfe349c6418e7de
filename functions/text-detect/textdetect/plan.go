package textdetect

import (
	"math"

	"github.com/modelserveai/modelserve/codec/imaging"
	"github.com/modelserveai/modelserve/functions/internal/textimage"
)

// The sizes that the reference brings an image to.
const (
	maxSide    = 2000 // a longer side is shrunk to it
	minSide    = 30   // a shorter one is grown to it
	multiple   = 32   // the network's stride
	netMinSide = 736  // the network sees at least this
	wideRatio  = 8    // wider pages get black bands above and below

	// maxGrown and maxNet bound what the reference leaves unbounded: it would
	// grow a column of 1×2000 to a gigapixel. Pages of ordinary shape stay
	// below both (4.4 million pixels).
	maxGrown = 6016
	maxNet   = 5 << 20
)

// plan is the way of one image to the network and of its boxes back. The page
// is the image within the bounds on sides, and bands above and below.
type plan struct {
	imageW, imageH int // the image, scaled to within the bounds on its sides
	band           int // rows of black above, and below
	pageW, pageH   int
	netW, netH     int

	scaleX, scaleY float64 // from the page back to the original
}

// planFor follows rapidocr: resize_image_within_bounds, apply_vertical_padding
// and DetPreProcess.resize.
func planFor(w, h int) plan {
	p := plan{imageW: w, imageH: h}
	if longest := max(w, h); longest > maxSide {
		ratio := maxSide / float64(longest)
		p.imageW, p.imageH = stride(float64(w)*ratio), stride(float64(h)*ratio)
	}
	if shortest := min(p.imageW, p.imageH); shortest < minSide {
		ratio := minSide / float64(shortest)
		p.imageW = min(stride(float64(p.imageW)*ratio), maxGrown)
		p.imageH = min(stride(float64(p.imageH)*ratio), maxGrown)
	}
	p.scaleX = float64(w) / float64(p.imageW)
	p.scaleY = float64(h) / float64(p.imageH)

	if p.imageH <= minSide || p.imageW > wideRatio*p.imageH {
		tall := 2 * max(p.imageW/wideRatio, minSide)
		p.band = abs(tall-p.imageH) / 2
	}
	p.pageW, p.pageH = p.imageW, p.imageH+2*p.band

	ratio := 1.0
	if shortest := min(p.pageW, p.pageH); shortest < netMinSide {
		ratio = netMinSide / float64(shortest)
	}
	area := float64(p.pageW) * float64(p.pageH)
	ratio = min(ratio, math.Sqrt(maxNet/area))
	p.netW, p.netH = stride(float64(p.pageW)*ratio), stride(float64(p.pageH)*ratio)
	if long, short := &p.netW, &p.netH; p.netW*p.netH > maxNet { // by rounding
		if *long < *short {
			long, short = short, long
		}
		*long = maxNet / *short / multiple * multiple
	}
	return p
}

// stride is the whole multiple of 32 nearest to int(v), ties to the even one,
// and never 0, where the reference gives up.
func stride(v float64) int {
	return max(multiple, multiple*int(math.RoundToEven(math.Trunc(v)/multiple)))
}

func abs(v int) int {
	if v < 0 {
		return -v
	}
	return v
}

// bytes is the memory that preparing and reading the map take.
func (p plan) bytes() int64 {
	const tensor, packed = 3 * 4, 3
	return int64(p.netW)*int64(p.netH)*tensor + 2*int64(p.pageW)*int64(p.pageH)*packed
}

// prepare fills the network's input: planes of blue, green and red from −1 to 1.
func (p plan) prepare(image *imaging.Image, tensor []float32) {
	if image.Width != p.imageW || image.Height != p.imageH {
		image = image.Resize(p.imageW, p.imageH)
	}
	if p.band > 0 {
		image = padVertical(image, p.band)
	}
	image.Normalize(tensor, p.netW, p.netH, p.netW, p.netW*p.netH, textimage.Normalization())
}

// padVertical puts black bands of n rows above and below.
func padVertical(m *imaging.Image, n int) *imaging.Image {
	out := imaging.New(m.Width, m.Height+2*n)
	for y := range m.Height {
		copy(out.Row(y+n), m.Row(y))
	}
	return out
}

// box brings a region of the page back to the original's pixels, w×h of them.
func (p plan) box(r region, w, h int) Box {
	box := Box{Score: textimage.Score(r.score)}
	for i, c := range r.corners {
		x := c.x * p.scaleX
		y := (c.y - float64(p.band)) * p.scaleY
		box.Polygon[i] = [2]float64{
			textimage.Score(min(max(x, 0), float64(w))),
			textimage.Score(min(max(y, 0), float64(h))),
		}
	}
	return box
}
