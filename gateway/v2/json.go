package v2

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

func writeJSON(w http.ResponseWriter, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(data, '\n')) // a caller that is gone needs no error
	return nil
}

// readBody reads a body that the gateway itself answers, of at most so many bytes.
// It may be empty, and is no form.
func readBody(r *http.Request, most int64) ([]byte, error) {
	media, err := infer.MediaType(r.Header.Values("Content-Type"))
	if err != nil {
		return nil, err
	}
	if err := infer.RefuseForm(media, nil, infer.InsteadOfForm); err != nil {
		return nil, err
	}
	if encoding := strings.ToLower(strings.Join(r.Header.Values("Content-Encoding"), ", ")); encoding != "" && encoding != "identity" {
		return nil, problem.New(problem.UnsupportedMedia, "expected a body without a Content-Encoding: it is small")
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return nil, err // the body's own problem
	}
	if int64(len(data)) > most {
		return nil, problem.New(problem.PayloadTooLarge, "the body is larger than %d bytes", most)
	}
	return data, infer.RefuseForm(media, data, infer.InsteadOfForm)
}
