package textdetect

import (
	"cmp"
	"slices"
)

// lattice is a pixel's place.
type lattice struct{ x, y int32 }

// run is a stretch of equal pixels in one row, both ends included.
type run struct {
	from, to int32
	ink      bool
	label    int32
}

// tracer finds the borders of the connected regions of a mask in one pass over
// its rows: the outer border of each region of ink, and the border around each
// hole in one. They are the borders that Suzuki and Abe's algorithm follows
// (1985, "Topological structural analysis of digitized binary images by border
// following"; ink joins by eight neighbours, background by four), but only
// points that can be corners of a convex hull are kept, since no more is asked
// of them.
type tracer struct {
	width, height int
	parent        []int32 // union-find over labels
	open          []bool  // by root: ink, or background that reaches the frame
	ink           []bool
	marks         []mark
	above, row    []run
}

type mark struct {
	label int32
	at    lattice
}

// trace returns the borders' points, grouped, in order of each region's first
// pixel. inkRow fills the mask's row y.
func trace(width, height int, inkRow func(y int, row []bool)) [][]lattice {
	t := &tracer{width: width, height: height}
	pixels := make([]bool, width)
	for y := range height {
		inkRow(y, pixels)
		t.above, t.row = t.row, t.above[:0]
		t.split(pixels, y)
		t.join(int32(y))
	}
	return t.borders()
}

// split cuts a row into runs and marks their own ends.
func (t *tracer) split(pixels []bool, y int) {
	for x := 0; x < len(pixels); {
		end := x + 1
		for end < len(pixels) && pixels[end] == pixels[x] {
			end++
		}
		r := run{from: int32(x), to: int32(end - 1), ink: pixels[x], label: int32(len(t.parent))}
		frame := y == 0 || y == t.height-1 || x == 0 || end == len(pixels)
		t.parent = append(t.parent, r.label)
		t.ink = append(t.ink, r.ink)
		t.open = append(t.open, r.ink || frame)
		if left, right := (lattice{r.from, int32(y)}), (lattice{r.to, int32(y)}); r.ink {
			t.mark(r.label, left, right)
		} else if !frame {
			t.mark(r.label, lattice{left.x - 1, left.y}, lattice{right.x + 1, right.y})
		}
		t.row = append(t.row, r)
		x = end
	}
}

// join connects the row with the one above: ink also over corners.
func (t *tracer) join(y int32) {
	i := 0
	for _, r := range t.row {
		for i > 0 && t.above[i-1].to >= r.from-1 {
			i--
		}
		for ; i < len(t.above) && t.above[i].from <= r.to+1; i++ {
			a := t.above[i]
			if a.to < r.from-1 {
				continue
			}
			from, to := max(a.from, r.from), min(a.to, r.to)
			switch {
			case a.ink && r.ink:
				t.union(a.label, r.label)
			case from > to: // corners do not join the background
			case !a.ink && !r.ink:
				t.union(a.label, r.label)
			case a.ink: // ink above background
				t.mark(r.label, lattice{from, y - 1}, lattice{to, y - 1})
			default: // background above ink
				t.mark(a.label, lattice{from, y}, lattice{to, y})
			}
		}
	}
}

func (t *tracer) mark(label int32, points ...lattice) {
	for _, p := range points {
		t.marks = append(t.marks, mark{label, p})
	}
}

func (t *tracer) find(label int32) int32 {
	for t.parent[label] != label {
		t.parent[label] = t.parent[t.parent[label]]
		label = t.parent[label]
	}
	return label
}

// union keeps the smaller label: that of the region's first run.
func (t *tracer) union(a, b int32) {
	a, b = t.find(a), t.find(b)
	if a > b {
		a, b = b, a
	}
	t.parent[b] = a
	t.open[a] = t.open[a] || t.open[b]
}

// borders groups the marks by region and drops the background that is no hole.
func (t *tracer) borders() [][]lattice {
	kept := t.marks[:0]
	for _, m := range t.marks {
		m.label = t.find(m.label)
		if t.ink[m.label] || !t.open[m.label] {
			kept = append(kept, m)
		}
	}
	slices.SortStableFunc(kept, func(a, b mark) int { return cmp.Compare(a.label, b.label) })
	points := make([]lattice, len(kept))
	var groups [][]lattice
	begin := 0
	for i, m := range kept {
		points[i] = m.at
		if i+1 == len(kept) || kept[i+1].label != m.label {
			groups = append(groups, points[begin:i+1])
			begin = i + 1
		}
	}
	return groups
}
