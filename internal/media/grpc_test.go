package media_test

import (
	"net/http"
	"testing"

	"github.com/modelserveai/modelserve/internal/media"
)

func TestIsGRPC(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		contentType      string
		any, ofProtobufs bool
	}{
		"plain":           {"application/grpc", true, true},
		"protobuf":        {"application/grpc+proto", true, true},
		"JSON":            {"application/grpc+json", true, false},
		"gRPC-Web":        {"application/grpc-web+proto", false, false},
		"another type":    {"application/grpcfoo", false, false},
		"a list":          {"application/grpc,application/json", false, false},
		"a list, spaced":  {"application/grpc, application/json", false, false},
		"capitals":        {"Application/GRPC+Proto", true, true},
		"with parameters": {"application/grpc ; a=b", true, true},
		"spaces":          {" application/grpc", true, true},
		"a longer type":   {"xapplication/grpc", false, false},
		"JSON alone":      {"application/json", false, false},
		"none":            {"", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{"Content-Type": {tc.contentType}}
			if got := media.IsGRPC(h); got != tc.any {
				t.Errorf("of any format: %v", got)
			}
			if got := media.IsGRPC(h, "", "+proto"); got != tc.ofProtobufs {
				t.Errorf("with protobuf messages: %v", got)
			}
		})
	}
}
