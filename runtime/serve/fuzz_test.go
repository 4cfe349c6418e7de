package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// FuzzPost posts anything as a native payload or an event: it is answered or
// refused, in JSON, and never our fault.
func FuzzPost(f *testing.F) {
	fake := newFake()
	server, err := serve.New(serve.Config{
		Backend: fake, Repository: fake, Function: "echo", Model: "double", Codec: calm{},
		Open: func(context.Context, string, string, string) (io.ReadCloser, error) {
			return nil, problem.New(problem.NotFound, "nothing there")
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	const structured = "application/cloudevents+json"
	f.Add(structured, "", "", []byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{"a":[1,2]},"executionid":"e"}`))
	f.Add(structured, "", "", []byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t","data_base64":"AAAA","dataref":"s3://a/b","time":"2024-01-01T00:00:00Z"}`))
	f.Add("image/png", "1.0", "%20x", []byte("abc"))
	f.Add("", "", "", []byte{})
	f.Fuzz(func(t *testing.T, contentType, version, id string, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		if version != "" {
			r.Header["Ce-Specversion"] = []string{version}
			r.Header["Ce-Id"] = []string{id}
			r.Header["Ce-Source"] = []string{"/" + id}
			r.Header["Ce-Type"] = []string{"t"}
			r.Header["Ce-Traceparent"] = []string{id}
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code >= http.StatusInternalServerError || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
	})
}

// calm is a codec that answers anything.
type calm struct{}

func (calm) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	_, err := model.Run(ctx, []infer.Tensor{infer.NewTensor("x", []int64{1, 2}, []float32{1, 2})})
	return map[string]any{"size": len(in.Body), "content_type": in.ContentType}, err
}
