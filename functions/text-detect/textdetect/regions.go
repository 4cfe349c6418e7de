package textdetect

import (
	"cmp"
	"math"
	"slices"
)

// The reference's thresholds (rapidocr 3.10.0, config.yaml, Det).
const (
	inkThreshold  = 0.3  // a pixel is text above it
	boxThreshold  = 0.5  // a box is text from this mean on
	maxCandidates = 1000 // boxes looked at, from the top
	minCore       = 3    // pixels of the network: the shorter side before growing
	minGrown      = 5    // and after
	minOnPage     = 3    // pixels of the page: both sides, to be exceeded
	lineGap       = 10   // pixels of the page: a step down that begins a new line
)

// probabilityMap is the network's answer: for each pixel of its input the
// probability that it is in a text line's core, row by row.
type probabilityMap struct {
	w, h int
	p    []float32
}

// region is one line of text on the page.
type region struct {
	corners quad // whole pixels of the page, clockwise from the top left
	score   float64
}

// regions finds the lines of text, in reading order, on a page of pageW×pageH
// that was scaled to the map. It is rapidocr's DBPostProcess, but for two
// things: specks do not count among the candidates, and the scores stay with
// their boxes when these are sorted.
func (m *probabilityMap) regions(pageW, pageH int) []region {
	var found []region
	candidates := 0
	for _, border := range trace(m.w, m.h, m.inkRow()) {
		core, shorter := minAreaRect(convexHull(border))
		if shorter < minCore {
			continue
		}
		if candidates++; candidates > maxCandidates {
			break
		}
		core = core.clockwise()
		score := m.mean(core)
		if score < boxThreshold {
			continue
		}
		grown, shorter := minAreaRect(convexHull(core.grow(core.unclipDistance())))
		if shorter < minGrown {
			continue
		}
		if corners, ok := onPage(grown.clockwise(), m.w, m.h, pageW, pageH); ok {
			found = append(found, region{corners, score})
		}
	}
	return readingOrder(found)
}

// inkRow gives the thresholded map's rows, dilated by 2×2: each pixel with its
// left, upper and upper left neighbours. It is to be called top to bottom.
func (m *probabilityMap) inkRow() func(y int, row []bool) {
	above, here := make([]bool, m.w), make([]bool, m.w)
	return func(y int, row []bool) {
		above, here = here, above
		for x, p := range m.p[y*m.w : (y+1)*m.w] {
			here[x] = p > inkThreshold
		}
		left := false
		for x := range row {
			now := here[x] || above[x]
			row[x] = now || left
			left = now
		}
	}
}

// onPage scales a box from the map to the page, in whole pixels within it. A
// box that is left too thin is no line.
func onPage(q quad, mapW, mapH, pageW, pageH int) (quad, bool) {
	for i, c := range q {
		x := math.RoundToEven(c.x / float64(mapW) * float64(pageW))
		y := math.RoundToEven(c.y / float64(mapH) * float64(pageH))
		q[i] = point{
			x: min(max(x, 0), float64(pageW-1)),
			y: min(max(y, 0), float64(pageH-1)),
		}
	}
	q = q.clockwise()
	width, height := q[0].sub(q[1]), q[0].sub(q[3])
	if int(math.Hypot(width.x, width.y)) <= minOnPage || int(math.Hypot(height.x, height.y)) <= minOnPage {
		return quad{}, false
	}
	return q, true
}

// readingOrder sorts by the top left corner: lines from the top, a new one
// wherever the next box begins 10 pixels or more below, each from the left.
func readingOrder(regions []region) []region {
	slices.SortStableFunc(regions, func(a, b region) int {
		return cmp.Compare(a.corners[0].y, b.corners[0].y)
	})
	for begin := 0; begin < len(regions); {
		end := begin + 1
		for end < len(regions) && regions[end].corners[0].y-regions[end-1].corners[0].y < lineGap {
			end++
		}
		slices.SortStableFunc(regions[begin:end], func(a, b region) int {
			return cmp.Compare(a.corners[0].x, b.corners[0].x)
		})
		begin = end
	}
	return regions
}

// mean is the map's mean over a box, border included.
func (m *probabilityMap) mean(q quad) float64 {
	xmin, xmax := m.bounds(q, func(p point) float64 { return p.x }, m.w)
	ymin, ymax := m.bounds(q, func(p point) float64 { return p.y }, m.h)
	var inside [4]point // as the reference: truncated from the box's own corner
	for i, c := range q {
		inside[i] = point{math.Trunc(c.x - float64(xmin)), math.Trunc(c.y - float64(ymin))}
	}
	sum, n := 0.0, 0
	for y := 0; y <= ymax-ymin; y++ {
		from, to, ok := span(inside, float64(y))
		from, to = max(from, 0), min(to, xmax-xmin)
		if !ok || from > to {
			continue
		}
		at := (ymin+y)*m.w + xmin
		for _, p := range m.p[at+from : at+to+1] {
			sum += float64(p)
		}
		n += to - from + 1
	}
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}

// bounds is the pixels that a box covers along one axis of size n.
func (m *probabilityMap) bounds(q quad, axis func(point) float64, n int) (lo, hi int) {
	least, most := math.Inf(1), math.Inf(-1)
	for _, c := range q {
		least, most = min(least, axis(c)), max(most, axis(c))
	}
	clip := func(v float64) int { return int(min(max(v, 0), float64(n-1))) }
	return clip(math.Floor(least)), clip(math.Ceil(most))
}

// span is the pixels of row y that a convex polygon covers, its edges drawn as
// lines one pixel thick.
func span(q [4]point, y float64) (from, to int, ok bool) {
	least, most := math.Inf(1), math.Inf(-1)
	for i, a := range q {
		b := q[(i+1)%len(q)]
		if a.y > b.y {
			a, b = b, a
		}
		if y < a.y || y > b.y {
			continue
		}
		if a.y == b.y {
			least, most = min(least, a.x, b.x), max(most, a.x, b.x)
			continue
		}
		slope := (b.x - a.x) / (b.y - a.y)
		x0 := a.x + slope*(max(y-0.5, a.y)-a.y)
		x1 := a.x + slope*(min(y+0.5, b.y)-a.y)
		if math.Abs(slope) > 1 {
			least, most = min(least, math.Ceil(min(x0, x1))), max(most, math.Floor(max(x0, x1)))
			continue
		}
		x := math.Round(a.x + slope*(y-a.y))
		least, most = min(least, x), max(most, x)
	}
	return int(least), int(most), least <= most
}
