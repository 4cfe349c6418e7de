package serve_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// BenchmarkInfer is what the server adds to one run of a model, without the
// network: one line image in, as many numbers out.
func BenchmarkInfer(b *testing.B) {
	f := newFake()
	server, err := serve.New(serve.Config{Backend: f, Repository: f})
	if err != nil {
		b.Fatal(err)
	}
	for name, n := range map[string]int{"tiny": 2, "line": 3 * 48 * 320} {
		body, err := infer.EncodeRequest(&infer.Request{
			Inputs:       []infer.Tensor{infer.NewTensor("x", []int64{int64(n / 2), 2}, make([]float32, n))},
			BinaryOutput: true,
		}, nil)
		if err != nil {
			b.Fatal(err)
		}
		data := body.Bytes()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v2/models/double/infer", bytes.NewReader(data))
				r.Header.Set("Inference-Header-Content-Length", strconv.Itoa(body.HeaderLength()))
				w := &discard{header: http.Header{}}
				server.ServeHTTP(w, r)
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// discard is a ResponseWriter that keeps the status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header    { return d.header }
func (d *discard) WriteHeader(status int) { d.status = status }
func (d *discard) Write(b []byte) (int, error) {
	if d.status == 0 {
		d.status = http.StatusOK
	}
	return len(b), nil
}
