package cli

import (
	"fmt"
	"strconv"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// Bounds on the call that is printed: how many elements are written out, how
// many bytes of inputs whose values matter, and what a body may hold by default.
const (
	maxWritten = 128
	maxKept    = 8 << 10
	maxBody    = 32 << 20
)

// inferURL is where the model answers: the version named, or with 0 whichever
// is the newest.
func inferURL(ref model.Ref, addr address) string {
	url := addr.server + "/v2/models/" + ref.Name
	if ref.Version != 0 {
		url += "/versions/" + strconv.Itoa(ref.Version)
	}
	return url + "/infer"
}

// callText is the shell line for people, with a comment above it where the key
// that it takes is not set.
func callText(line string, addr address) string {
	if addr.keyUnset {
		line = "# with your key in MODELSERVE_KEY:\n" + line
	}
	return line + "\n"
}

// curlLine is a shell line that calls the model at the URL with inputs that it
// runs with: written out when they are few; else zeros go in the protocol's
// binary form, from /dev/zero.
func curlLine(m *model.Manifest, url string, addr address) string {
	url = shellQuote(url)
	req := infer.Request{}
	kept := map[string]bool{} // inputs whose values matter
	var elements, bytes, keptBytes int64
	for i := range m.Inputs {
		spec := &m.Inputs[i]
		if spec.Optional {
			continue
		}
		t := infer.Tensor{Name: spec.Name, DataType: spec.DataType, Shape: spec.ExampleShape(), Data: spec.ExampleData}
		n := t.Elements()
		if n < 0 || n > maxBody {
			return fmt.Sprintf("# the input %q is too large for a shell line", spec.Name)
		}
		elements += n
		if kept[t.Name] = t.Data != nil; kept[t.Name] {
			keptBytes += int64(len(t.Data))
		} else {
			t.Data = make([]byte, n*elementSize(t.DataType))
			bytes += int64(len(t.Data))
		}
		if keptBytes > maxKept {
			return fmt.Sprintf("# the input %q is too long for a shell line: it takes particular values", spec.Name)
		}
		if bytes > maxBody {
			return fmt.Sprintf("# its inputs of %s are over the gateway's bound on a body", size(bytes))
		}
		req.Inputs = append(req.Inputs, t)
	}
	encoded, err := infer.EncodeRequest(&req, func(t *infer.Tensor) bool { return elements > maxWritten && !kept[t.Name] })
	if err != nil {
		return "# " + err.Error()
	}
	header := shellQuote(string(encoded.JSON))
	if encoded.HeaderLength() == infer.NoHeader {
		return withKey(addr, "", "-H 'Content-Type: application/json' -d "+header+" "+url)
	}
	return withKey(addr, "{ printf %s "+header+"; head -c "+strconv.FormatInt(bytes, 10)+" /dev/zero; } | ",
		"-H 'Content-Type: application/octet-stream' -H 'Inference-Header-Content-Length: "+strconv.Itoa(len(encoded.JSON))+"' --data-binary @- "+url)
}

// withKey is a shell line of a curl that body is piped into, where there is one. The key
// is in no argument of it, as every user of the machine sees them while it runs: it
// comes from a file, or by printf, which is the shell's own.
func withKey(addr address, body, args string) string {
	const curl = "curl -fsS -H @"
	if addr.keyHeader != "" {
		return body + curl + shellQuote(addr.keyHeader) + " " + args
	}
	line := curl + "- " + args
	if body != "" { // which has curl's standard input
		line = "{ " + body + curl + "/dev/fd/3 " + args + "; } 3<&0"
	}
	return `printf 'X-API-Key: %s\n' "$` + keyVariable + `" | ` + line
}

// elementSize is the bytes of an element that is zero or an empty string.
func elementSize(d infer.DataType) int64 {
	if d == infer.Bytes {
		return 4 // its length
	}
	return int64(d.Size())
}
