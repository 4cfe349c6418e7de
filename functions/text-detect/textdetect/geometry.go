package textdetect

import (
	"cmp"
	"math"
	"slices"
)

// point is a place in pixels: x to the right, y down.
type point struct{ x, y float64 }

func (p point) sub(q point) point     { return point{p.x - q.x, p.y - q.y} }
func (p point) dot(q point) float64   { return p.x*q.x + p.y*q.y }
func (p point) cross(q point) float64 { return p.x*q.y - p.y*q.x }

// quad is four corners.
type quad [4]point

// convexHull is the hull's corners, in order, without points on its edges
// (Andrew 1979, the monotone chain). It sorts the points.
func convexHull(points []lattice) []point {
	slices.SortFunc(points, func(a, b lattice) int {
		return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(a.y, b.y))
	})
	points = slices.Compact(points)
	if len(points) < 3 {
		hull := make([]point, len(points))
		for i, p := range points {
			hull[i] = p.point()
		}
		return hull
	}
	hull := make([]point, 0, 16)
	half := func(base int, p point) {
		for len(hull) >= base+2 && hull[len(hull)-1].sub(hull[len(hull)-2]).cross(p.sub(hull[len(hull)-2])) <= 0 {
			hull = hull[:len(hull)-1]
		}
		hull = append(hull, p)
	}
	for _, p := range points {
		half(0, p.point())
	}
	base := len(hull) - 1
	for i := len(points) - 2; i >= 0; i-- {
		half(base, points[i].point())
	}
	return hull[:len(hull)-1]
}

func (p lattice) point() point { return point{float64(p.x), float64(p.y)} }

// minAreaRect is the smallest rectangle around a convex hull, and its shorter
// side. One of its sides lies on an edge of the hull (Freeman and Shapira
// 1975), so three calipers turn around the hull with each edge once (Toussaint
// 1983, "Solving geometric problems with the rotating calipers").
func minAreaRect(hull []point) (corners quad, shorter float64) {
	if len(hull) < 3 {
		return quad{}, 0
	}
	n := len(hull)
	best := math.Inf(1)
	right, far, left := 1, 1, 1
	for i := range n {
		edge := hull[(i+1)%n].sub(hull[i])
		length := math.Hypot(edge.x, edge.y)
		along := point{edge.x / length, edge.y / length}
		across := point{-along.y, along.x}
		advance := func(from int, dir point) int {
			for k := 0; k < n && hull[(from+1)%n].dot(dir) >= hull[from%n].dot(dir); k++ {
				from = (from + 1) % n
			}
			return from
		}
		if i == 0 {
			right = advance(1, along)
			far = advance(right, across)
			left = advance(far, point{-along.x, -along.y})
		} else {
			right, far, left = advance(right, along), advance(far, across), advance(left, point{-along.x, -along.y})
		}
		origin := hull[i]
		lo, hi := hull[left].sub(origin).dot(along), hull[right].sub(origin).dot(along)
		depth := hull[far].sub(origin).dot(across)
		if area := (hi - lo) * depth; area < best {
			best, shorter = area, min(hi-lo, depth)
			at := func(u, v float64) point {
				return point{origin.x + along.x*u + across.x*v, origin.y + along.y*u + across.y*v}
			}
			corners = quad{at(lo, 0), at(hi, 0), at(hi, depth), at(lo, depth)}
		}
	}
	return corners, shorter
}

// clockwise orders a rectangle's corners from the top left: the two leftmost
// by height, then the two rightmost.
func (q quad) clockwise() quad {
	slices.SortStableFunc(q[:], func(a, b point) int { return cmp.Compare(a.x, b.x) })
	if q[1].y <= q[0].y {
		q[0], q[1] = q[1], q[0]
	}
	if q[3].y <= q[2].y {
		q[2], q[3] = q[3], q[2]
	}
	return quad{q[0], q[2], q[3], q[1]}
}

// grow is the corners of q pushed out by distance with round joins, on whole
// pixels, as the Clipper library does (Johnson 2014, version 6.4, on Chen and
// McMains 2005, "Polygon Offsetting by Computing Winding Numbers"): corners
// are truncated first, and an arc stays within a quarter pixel.
func (q quad) grow(distance float64) []lattice {
	const arcTolerance = 0.25
	steps := math.Pi / math.Acos(1-min(arcTolerance, distance*arcTolerance)/distance)
	steps = min(steps, distance*math.Pi)
	sin, cos := math.Sincos(2 * math.Pi / steps)

	corners := make([]point, 0, len(q))
	for _, c := range q {
		if p := (point{truncate(c.x), truncate(c.y)}); len(corners) == 0 || p != corners[len(corners)-1] {
			corners = append(corners, p)
		}
	}
	var out []lattice
	for j, c := range corners {
		before := normal(corners[(j+len(corners)-1)%len(corners)], c)
		after := normal(c, corners[(j+1)%len(corners)])
		turn := math.Atan2(before.cross(after), before.dot(after))
		arms := max(int(math.Round(steps/(2*math.Pi)*math.Abs(turn))), 1)
		dir := before
		for range arms {
			out = append(out, snap(c, dir, distance))
			dir = point{dir.x*cos - sin*dir.y, dir.x*sin + dir.y*cos}
		}
		out = append(out, snap(c, after, distance))
	}
	return out
}

// truncate drops a coordinate's fraction; what is whole but for rounding
// errors stays whole.
func truncate(v float64) float64 {
	if near := math.Round(v); math.Abs(v-near) < 1e-4 {
		return near
	}
	return math.Trunc(v)
}

// normal is the unit vector out of a clockwise polygon's edge.
func normal(from, to point) point {
	d := to.sub(from)
	length := math.Hypot(d.x, d.y)
	if length == 0 {
		return point{}
	}
	return point{d.y / length, -d.x / length}
}

func snap(c, dir point, distance float64) lattice {
	return lattice{int32(math.Round(c.x + dir.x*distance)), int32(math.Round(c.y + dir.y*distance))}
}

// unclipDistance is how far a box of the shrunken core lies inside the line's
// own: DBNet's D' = A'·r'/L', with r' = 1.6.
func (q quad) unclipDistance() float64 {
	const ratio = 1.6
	area, length := 0.0, 0.0
	for i, p := range q {
		next := q[(i+1)%len(q)]
		area += p.cross(next)
		d := next.sub(p)
		length += math.Hypot(d.x, d.y)
	}
	return math.Abs(area) / 2 * ratio / length
}
