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
// of formats, "" or such as "+proto"; any of these where none is named. gRPC-Web is
// another protocol, and "application/grpcx" another type.
func IsGRPC(h http.Header, formats ...string) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	format, is := strings.CutPrefix(strings.ToLower(strings.TrimSpace(media)), "application/grpc")
	if len(formats) == 0 {
		return is && (format == "" || format[0] == '+')
	}
	return is && slices.Contains(formats, format)
}
