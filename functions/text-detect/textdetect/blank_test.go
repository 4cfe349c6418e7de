package textdetect_test

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"testing"

	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/functions/text-detect/textdetect"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// TestImagesWithoutTextHaveNoBoxes holds images of one colour to what is on
// them, also in the shapes on which the network sees text.
func TestImagesWithoutTextHaveNoBoxes(t *testing.T) {
	t.Parallel()
	model := codectest.Open(t, "../../../.deps/models/text-detect/PP-OCRv6_det_small.onnx")
	codec := textdetect.New(textdetect.Options{})
	for _, tc := range []struct {
		size image.Point
		grey uint8
	}{
		{image.Pt(1000, 20), 255},
		{image.Pt(5000, 1), 255},
		{image.Pt(5000, 1), 128},
		{image.Pt(10000, 20), 255},
		{image.Pt(3000, 30), 128},
		{image.Pt(2000, 249), 255}, // here the reference finds a box
		{image.Pt(20, 1000), 255},
	} {
		t.Run(fmt.Sprintf("%d×%d of %d", tc.size.X, tc.size.Y, tc.grey), func(t *testing.T) {
			t.Parallel()
			m := image.NewGray(image.Rectangle{Max: tc.size})
			for i := range m.Pix {
				m.Pix[i] = tc.grey
			}
			var body bytes.Buffer
			if err := png.Encode(&body, m); err != nil {
				t.Fatal(err)
			}
			answer, err := codec.Answer(t.Context(), serve.Payload{Body: body.Bytes()}, model)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := answer.(*textdetect.Answer); !ok || len(got.Boxes) > 0 {
				t.Errorf("answered %+v", answer)
			}
		})
	}
}
