package rows_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// suiteDir is where Debian's libonnx-testdata has the node models.
const suiteDir = "/usr/share/libonnx-testdata/data/node"

// suite takes every non-empty set of the inputs of every model of the ONNX
// project's node tests for inputs with rows.
func (h *held) suite(t *testing.T) {
	t.Helper()
	dirs, err := os.ReadDir(suiteDir)
	if err != nil {
		t.Fatalf("%v: make test installs it", err)
	}
	for _, d := range dirs {
		dir := filepath.Join(suiteDir, d.Name())
		model, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
		if err != nil {
			continue
		}
		data := testData(dir, inputNames(model))
		var able []string
		for _, in := range data {
			if len(in.Shape) > 0 && in.Elements() > 0 {
				able = append(able, in.Name)
			}
		}
		able = able[:min(len(able), 4)]
		for set := 1; set < 1<<len(able); set++ {
			var inputs []string
			chosen := map[string]bool{}
			for i, name := range able {
				if set>>i&1 == 1 {
					inputs, chosen[name] = append(inputs, name), true
				}
			}
			h.hold(t, d.Name(), withRows(model, chosen), inputs, func(*infer.Signature) (rowsOf, []infer.Tensor) {
				return rowsFrom(data, inputs, 4)
			})
		}
	}
}

// rowsFrom makes n rows of tensors, those of inputs, and gives the others.
func rowsFrom(data []infer.Tensor, inputs []string, n int) (rowsOf, []infer.Tensor) {
	random := rand.New(rand.NewPCG(1, 2))
	single := make(rowsOf, n)
	var shared []infer.Tensor
	for _, t := range data {
		if !slices.Contains(inputs, t.Name) {
			shared = append(shared, t)
			continue
		}
		for i, row := range slicesOf(t, n, random) {
			single[i] = append(single[i], row)
		}
	}
	return single, shared
}
