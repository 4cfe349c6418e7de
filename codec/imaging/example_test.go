package imaging_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"

	"github.com/modelserveai/modelserve/codec/imaging"
)

// A classifier of torchvision's takes 224×224 pixels, red first, normalized by
// ImageNet's means.
func ExampleImage_Normalize() {
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 640, 480))); err != nil {
		fmt.Println(err)
		return
	}
	picture, err := imaging.Decode(context.Background(), file.Bytes(), imaging.Options{Field: "image"})
	if err != nil {
		fmt.Println(err)
		return
	}
	const side = 224
	tensor := make([]float32, 3*side*side) // [1, 3, 224, 224]
	picture.Normalize(tensor, side, side, side, side*side, imaging.Normalization{
		Mean: [3]float32{0.406, 0.456, 0.485}, // blue, green, red
		Std:  [3]float32{0.225, 0.224, 0.229},
		RGB:  true,
	})
	fmt.Printf("%d×%d, black is %.3f in red\n", picture.Width, picture.Height, tensor[0])
	// Output: 640×480, black is -2.118 in red
}
