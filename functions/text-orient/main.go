// Text-orient finds the lines of text that stand upside down.
package main

import (
	"github.com/modelserveai/modelserve/functions/text-orient/textorient"
	"github.com/modelserveai/modelserve/runtime/function"
	"github.com/modelserveai/modelserve/runtime/serve"
)

func main() {
	function.Main(function.Spec{
		Name: "text-orient",
		Codec: func(l function.Limits) serve.Codec {
			return textorient.New(textorient.Options{MaxPixels: l.MaxPixels})
		},
	})
}
