// Text-recognize reads lines of text.
package main

import (
	"github.com/modelserveai/modelserve/functions/text-recognize/textrecognize"
	"github.com/modelserveai/modelserve/runtime/function"
	"github.com/modelserveai/modelserve/runtime/serve"
)

func main() {
	function.Main(function.Spec{
		Name: "text-recognize",
		Codec: func(l function.Limits) serve.Codec {
			return textrecognize.New(textrecognize.Options{MaxPixels: l.MaxPixels})
		},
	})
}
