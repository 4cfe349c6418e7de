package infer_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// seeds are bodies with the length of their JSON.
func seeds(f *testing.F) {
	f.Helper()
	req := &infer.Request{ID: "a", Inputs: everyType(), BinaryOutput: true, Outputs: []infer.RequestedOutput{{Name: "y"}}}
	for _, binary := range []bool{true, false} {
		body, err := infer.EncodeRequest(req, func(*infer.Tensor) bool { return binary })
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body.Bytes(), body.HeaderLength())
	}
	for _, body := range []string{
		`{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[[1,2.5e-3],["NaN",-0]]}]}`,
		`{"inputs":[{"data":[[],[]],"name":"x","datatype":"BYTES","shape":[2,0]}],"parameters":{"timeout":5}}`,
		`{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["\ud83d\ude00\\\""]}]}`,
		`{"inputs":[{"name":"x","datatype":"UINT8","shape":[1e2],"data":[1,[2]]}],"inputs":[]}`,
	} {
		f.Add([]byte(body), infer.NoHeader)
	}
}

// FuzzDecodeRequest checks that whatever is let through is well formed, and
// that writing and reading it again changes nothing.
func FuzzDecodeRequest(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte, header int) {
		req, err := infer.DecodeRequest(body, header, infer.Limits{Elements: 1 << 16})
		if err != nil {
			if code := problem.CodeOf(err); code.Row().Status >= 500 && code != problem.Unimplemented {
				t.Fatalf("%s: %v", code, err)
			}
			return
		}
		if header == infer.NoHeader && !json.Valid(body) {
			t.Fatal("let through what encoding/json does not")
		}
		var s infer.Signature
		for i := range req.Inputs {
			in := &req.Inputs[i]
			checkViews(t, in)
			s.Inputs = append(s.Inputs, infer.TensorSpec{Name: in.Name, DataType: in.DataType, Shape: in.Shape})
		}
		whole := s.Validate(&infer.Request{Inputs: req.Inputs}) == nil
		for _, binary := range []bool{true, false} {
			again, err := infer.EncodeRequest(req, func(*infer.Tensor) bool { return binary })
			if err != nil {
				if !whole || !binary { // binary BYTES may be broken or not UTF-8
					continue
				}
				t.Fatal(err)
			}
			got, err := infer.DecodeRequest(again.Bytes(), again.HeaderLength(), infer.Limits{})
			if err != nil {
				if !whole {
					continue
				}
				t.Fatalf("%v in %q", err, again.Bytes())
			}
			if !binary {
				canonicalNaNs(req)
			}
			if diff := cmp.Diff(req, got, cmp.Comparer(bytes.Equal)); whole && diff != "" {
				t.Fatalf("binary %v:\n%s", binary, diff)
			}
		}
	})
}

// canonicalNaNs makes every NaN the one its JSON text reads back as.
func canonicalNaNs(req *infer.Request) {
	for i := range req.Inputs {
		in := &req.Inputs[i]
		again, err := infer.EncodeRequest(&infer.Request{Inputs: []infer.Tensor{{Name: "x", DataType: in.DataType, Shape: in.Shape, Data: in.Data}}},
			func(*infer.Tensor) bool { return false })
		if err != nil || !bytes.Contains(again.JSON, []byte(`"NaN"`)) {
			continue
		}
		if got, err := infer.DecodeRequest(again.JSON, infer.NoHeader, infer.Limits{}); err == nil {
			in.Data = got.Inputs[0].Data
		}
	}
}

// FuzzDecodeResponse checks that no response brings a client down.
func FuzzDecodeResponse(f *testing.F) {
	seeds(f)
	f.Add([]byte(`{"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[1]}]}`), infer.NoHeader)
	f.Fuzz(func(t *testing.T, body []byte, header int) {
		resp, err := infer.DecodeResponse(body, header, infer.Limits{Elements: 1 << 16})
		if err != nil {
			return
		}
		for i := range resp.Outputs {
			checkViews(t, &resp.Outputs[i])
		}
	})
}

// FuzzDecodeControl checks that a repository request that is let through is JSON,
// or nothing, and that what is refused is the caller's fault.
func FuzzDecodeControl(f *testing.F) {
	for _, seed := range []string{``, `null`, `{"ready":true}`, `{"parameters":{"unload_dependents":false,"a":1e2}}`, `{"parameters":{"config":null}}`, "\ufeff[]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, index := infer.DecodeIndexRequest(body)
		for _, err := range []error{index, infer.DecodeLoadRequest(body), infer.DecodeUnloadRequest(body)} {
			if code := problem.CodeOf(err); err != nil && code.Row().Status >= 500 && code != problem.Unimplemented {
				t.Fatalf("%s: %v", code, err)
			}
			if err == nil && len(body) > 0 && !json.Valid(infer.WithoutMark(body)) {
				t.Fatal("let through what encoding/json does not")
			}
		}
	})
}
