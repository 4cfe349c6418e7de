package imaging_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/codec/imaging"
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

func TestRotate(t *testing.T) {
	t.Parallel()
	m := decode(t, encodePNG(t, corners()))
	for name, tc := range map[string]struct {
		got  *imaging.Image
		want []string
	}{
		"a quarter": {m.Rotate90(), []string{"36", "25", "14"}},
		"a half":    {m.Rotate180(), []string{"654", "321"}},
	} {
		if diff := cmp.Diff(tc.want, blues(tc.got)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// halves make numbers from −1 to 1.
func halves(rgb bool) imaging.Normalization {
	return imaging.Normalization{Mean: [3]float32{0.5, 0.5, 0.5}, Std: [3]float32{0.5, 0.5, 0.5}, RGB: rgb}
}

func TestNormalizeLeavesTheRest(t *testing.T) {
	t.Parallel()
	m := decode(t, encodePNG(t, corners()))
	const stride, plane = 5, 10
	planes := make([]float32, 3*plane)
	for i := range planes {
		planes[i] = 9
	}
	m.Normalize(planes, 3, 2, stride, plane, halves(false))
	scaled := func(v float32) float32 { return (v/255 - 0.5) / 0.5 }
	want := []float32{scaled(1), scaled(2), scaled(3), 9, 9, scaled(4), scaled(5), scaled(6), 9, 9}
	if diff := cmp.Diff(want, planes[:plane]); diff != "" {
		t.Error(diff)
	}
	if planes[2*plane] != scaled(7) || planes[plane] != scaled(8) {
		t.Errorf("red %v, green %v", planes[2*plane], planes[plane])
	}
	m.Normalize(planes, 3, 2, stride, plane, halves(true))
	if planes[0] != scaled(7) || planes[plane] != scaled(8) || planes[2*plane] != scaled(1) {
		t.Errorf("as RGB: red %v, green %v, blue %v", planes[0], planes[plane], planes[2*plane])
	}
}

func BenchmarkNormalize(b *testing.B) {
	m := imaging.New(1000, 700)
	planes := make([]float32, 3*736*1056)
	for b.Loop() {
		m.Normalize(planes, 1056, 736, 1056, 736*1056, halves(false))
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
