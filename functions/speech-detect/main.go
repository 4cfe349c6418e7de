// Speech-detect finds the stretches of speech in a WAV recording.
package main

import (
	"github.com/modelserveai/modelserve/functions/speech-detect/speechdetect"
	"github.com/modelserveai/modelserve/runtime/function"
	"github.com/modelserveai/modelserve/runtime/serve"
)

func main() {
	function.Main(function.Spec{
		Name:  "speech-detect",
		Codec: func(function.Limits) serve.Codec { return speechdetect.New() },
	})
}
