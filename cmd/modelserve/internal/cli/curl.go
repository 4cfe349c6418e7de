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

// inferURL is where the model answers: the version named, or with 0 whichever
// is the newest.
func inferURL(ref artifact.Ref, addr address) string {
	url := addr.server + "/v2/models/" + ref.Name
	if ref.Version != 0 {
		url += "/versions/" + strconv.Itoa(ref.Version)
	}
	return url + "/infer"
}

// callText is the shell line for people, who are told when the key that it
// takes is not there.
func callText(line string, addr address) string {
	if addr.keyUnset {
		line = "# with your key in MODELSERVE_KEY:\n" + line
	}
	return line + "\n"
}

// curlLine is a shell line that calls the model at the URL with zeros of a
// shape that it runs with: written out when they are few, else in the
// protocol's binary form from /dev/zero.
func curlLine(m *artifact.Manifest, url string, addr address) string {
	curl := `curl -fsS -H "X-API-Key: ` + addr.keyText + `" `
	url = shellQuote(url)
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
		width := int64(spec.DataType.Size())
		if spec.DataType == infer.Bytes {
			width = 4 // an empty string is its length, zero
		}
		t.Data = make([]byte, n*width)
		elements, bytes = elements+n, bytes+int64(len(t.Data))
		if bytes > maxBody {
			return fmt.Sprintf("# its inputs of %s are over the gateway's bound on a body", size(bytes))
		}
		req.Inputs = append(req.Inputs, t)
	}
	written := elements <= maxWritten
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
