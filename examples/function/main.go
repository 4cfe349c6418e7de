// Language-detect detects the language of a text.
package main

import (
	"example.com/language-detect/languagedetect"

	"github.com/modelserveai/modelserve/runtime/function"
	"github.com/modelserveai/modelserve/runtime/serve"
)

func main() {
	function.Main(function.Spec{
		Name:  "language-detect",
		Codec: func(function.Limits) serve.Codec { return languagedetect.Codec{} },
	})
}
