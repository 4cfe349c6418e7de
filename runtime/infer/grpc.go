package infer

import (
	"net/http"
	"strings"
)

// IsGRPC reports whether a request's headers are those of gRPC of any kind, by its
// content type, which is read without regard to case (RFC 9110, 8.3.1).
func IsGRPC(h http.Header) bool {
	const prefix = "application/grpc"
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	media = strings.TrimSpace(media)
	return len(media) >= len(prefix) && strings.EqualFold(media[:len(prefix)], prefix)
}
