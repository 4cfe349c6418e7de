package textdetect

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestMinAreaRect(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		points  []lattice
		corners quad // clockwise
		shorter float64
	}{
		"none":      {nil, quad{}, 0},
		"a point":   {[]lattice{{3, 3}, {3, 3}}, quad{}, 0},
		"a line":    {[]lattice{{0, 0}, {1, 1}, {4, 4}}, quad{}, 0},
		"upright":   {[]lattice{{10, 10}, {50, 10}, {30, 20}, {50, 30}, {10, 30}}, quad{{10, 10}, {50, 10}, {50, 30}, {10, 30}}, 20},
		"diamond":   {[]lattice{{5, 0}, {10, 5}, {5, 10}, {0, 5}}, quad{{5, 0}, {10, 5}, {5, 10}, {0, 5}}, 5 * math.Sqrt2},
		"triangle":  {[]lattice{{0, 0}, {8, 0}, {4, 3}}, quad{{0, 0}, {8, 0}, {8, 3}, {0, 3}}, 3},
		"3-4-5":     {[]lattice{{0, 3}, {4, 0}, {10, 8}, {6, 11}}, quad{{4, 0}, {10, 8}, {6, 11}, {0, 3}}, 5},
		"doubled":   {[]lattice{{0, 0}, {0, 0}, {6, 0}, {6, 4}, {6, 4}, {0, 4}}, quad{{0, 0}, {6, 0}, {6, 4}, {0, 4}}, 4},
		"far apart": {[]lattice{{0, 0}, {3000, 1}, {3000, 5}, {0, 4}}, quad{{0, 0}, {3000, 1}, {3000, 5}, {0, 4}}, 4},
	} {
		corners, shorter := minAreaRect(convexHull(tc.points))
		if diff := cmp.Diff(tc.shorter, shorter, cmpopts.EquateApprox(0, 1e-3)); diff != "" {
			t.Errorf("%s: shorter side: %s", name, diff)
		}
		if got := corners.clockwise(); tc.shorter > 0 && !samePlaces(got, tc.corners) {
			t.Errorf("%s: %v, want %v", name, got, tc.corners)
		}
	}
}

// samePlaces compares corners in any order, to a pixel's hundredth.
func samePlaces(a, b quad) bool {
	for _, p := range a {
		if !slices.ContainsFunc(b[:], func(q point) bool { return math.Hypot(p.x-q.x, p.y-q.y) < 0.01 }) {
			return false
		}
	}
	return true
}

// TestMinAreaRectAgainstAllAngles compares the calipers with trying each edge.
func TestMinAreaRectAgainstAllAngles(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		points := make([]lattice, 3+rng.IntN(40))
		for i := range points {
			points[i] = lattice{rng.Int32N(60), rng.Int32N(25)}
		}
		hull := convexHull(slices.Clone(points))
		if len(hull) < 3 {
			continue
		}
		corners, _ := minAreaRect(hull)
		side := func(a, b point) float64 { d := a.sub(b); return math.Hypot(d.x, d.y) }
		got := side(corners[0], corners[1]) * side(corners[1], corners[2])
		want := math.Inf(1)
		for i, p := range hull {
			d := hull[(i+1)%len(hull)].sub(p)
			want = min(want, extent(points, d)*extent(points, point{-d.y, d.x})/d.dot(d))
		}
		if math.Abs(got-want) > 1e-6*want {
			t.Fatalf("%v: area %g, want %g", points, got, want)
		}
	}
}

func extent(points []lattice, dir point) float64 {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, p := range points {
		lo, hi = min(lo, p.point().dot(dir)), max(hi, p.point().dot(dir))
	}
	return hi - lo
}

