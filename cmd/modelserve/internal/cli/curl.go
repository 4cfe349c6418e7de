package cli

import (
	"fmt"
	"strconv"

	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Bounds on the call that is printed: how many elements are written out, and
// what a body may hold by default.
const (
	maxWritten = 128
	maxBody    = 32 << 20
)

func inferURL(name string, addr address) string { return addr.server + "/v2/models/" + name + "/infer" }

// curlLine is a shell line that calls the model with zeros of a shape that it
// runs with: written out when they are few, else in the protocol's binary form
// from /dev/zero.
func curlLine(m *artifact.Manifest, addr address) string {
	curl := `curl -fsS -H "X-API-Key: ` + addr.keyText + `" `
	url := shellQuote(inferURL(m.Name, addr))
	req := infer.Request{}
	var elements, bytes int64
	for i := range m.Inputs {
		spec := &m.Inputs[i]
		if spec.Optional {
			continue
		}
		t := infer.Tensor{Name: spec.Name, DataType: spec.DataType, Shape: callShape(spec)}
		n := t.Elements()
		if n < 0 || n > maxBody {
			return fmt.Sprintf("# the input %q is too large for a shell line", spec.Name)
		}
		// A BYTES element of zeros is an empty string behind its length.
		t.Data = make([]byte, n*int64(max(spec.DataType.Size(), 4*btoi(spec.DataType == infer.Bytes))))
		elements, bytes = elements+n, bytes+int64(len(t.Data))
		if bytes > maxBody {
			return fmt.Sprintf("# its inputs of %s are over the gateway's bound on a body", size(bytes))
		}
		req.Inputs = append(req.Inputs, t)
	}
	written := elements <= maxWritten && allInJSON(req.Inputs)
	encoded, err := infer.EncodeRequest(&req, func(*infer.Tensor) bool { return !written })
	if err != nil {
		return "# " + err.Error()
	}
	header := shellQuote(string(encoded.JSON))
	if written {
		return curl + "-H 'Content-Type: application/json' -d " + header + " " + url
	}
	return "{ printf %s " + header + "; head -c " + strconv.FormatInt(bytes, 10) + " /dev/zero; } | " + curl +
		"-H 'Content-Type: application/octet-stream' -H 'Inference-Header-Content-Length: " + strconv.Itoa(len(encoded.JSON)) + "' --data-binary @- " + url
}

// callShape is a shape that the model runs with.
func callShape(spec *infer.TensorSpec) []int64 {
	if spec.Example != nil {
		return spec.Example
	}
	shape := make([]int64, len(spec.Shape))
	for i, d := range spec.Shape {
		shape[i] = max(d, 1)
	}
	return shape
}

// allInJSON reports whether the tensors may be written as JSON.
func allInJSON(tensors []infer.Tensor) bool { return len(tensors) > 0 }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
