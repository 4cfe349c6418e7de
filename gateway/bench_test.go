package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/internal/telemetry"
)

// BenchmarkInfer is one client's call to a function that only reads its input,
// by itself and through the gateway: what the gateway costs is the difference.
func BenchmarkInfer(b *testing.B) {
	function := httptest.NewUnstartedServer(nil)
	function.Config = lifecycle.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(w, `{"model_name":"iris","read":%d}`, n)
	}), lifecycle.DefaultLimits())
	function.Start()
	b.Cleanup(function.Close)

	tel, err := telemetry.New(b.Context(), telemetry.Config{Service: "gateway", Level: slog.LevelInfo, Format: "json"}, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	w := newWorld(b, func(_ *gateway.Config, d *gateway.Deps) {
		d.Transport, d.Telemetry = toOne{forward.NewTransport(), function.Listener.Addr().String()}, tel
	})
	for _, size := range []int{64, 600 << 10} {
		body := bytes.Repeat([]byte{1}, size)
		for name, url := range map[string]string{"direct": function.URL, "gateway": w.server.URL} {
			b.Run(fmt.Sprintf("%d/%s", size, name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				client := &http.Client{Transport: &http.Transport{WriteBufferSize: 32 << 10}}
				for b.Loop() {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url+"/v2/models/iris/infer", bytes.NewReader(body))
					if err != nil {
						b.Fatal(err)
					}
					req.Header.Set("X-Api-Key", w.admin)
					res, err := client.Do(req)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
						b.Fatal(res.StatusCode, err)
					}
					if err := res.Body.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// toOne sends everything to one address.
type toOne struct {
	http.RoundTripper
	address string
}

func (o toOne) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Host = o.address
	return o.RoundTripper.RoundTrip(r)
}
