package textdetect_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"testing"

	"github.com/modelserveai/modelserve/functions/internal/modeltest"
	"github.com/modelserveai/modelserve/functions/text-detect/textdetect"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// TestNoTextHasNoBoxes holds images of one colour, of shapes ordinary and
// extreme, to what the reference finds on them: nothing.
func TestNoTextHasNoBoxes(t *testing.T) {
	t.Parallel()
	model := modeltest.Open(t, "text-detect", "PP-OCRv6_det_small.onnx")
	codec := textdetect.New(textdetect.Options{})
	for _, size := range []image.Point{{1000, 20}, {5000, 1}, {10000, 20}, {20, 1000}, {1, 5000}, {1000, 60}, {600, 20}, {3000, 30}, {1,1}, {30,30},{2000,249}} {
		for name, ink := range map[string]color.Gray{"white": {255}, "grey": {128}, "black": {0}} {
			t.Run(fmt.Sprintf("%s %v", name, size), func(t *testing.T) {
				m := image.NewGray(image.Rectangle{Max: size})
				for i := range m.Pix {
					m.Pix[i] = ink.Y
				}
				var body bytes.Buffer
				if err := png.Encode(&body, m); err != nil {
					t.Fatal(err)
				}
				answer, err := codec.Answer(t.Context(), serve.Payload{Body: body.Bytes()}, model)
				if err != nil {
					t.Fatal(err)
				}
				if got := answer.(*textdetect.Answer); len(got.Boxes) > 0 {
					t.Errorf("found %v", got.Boxes)
				}
			})
		}
	}
}
