package warp_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/modelserveai/modelserve/codec/imaging"
	"github.com/modelserveai/modelserve/functions/internal/warp"
)

// testdata are the pictures that test/golden/text.py draws and OpenCV cuts.
const testdata = "../../../codec/imaging/testdata"

func read(t testing.TB, folder, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(t testing.TB, data []byte) *imaging.Image {
	t.Helper()
	m, err := imaging.Decode(t.Context(), data, imaging.Options{Field: "image"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// difference is how far two pictures of one size lie apart, of 255.
func difference(a, b *imaging.Image) (largest int, mean float64) {
	for i := range a.Pix {
		d := max(int(a.Pix[i])-int(b.Pix[i]), int(b.Pix[i])-int(a.Pix[i]))
		largest, mean = max(largest, d), mean+float64(d)/float64(len(a.Pix))
	}
	return largest, mean
}

// TestCropAsOpenCV holds the perspective crop to OpenCV's. Whole places are
// exact; between pixels OpenCV rounds places in float32.
func TestCropAsOpenCV(t *testing.T) {
	t.Parallel()
	texture := decode(t, read(t, testdata, "texture.png"))
	var quads [][4][2]float64
	if err := json.Unmarshal(read(t, testdata, "quads.json"), &quads); err != nil {
		t.Fatal(err)
	}
	warper := warp.NewWarper()
	for i, corners := range quads {
		q := quadOf(corners)
		w, h := q.Size()
		got := warper.Crop(texture, q, w, h)
		if float64(h)/float64(w) >= 1.5 {
			got = got.Rotate90()
		}
		want := decode(t, read(t, testdata, fmt.Sprintf("cropped-%d.png", i)))
		if got.Width != want.Width || got.Height != want.Height {
			t.Errorf("crop %d is %d×%d, want %d×%d", i, got.Width, got.Height, want.Width, want.Height)
			continue
		}
		if largest, mean := difference(got, want); largest > 3 || mean > 0.5 {
			t.Errorf("crop %d differs by up to %d, %.3f on average", i, largest, mean)
		}
	}
}

func quadOf(corners [4][2]float64) (q warp.Quad) {
	for i, c := range corners {
		q[i] = warp.Point{X: c[0], Y: c[1]}
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
	m, warper := imaging.New(8, 6), warp.NewWarper()
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

func BenchmarkCrop(b *testing.B) {
	m, warper := imaging.New(1000, 700), warp.NewWarper()
	q := quadOf([4][2]float64{{10, 10}, {910, 30}, {910, 60}, {10, 40}})
	w, h := q.Size()
	b.SetBytes(int64(w * h))
	for b.Loop() {
		warper.Crop(m, q, w, h)
	}
}
