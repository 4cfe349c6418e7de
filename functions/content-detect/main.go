// Content-detect detects the type of a file from its bytes.
package main

import (
	"github.com/modelserveai/modelserve/functions/content-detect/contentdetect"
	"github.com/modelserveai/modelserve/runtime/function"
	"github.com/modelserveai/modelserve/runtime/serve"
)

func main() {
	function.Main(function.Spec{
		Name:  "content-detect",
		Codec: func(function.Limits) serve.Codec { return contentdetect.New() },
	})
}
