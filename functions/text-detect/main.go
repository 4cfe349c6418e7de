// Text-detect finds the lines of text in an image.
package main

import (
	"github.com/modelserveai/modelserve/functions/text-detect/textdetect"
	"github.com/modelserveai/modelserve/runtime/function"
	"github.com/modelserveai/modelserve/runtime/serve"
)

func main() {
	function.Main(function.Spec{
		Name: "text-detect",
		Codec: func(l function.Limits) serve.Codec {
			return textdetect.New(textdetect.Options{MaxPixels: l.MaxPixels})
		},
	})
}
