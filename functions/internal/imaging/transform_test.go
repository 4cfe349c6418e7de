package imaging_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/functions/internal/imaging"
)

// TestResizeAsOpenCV holds the resize to what OpenCV made of the same texture.
func TestResizeAsOpenCV(t *testing.T) {
	t.Parallel()
	texture := decode(t, read(t, "testdata", "texture.png"))
	for _, size := range [][2]int{{200, 150}, {71, 48}, {320, 48}, {60, 40}} {
		name := fmt.Sprintf("resized-%dx%d.png", size[0], size[1])
		got := texture.Resize(size[0], size[1])
		if largest, mean := difference(got, decode(t, read(t, "testdata", name))); largest > 1 || mean > 0.002 {
			t.Errorf("%s: differs by up to %d, %.4f on average", name, largest, mean)
		}
	}
	if diff := cmp.Diff(texture.Pix, texture.Resize(texture.Width, texture.Height).Pix); diff != "" {
		t.Error("the same size is not the same picture")
	}
}

// TestCropAsOpenCV holds the perspective crop to OpenCV's. Whole places are
// exact; between pixels OpenCV rounds places in float32.
func TestCropAsOpenCV(t *testing.T) {
	t.Parallel()
	texture := decode(t, read(t, "testdata", "texture.png"))
	var quads [][4][2]float64
	if err := json.Unmarshal(read(t, "testdata", "quads.json"), &quads); err != nil {
		t.Fatal(err)
	}
	warper := imaging.NewWarper()
	for i, corners := range quads {
		q := quadOf(corners)
		w, h := q.Size()
		got := warper.Crop(texture, q, w, h)
		if float64(h)/float64(w) >= 1.5 {
			got = got.Rotate90()
		}
		want := decode(t, read(t, "testdata", fmt.Sprintf("cropped-%d.png", i)))
		if got.Width != want.Width || got.Height != want.Height {
			t.Errorf("crop %d is %d×%d, want %d×%d", i, got.Width, got.Height, want.Width, want.Height)
			continue
		}
		if largest, mean := difference(got, want); largest > 3 || mean > 0.5 {
			t.Errorf("crop %d differs by up to %d, %.3f on average", i, largest, mean)
		}
	}
}

func quadOf(corners [4][2]float64) (q imaging.Quad) {
	for i, c := range corners {
		q[i] = imaging.Point{X: c[0], Y: c[1]}
	}
	return q
}

func TestQuadValid(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		corners [4][2]float64
		want    bool
	}{
		"upright":           {[4][2]float64{{0, 0}, {9, 0}, {9, 4}, {0, 4}}, true},
		"slanted":           {[4][2]float64{{2, 0}, {9, 3}, {7, 8}, {0, 5}}, true},
		"counter-clockwise": {[4][2]float64{{0, 0}, {0, 4}, {9, 4}, {9, 0}}, false},
		"a point":           {[4][2]float64{{5, 5}, {5, 5}, {5, 5}, {5, 5}}, false},
		"a line":            {[4][2]float64{{0, 0}, {9, 0}, {9, 0}, {0, 0}}, false},
		"thinner than one":  {[4][2]float64{{0, 0}, {9, 0}, {9, 0.5}, {0, 0.5}}, false},
		"three in a line":   {[4][2]float64{{0, 0}, {9, 0}, {9, 4}, {9, 8}}, false},
	} {
		if got := quadOf(tc.corners).Valid(); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestCropOfAnythingIsSafe cuts quads that fold, reach far outside, or vanish
// towards a horizon.
func TestCropOfAnythingIsSafe(t *testing.T) {
	t.Parallel()
	m, warper := imaging.New(8, 6), imaging.NewWarper()
	for _, corners := range [][4][2]float64{
		{{-1e6, -1e6}, {1e6, -1e6}, {1e6, 1e6}, {-1e6, 1e6}},
		{{0, 0}, {8, 6}, {8, 0}, {0, 6}},
		{{0, 0}, {100, 1}, {5, 1.5}, {0, 2}},
		{{0, 0}, {math.MaxFloat32, 0}, {4, 4}, {0, 3}},
	} {
		if got := warper.Crop(m, quadOf(corners), 20, 10); got.Width != 20 || got.Height != 10 {
			t.Errorf("%v: %d×%d", corners, got.Width, got.Height)
		}
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	m := decode(t, encodePNG(t, corners()))
	for name, tc := range map[string]struct {
		got  *imaging.Image
		want []string
	}{
		"a quarter": {m.Rotate90(), []string{"36", "25", "14"}},
		"a half":    {m.Rotate180(), []string{"654", "321"}},
		"bands":     {m.PadVertical(1), []string{"000", "123", "456", "000"}},
	} {
		if diff := cmp.Diff(tc.want, blues(tc.got)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestNormalizeLeavesTheRest(t *testing.T) {
	t.Parallel()
	m := decode(t, encodePNG(t, corners()))
	const stride, plane = 5, 10
	planes := make([]float32, 3*plane)
	for i := range planes {
		planes[i] = 9
	}
	m.Normalize(planes, 3, 2, stride, plane)
	scaled := func(v float32) float32 { return (v/255 - 0.5) / 0.5 }
	want := []float32{scaled(1), scaled(2), scaled(3), 9, 9, scaled(4), scaled(5), scaled(6), 9, 9}
	if diff := cmp.Diff(want, planes[:plane]); diff != "" {
		t.Error(diff)
	}
	if planes[2*plane] != scaled(7) || planes[plane] != scaled(8) {
		t.Errorf("red %v, green %v", planes[2*plane], planes[plane])
	}
}

func BenchmarkNormalize(b *testing.B) {
	m := imaging.New(1000, 700)
	planes := make([]float32, 3*736*1056)
	for b.Loop() {
		m.Normalize(planes, 1056, 736, 1056, 736*1056)
	}
}

func BenchmarkCrop(b *testing.B) {
	m, warper := imaging.New(1000, 700), imaging.NewWarper()
	q := quadOf([4][2]float64{{10, 10}, {910, 30}, {910, 60}, {10, 40}})
	w, h := q.Size()
	b.SetBytes(int64(w * h))
	for b.Loop() {
		warper.Crop(m, q, w, h)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"page.png", "photo.jpg"} {
		data := read(b, pages, name)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				decode(b, data)
			}
		})
	}
}

func TestFlat(t *testing.T) {
	t.Parallel()
	m := imaging.New(6, 4)
	for i := range m.Pix {
		m.Pix[i] = 250
	}
	m.Row(1)[3*2+1] = 244 // at (2, 1)
	for name, tc := range map[string]struct {
		x0, y0, x1, y1 int
		tolerance      uint8
		want           bool
	}{
		"within tolerance":   {0, 0, 6, 4, 6, true},
		"beyond it":          {0, 0, 6, 4, 5, false},
		"beside it":          {3, 0, 6, 4, 0, true},
		"above it":           {0, 0, 6, 1, 0, true},
		"reaching outside":   {-5, -5, 50, 50, 5, false},
		"nothing":            {2, 1, 2, 1, 0, true},
		"outside":            {7, 7, 9, 9, 0, true},
		"from the other one": {2, 1, 6, 4, 5, false},
		"no overflow":        {0, 0, 2, 4, 255, true},
	} {
		if got := m.Flat(tc.x0, tc.y0, tc.x1, tc.y1, tc.tolerance); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
