package infer

import (
	"net/http"

	"github.com/modelserveai/modelserve/internal/media"
)

// IsGRPC reports whether a request's headers are those of gRPC of any kind
// (media.IsGRPC).
func IsGRPC(h http.Header) bool { return media.IsGRPC(h) }
