package infer_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

func TestNamedByJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]infer.Usage{
		`{"inputs":[{"name":"x","shape":[7,3],"data":[1]},{"shape":[7]}]}`:                {Rows: 7, Elements: 28},
		`{"id":"a","parameters":{"shape":[9]},"inputs":[{"data":[[1],[2]],"shape":[2]}]}`: {Rows: 2, Elements: 2},
		"\ufeff" + `{"inputs":[{"shape":[5,2`:                                             {},
		`{"inputs":[{"shape":[5,2]},{"shape":[5,`:                                         {Rows: 5, Elements: 10},
		`{"inputs":[{"shape":[4e3, 9223372036854775807, 4]}]}`:                            {Rows: 4000, Elements: 9223372036854775807},
		`{"inputs":[{"shape":[-1]},{"shape":[2]}]}`:                                       {},
		`{"inputs":[{"shape":[0,9]}]}`:                                                    {},
		`{"inputs":{"shape":[2]}}`:                                                        {},
		`[]`:                                                                              {}, ``: {}, `{`: {}, `{"inputs":[`: {},
	} {
		if got := infer.NamedByJSON(strings.NewReader(text)); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

func TestNamedByMessage(t *testing.T) {
	t.Parallel()
	whole, err := proto.Marshal(&inferpb.ModelInferRequest{ModelName: "m", Inputs: []*inferpb.ModelInferRequest_InferInputTensor{
		{Name: "x", Datatype: "FP32", Shape: []int64{7, 3}}, {Name: "y", Shape: []int64{7}},
	}, RawInputContents: [][]byte{make([]byte, 84)}})
	if err != nil {
		t.Fatal(err)
	}
	single := protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 6)
	for name, tc := range map[string]struct {
		head []byte
		want infer.Usage
	}{
		"whole":             {whole, infer.Usage{Rows: 7, Elements: 28}},
		"cut in the second": {whole[:strings.Index(string(whole), "y")], infer.Usage{Rows: 7, Elements: 21}},
		"not packed":        {protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), single), infer.Usage{Rows: 6, Elements: 6}},
		"no message":        {[]byte{0xff, 0xff}, infer.Usage{}},
		"nothing":           {nil, infer.Usage{}},
	} {
		if got := infer.NamedByMessage(tc.head); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// FuzzNamed holds that nothing that a request may be makes a negative cost, or a crash.
func FuzzNamed(f *testing.F) {
	for _, seed := range []string{`{"inputs":[{"shape":[7,3]}]}`, `{"inputs":[{"shape":[1e99,-2]}]}`, "\x2a\x04\x1a\x02\x07\x03", "\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x1a"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, u := range []infer.Usage{infer.NamedByJSON(strings.NewReader(string(data))), infer.NamedByMessage(data)} {
			if u.Rows < 0 || u.Elements < 0 || u.Compute != 0 {
				t.Errorf("%+v", u)
			}
		}
	})
}
