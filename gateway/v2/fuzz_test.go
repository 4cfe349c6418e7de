package v2

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// FuzzAddress holds that a message is routed by what a decoder reads in it,
// also after its version was set.
func FuzzAddress(f *testing.F) {
	for _, m := range []*inferpb.ModelInferRequest{
		{},
		{ModelName: "iris", ModelVersion: "3", Id: "7", RawInputContents: [][]byte{{1, 2, 3}}},
		{ModelName: "a/b", Inputs: []*inferpb.ModelInferRequest_InferInputTensor{{Name: "x", Shape: []int64{-1}}}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(protowire.AppendTag(nil, 9, protowire.StartGroupType))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > mostAddress {
			return
		}
		a, err := addressOf(data)
		var decoded inferpb.ModelInferRequest
		decodeErr := proto.Unmarshal(data, &decoded)
		if decodeErr != nil { // a decoder looks deeper: it may refuse more
			return
		}
		if err != nil {
			t.Fatalf("a decoder takes it, we do not: %v", err)
		}
		if a.name != decoded.GetModelName() || a.version != decoded.GetModelVersion() || a.id != decoded.GetId() {
			t.Fatalf("we read %+v, a decoder %v", a, &decoded)
		}
		message := withVersion(append([]byte{}, data...), "42")
		decoded.Reset()
		if err := proto.Unmarshal(message, &decoded); err != nil || decoded.GetModelVersion() != "42" || decoded.GetModelName() != a.name {
			t.Fatalf("with its version set: %v, %v", &decoded, err)
		}
	})
}
