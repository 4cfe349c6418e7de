// Package media reads the content types by which servers distinguish protocols, for
// those that may not import runtime/infer. What a payload may be is the business of
// codecs.
package media

import (
	"net/http"
	"slices"
	"strings"
)

// IsGRPC reports whether a request's headers are those of gRPC by its content type,
// which is read without regard to case (RFC 9110, 8.3.1): "application/grpc" and one
// of formats, such as "" and "+proto", or anything where none is named.
func IsGRPC(h http.Header, formats ...string) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	format, is := strings.CutPrefix(strings.ToLower(strings.TrimSpace(media)), "application/grpc")
	return is && (len(formats) == 0 || slices.Contains(formats, format))
}
