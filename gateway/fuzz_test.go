package gateway

import (
	"net/url"
	"strings"
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
		a, err := frame(data).address()
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
		message := frame(append([]byte{}, data...))
		message.setVersion("42")
		decoded.Reset()
		if err := proto.Unmarshal(message, &decoded); err != nil || decoded.GetModelVersion() != "42" || decoded.GetModelName() != a.name {
			t.Fatalf("with its version set: %v, %v", &decoded, err)
		}
	})
}

// FuzzCheckPath holds that a path that is taken reads the same to all.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"/", "/v2/models/iris/infer", "/v2/models/a%2Fb/infer", "/a/../b", "//", "/%2e%2e/", "/a;b", "*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		if checkPath(escaped) != nil {
			return
		}
		plain, err := url.PathUnescape(escaped)
		if err != nil {
			t.Fatalf("%q was taken and cannot be unescaped", escaped)
		}
		if strings.Count(plain, "/") != strings.Count(escaped, "/") || strings.Contains(plain, "//") ||
			strings.Contains(plain+"/", "/../") || strings.Contains(plain+"/", "/./") || strings.ContainsAny(plain, "\\;\x00\r\n") {
			t.Fatalf("%q was taken", escaped)
		}
	})
}

// FuzzKeyBody holds that the control API's reader never panics and names what
// it refuses.
func FuzzKeyBody(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"name":"a","scopes":["admin"]}`, `{"name":"a","name":"b"}`, `{"scopes":[[]]}`, `{"expires_at":1e999}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var body newKey
		if err := decode(posted(string(data)), &body); err != nil && err.Error() == "" {
			t.Fatal("an error that says nothing")
		}
	})
}
