package lifecycle_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// TestDeadlinesOfARequestThatHasEnded holds that whoever still reads a body may
// set its deadlines when the handler has returned: of HTTP/2 the server's own
// writer panics then, in a goroutine that nobody recovers.
func TestDeadlinesOfARequestThatHasEnded(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		for kind, contentType := range map[string]string{"a body": "", "gRPC": "application/grpc"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				controls := make(chan *http.ResponseController, 1)
				address := serving(t, lifecycle.DefaultLimits(), func(w http.ResponseWriter, _ *http.Request) {
					controls <- http.NewResponseController(w)
				})
				transport := &http.Transport{Protocols: new(http.Protocols)}
				transport.Protocols.SetHTTP1(!http2)
				transport.Protocols.SetUnencryptedHTTP2(http2)
				defer transport.CloseIdleConnections()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address, strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", contentType)
				res, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Error(err)
				}
				if err := res.Body.Close(); err != nil {
					t.Error(err)
				}
				control := <-controls
				for control.SetReadDeadline(time.Now().Add(time.Hour)) == nil && t.Context().Err() == nil {
					continue // the answer is here before the handler has returned
				}
				if control.SetReadDeadline(time.Now()) == nil || control.SetWriteDeadline(time.Now()) == nil {
					t.Error("deadlines of a request that has ended were set")
				}
			})
		}
	}
}
