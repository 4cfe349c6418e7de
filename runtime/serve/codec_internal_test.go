package serve

import (
	"bytes"
	"testing"

	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// TestAMessageThatIsNoneIsAnError holds that what is wrong with a message is reported,
// wherever it is decoded, and that whole ones come back as they were.
func TestAMessageThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	for name, threads := range map[string]*nice.Threads{"where others run": nil, "on threads": nice.New(1)} {
		for size, bytesOf := range map[string]int{"small": 10, "large": 2 * nice.LargeBytes} {
			t.Run(size+", "+name, func(t *testing.T) {
				t.Parallel()
				codec := protobuf{threads}
				if codec.Unmarshal(bytes.Repeat([]byte{0xff}, bytesOf), new(inferpb.ModelInferRequest)) == nil {
					t.Error("decoded what is none")
				}
				if _, err := codec.Marshal(&inferpb.ModelInferRequest{Id: "\xff" + string(make([]byte, bytesOf))}); err == nil {
					t.Error("encoded a text that is no UTF-8")
				}
				in := &inferpb.ModelInferRequest{Id: "id", RawInputContents: [][]byte{make([]byte, bytesOf)}}
				data, err := codec.MarshalAppend([]byte("before"), in)
				if err != nil || !bytes.HasPrefix(data, []byte("before")) {
					t.Fatalf("%d bytes, %v", len(data), err)
				}
				var out inferpb.ModelInferRequest
				if err := codec.Unmarshal(data[len("before"):], &out); err != nil || out.GetId() != "id" || len(out.GetRawInputContents()[0]) != bytesOf {
					t.Errorf("%q, %v", out.GetId(), err)
				}
			})
		}
	}
	if (protobuf{}).Unmarshal(nil, "no message") == nil {
		t.Error("decoded into what is no message")
	}
}
