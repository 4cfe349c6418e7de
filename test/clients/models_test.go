package clients

import (
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// publish publishes what the clients ask: of each data type a model that
// answers "x" of [n, m] as "y", and one with several inputs and outputs.
func publish(t *testing.T, p *platform) {
	t.Helper()
	for _, d := range []infer.DataType{
		infer.Bool, infer.Uint8, infer.Uint16, infer.Uint32, infer.Uint64, infer.Int8, infer.Int16, infer.Int32, infer.Int64,
		infer.FP16, infer.BF16, infer.FP32, infer.FP64, infer.Bytes,
	} {
		p.push(t, "echo-"+strings.ToLower(string(d)), onnxtest.Identity(onnxtest.ElementOf(d), "n", "m").Write(t))
	}
	p.push(t, "several", several().Write(t))
}

// several doubles "numbers" and gives "counts" and "texts" back.
func several() onnxtest.Model {
	numbers, counts, texts := []any{"n", 2}, []any{"n", 3}, []any{"n", "m"}
	return onnxtest.Model{Graph: onnxtest.Graph{
		Nodes: []onnxtest.Node{
			{Op: "Add", Inputs: []string{"numbers", "numbers"}, Outputs: []string{"doubled"}},
			{Op: "Identity", Inputs: []string{"counts"}, Outputs: []string{"counted"}},
			{Op: "Identity", Inputs: []string{"texts"}, Outputs: []string{"said"}},
		},
		Inputs: []onnxtest.Value{
			{Name: "numbers", Element: onnxtest.Float, Shape: numbers},
			{Name: "counts", Element: onnxtest.Int64, Shape: counts},
			{Name: "texts", Element: onnxtest.String, Shape: texts},
		},
		Outputs: []onnxtest.Value{
			{Name: "doubled", Element: onnxtest.Float, Shape: numbers},
			{Name: "counted", Element: onnxtest.Int64, Shape: counts},
			{Name: "said", Element: onnxtest.String, Shape: texts},
		},
	}}
}
