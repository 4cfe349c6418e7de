// Onnx serves any published model by the Open Inference Protocol, without a
// line of code: MODELSERVE_MODELS lists them.
package main

import "github.com/modelserveai/modelserve/runtime/function"

func main() {
	function.Main(function.Spec{Name: "onnx"})
}
