package textimage

import (
	"context"
	"slices"
	"strconv"

	"github.com/modelserveai/modelserve/codec/imaging"
	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/functions/internal/warp"
	"github.com/modelserveai/modelserve/problem"
)

const (
	// tall is the height to width from which a crop is taken for a line that
	// runs upwards, and turned (rapidocr: get_rotate_crop_image).
	tall = 1.5

	// maxCover and freeCover bound the pixels of all crops: so many times the
	// image's own, and so many more.
	maxCover  = 4
	freeCover = 1 << 20
)

// Lines are the lines of one image, cut out one at a time.
type Lines struct {
	image  *imaging.Image
	warper *warp.Warper
	lines  []line
}

type line struct {
	quad   warp.Quad
	w, h   int // of the crop, before it is turned
	whole  bool
	turned bool // upside down
}

// Cut checks the polygons and orientations against the image and makes ready
// to cut the lines out, at most so many at once. Without polygons the whole image is
// one line, and a copy only where it is turned. Errors are problems that name
// "polygons[3]" or "orientations[3]".
func Cut(ctx context.Context, budget *Budget, image *imaging.Image, warper *warp.Warper, polygons Polygons, orientations payload.List[int], atOnce int) (*Lines, error) {
	l := &Lines{image: image, warper: warper}
	if polygons == nil {
		if err := checkOrientations(orientations, 1); err != nil {
			return nil, err
		}
		l.lines = []line{{whole: true, w: image.Width, h: image.Height}}
	} else {
		if err := checkOrientations(orientations, len(polygons)); err != nil {
			return nil, err
		}
		if err := l.add(polygons); err != nil {
			return nil, err
		}
	}
	for i, o := range orientations {
		l.lines[i].turned = o == 180
	}
	return l, l.reserve(ctx, budget, atOnce)
}

// add checks each polygon and how much they cover together.
func (l *Lines) add(polygons Polygons) error {
	left := maxCover*int64(l.image.Width)*int64(l.image.Height) + freeCover
	for i, corners := range polygons {
		var q warp.Quad
		for k, c := range corners {
			q[k] = warp.Point{X: c[0], Y: c[1]}
			if !near(c[0], l.image.Width) || !near(c[1], l.image.Height) {
				return problem.Invalid(element("polygons", i), "corner (%g, %g) is far outside the image; expected pixels of its %d×%d", c[0], c[1], l.image.Width, l.image.Height)
			}
		}
		if !q.Valid() {
			return problem.Invalid(element("polygons", i), "encloses no line of text; expected four corners, clockwise from the text's top left")
		}
		w, h := q.Size()
		if left -= int64(w) * int64(h); left < 0 {
			return problem.Invalid(element("polygons", i), "the polygons up to this one cover more than %d times the image; expected lines of text", maxCover)
		}
		l.lines = append(l.lines, line{quad: q, w: w, h: h})
	}
	return nil
}

// near allows a quarter of the image's side outside it: detectors overshoot.
func near(v float64, side int) bool {
	margin := float64(side)/4 + 1
	return v >= -margin && v <= float64(side)+margin
}

// reserve takes the memory of the crops that are there at once, the largest ones.
func (l *Lines) reserve(ctx context.Context, budget *Budget, atOnce int) error {
	sizes := make([]int64, len(l.lines))
	for i, a := range l.lines {
		sizes[i] = a.bytes()
	}
	slices.Sort(sizes)
	var n int64
	for _, size := range sizes[max(0, len(sizes)-max(atOnce, 1)):] {
		n += size
	}
	return budget.Reserve(ctx, n)
}

// bytes are those of a line's copies, of which two are there at most: each is made of
// the last.
func (a line) bytes() int64 {
	const packed = 3
	copies := int64(0)
	if !a.whole {
		copies++
	}
	if a.upward() {
		copies++
	}
	if a.turned {
		copies++
	}
	return min(copies, 2) * packed * int64(a.w) * int64(a.h)
}

// Len is how many lines there are.
func (l *Lines) Len() int { return len(l.lines) }

// Size is the size in pixels of what Image returns.
func (l *Lines) Size(i int) (w, h int) {
	a := l.lines[i]
	if a.upward() {
		return a.h, a.w
	}
	return a.w, a.h
}

func (a line) upward() bool { return !a.whole && float64(a.h)/float64(a.w) >= tall }

// Image cuts line i out, straightened, its letters upright as far as is known.
func (l *Lines) Image(i int) *imaging.Image {
	a := l.lines[i]
	out := l.image
	if !a.whole {
		out = l.warper.Crop(l.image, a.quad, a.w, a.h)
	}
	if a.upward() {
		out = out.Rotate90()
	}
	if a.turned {
		out = out.Rotate180()
	}
	return out
}

func element(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
