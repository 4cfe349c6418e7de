package v2

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// FuzzFollow holds that a message which passes, in whatever pieces, is for the model that
// its beginning names, as a decoder reads it.
func FuzzFollow(f *testing.F) {
	whole, err := proto.Marshal(&inferpb.ModelInferRequest{
		ModelName: "iris", ModelVersion: "3", Id: "7", RawInputContents: [][]byte{{1, 2, 3}},
		Inputs: []*inferpb.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "FP32", Shape: []int64{1, 300}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	other := protowire.AppendString(protowire.AppendTag(nil, fieldName, protowire.BytesType), "other")
	for _, m := range [][]byte{
		whole,
		append(whole[:len(whole):len(whole)], other...),
		append(whole[:len(whole):len(whole)], append([]byte{0x8a, 0x80, 0x00}, other[1:]...)...),
		protowire.AppendFixed64(protowire.AppendTag(whole[:len(whole):len(whole)], 9, protowire.Fixed64Type), 7),
		protowire.AppendVarint(protowire.AppendTag(whole[:len(whole):len(whole)], 9, protowire.VarintType), 1<<63),
		protowire.AppendTag(whole[:len(whole):len(whole)], 9, protowire.StartGroupType),
	} {
		f.Add(m, 20, 3)
	}
	f.Fuzz(func(t *testing.T, message []byte, begins, piece int) {
		begins, piece = min(max(begins, 0), len(message)), max(piece, 1)
		a, _ := addressOf(message[:begins])
		follow := follower{left: int64(len(message))}
		if follow.pass(message[:begins]) != nil || !follow.past {
			return
		}
		for rest := message[begins:]; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			if follow.pass(rest[:min(piece, len(rest))]) != nil {
				return
			}
		}
		var decoded inferpb.ModelInferRequest
		if proto.Unmarshal(message, &decoded) != nil {
			return // as its function finds
		}
		if a.name != decoded.GetModelName() || a.version != decoded.GetModelVersion() {
			t.Fatalf("we follow %+v, a decoder %v", a, &decoded)
		}
	})
}
