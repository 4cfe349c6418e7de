// Package body reads the bodies of requests that the gateway answers by itself.
package body

import (
	"io"
	"net/http"
	"strings"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Read reads a body that the gateway itself answers, of at most so many
// bytes. It may be empty, and is no form. An error that the body's reader returns
// is returned as it is.
func Read(r *http.Request, most int64) ([]byte, error) {
	media, err := infer.MediaType(r.Header.Values("Content-Type"))
	if err != nil {
		return nil, err
	}
	if err := infer.RefuseForm(media, nil, infer.InsteadOfForm); err != nil {
		return nil, err
	}
	if encoding := strings.ToLower(strings.Join(r.Header.Values("Content-Encoding"), ", ")); encoding != "" && encoding != "identity" {
		return nil, problem.New(problem.UnsupportedMedia, "expected a body without a Content-Encoding")
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, problem.New(problem.PayloadTooLarge, "the body is larger than %d bytes", most)
	}
	return data, infer.RefuseForm(media, data, infer.InsteadOfForm)
}