// TestGrowAsClipper compares with what pyclipper 1.4.0 answered.
func TestGrowAsClipper(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		q        quad
		distance float64
		want     []lattice
	}{
		"upright, fractions dropped": {
			quad{{10.9, 10.2}, {50.99, 10.2}, {50.9, 30.7}, {10.9, 30.7}},
			7.3,
			[]lattice{{54, 4}, {56, 6}, {57, 10}, {57, 30}, {56, 34}, {54, 36}, {50, 37}, {10, 37}, {6, 36}, {4, 34}, {3, 30}, {3, 10}, {4, 6}, {6, 4}, {10, 3}, {50, 3}},
		},
		"slanted": {
			quad{{10, 12}, {50, 22}, {46, 38}, {6, 28}},
			7.3,
			[]lattice{{52, 15}, {55, 17}, {57, 20}, {57, 24}, {53, 40}, {51, 43}, {48, 45}, {44, 45}, {4, 35}, {1, 33}, {-1, 30}, {-1, 26}, {3, 10}, {5, 7}, {8, 5}, {12, 5}},
		},
	} {
		got := tc.q.grow(tc.distance)
		byPlace := cmpopts.SortSlices(func(a, b lattice) bool { return a.x < b.x || a.x == b.x && a.y < b.y })
		if diff := cmp.Diff(tc.want, got, byPlace, cmp.AllowUnexported(lattice{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestUnclipDistance(t *testing.T) {
	t.Parallel()
	q := quad{{0, 0}, {40, 0}, {40, 10}, {0, 10}}
	if got, want := q.unclipDistance(), 400*1.6/100; math.Abs(got-want) > 1e-12 {
		t.Errorf("%g, want %g", got, want)
	}
}

// TestTrace draws masks and counts the points of their borders' hulls.
func TestTrace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mask []string
		want [][]lattice // hulls, in order
	}{
		"nothing": {[]string{"....", "...."}, nil},
		"all":     {[]string{"##", "##"}, [][]lattice{{{0, 0}, {1, 0}, {1, 1}, {0, 1}}}},
		"two":     {[]string{"##..#", "##..#"}, [][]lattice{{{0, 0}, {1, 0}, {1, 1}, {0, 1}}, {{4, 0}, {4, 1}}}},
		"joined over a corner": {
			[]string{"##..", "..##"},
			[][]lattice{{{0, 0}, {1, 0}, {3, 1}, {2, 1}}},
		},
		"joined late": {
			[]string{"#.#", "#.#", "###"},
			[][]lattice{{{0, 0}, {2, 0}, {2, 2}, {0, 2}}},
		},
		"a ring has two borders": {
			[]string{"#####", "#...#", "#...#", "#####"},
			[][]lattice{{{0, 0}, {4, 0}, {4, 3}, {0, 3}}, {{0, 1}, {1, 0}, {3, 0}, {4, 1}, {4, 2}, {3, 3}, {1, 3}, {0, 2}}},
		},
		"an open ring has one": {
			[]string{"#####", "#...#", "#....", "#####"},
			[][]lattice{{{0, 0}, {4, 0}, {4, 3}, {0, 3}}},
		},
		"background does not leak over corners": {
			[]string{".#.", "#.#", ".#."},
			[][]lattice{{{1, 0}, {2, 1}, {1, 2}, {0, 1}}, {{1, 0}, {2, 1}, {1, 2}, {0, 1}}},
		},
	} {
		var got [][]lattice
		for _, border := range trace(len(tc.mask[0]), len(tc.mask), func(y int, row []bool) {
			for x := range row {
				row[x] = tc.mask[y][x] == '#'
			}
		}) {
			var hull []lattice
			for _, p := range convexHull(border) {
				hull = append(hull, lattice{int32(p.x), int32(p.y)})
			}
			got = append(got, hull)
		}
		sorted := cmpopts.SortSlices(func(a, b lattice) bool { return a.x < b.x || a.x == b.x && a.y < b.y })
		if diff := cmp.Diff(tc.want, got, sorted, cmp.AllowUnexported(lattice{})); diff != "" {
			t.Errorf("%s:\n%s\n%s", name, strings.Join(tc.mask, "\n"), diff)
		}
	}
}

func TestMeanCountsTheBorder(t *testing.T) {
	t.Parallel()
	m := &probabilityMap{w: 6, h: 5, p: make([]float32, 30)}
	for i := range m.p {
		m.p[i] = float32(i)
	}
	for name, tc := range map[string]struct {
		q    quad
		want float64
	}{
		"upright":           {quad{{1, 1}, {3, 1}, {3, 2}, {1, 2}}, (7 + 8 + 9 + 13 + 14 + 15) / 6.0},
		"a diamond":         {quad{{2, 1}, {3, 2}, {2, 3}, {1, 2}}, (8 + 13 + 14 + 15 + 20) / 5.0},
		"beyond the corner": {quad{{-2, -2}, {0, -2}, {0, 0}, {-2, 0}}, 0},
	} {
		if got := m.mean(tc.q); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%s: %g, want %g", name, got, tc.want)
		}
	}
}

func TestReadingOrder(t *testing.T) {
	t.Parallel()
	at := func(x, y float64) region { return region{corners: quad{{x, y}}} }
	got := readingOrder([]region{at(50, 9), at(300, 0), at(10, 5), at(0, 40), at(200, 31), at(5, 100)})
	var order []point
	for _, r := range got {
		order = append(order, r.corners[0])
	}
	want := []point{{10, 5}, {50, 9}, {300, 0}, {0, 40}, {200, 31}, {5, 100}}
	if diff := cmp.Diff(want, order, cmp.AllowUnexported(point{})); diff != "" {
		t.Error(diff)
	}
}
