package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// dataDir is where Debian's libonnx-testdata has the node models.
const dataDir = "/usr/share/libonnx-testdata/data/node"

// testCase is one model of the suite, with inputs and what it answers to them.
type testCase struct {
	name  string // as the suite has it
	file  string
	graph *graph

	// inputs and outputs that are tensors of the protocol; carried reports whether
	// all inputs and any output are.
	inputs, outputs []infer.Tensor
	carried         bool
}

// model is the case's name as a model may have one.
func (c *testCase) model() string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(c.name, "test_"), "_", "-"))
}

func readCase(name string) (*testCase, error) {
	c := &testCase{name: name, file: filepath.Join(dataDir, name, "model.onnx")}
	model, err := os.ReadFile(c.file)
	if err != nil {
		return nil, err
	}
	if c.graph, err = parseModel(model); err != nil {
		return nil, fmt.Errorf("%s: %w", c.file, err)
	}
	var noInput, noOutput int
	if c.inputs, noInput, err = c.read("input_", c.graph.inputs); err != nil {
		return nil, err
	}
	if c.outputs, noOutput, err = c.read("output_", c.graph.outputs); err != nil {
		return nil, err
	}
	c.carried = noInput == 0 && (len(c.outputs) > 0 || noOutput == 0)
	return c, nil
}

// read reads the values of the ports, and counts those that are no tensors.
func (c *testCase) read(prefix string, ports []port) (values []infer.Tensor, others int, err error) {
	for i, p := range ports {
		file := filepath.Join(dataDir, c.name, "test_data_set_0", prefix+strconv.Itoa(i)+".pb")
		if !p.isTensor {
			others++
			continue
		}
		message, err := os.ReadFile(file)
		if err != nil {
			return nil, 0, err
		}
		t, err := parseTensor(message)
		if errors.Is(err, errNoTensor) {
			others++
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", file, err)
		}
		t.Name = p.name
		if t.DataType == infer.Uint16 && dataTypes()[p.element] == infer.BF16 {
			t.DataType = infer.BF16 // NumPy, which wrote them, has no such type: these are its bits
		}
		values = append(values, t)
	}
	return values, others, nil
}

// isRandom reports whether the model's answer is drawn, so that no two
// implementations give the same.
func (c *testCase) isRandom() bool {
	for _, op := range []string{"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Dropout"} {
		if c.graph.operators[op] {
			return true
		}
	}
	return false
}
