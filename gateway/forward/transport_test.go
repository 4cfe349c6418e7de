package forward_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// TestAFunctionIsNotAheadOfWhoReadsIt holds that a function sees, by what is taken of its
// answer, how slowly that is read behind us. It counts bytes, whatever time they take.
func TestAFunctionIsNotAheadOfWhoReadsIt(t *testing.T) {
	t.Parallel()
	for name, contentType := range map[string]string{"HTTP/1.1": "application/json", "HTTP/2": "application/grpc"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size, ahead = 32 << 20, 1 << 20
			var written atomic.Int64
			address := function(t, func(w http.ResponseWriter, _ *http.Request) {
				piece := make([]byte, 64<<10)
				for range size / len(piece) {
					n, _ := w.Write(piece)
					written.Add(int64(n))
				}
			})
			transport := forward.NewTransport()
			defer transport.CloseIdleConnections()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", contentType)
			res, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			buffer := make([]byte, 4<<10)
			for read := int64(0); err == nil; {
				var n int
				n, err = res.Body.Read(buffer)
				if read += int64(n); written.Load()-read > ahead {
					t.Fatalf("%d bytes are written that are not read", written.Load()-read)
				}
				if err != nil && read != size {
					t.Errorf("%d bytes, %v", read, err)
				}
			}
			if err != io.EOF { //nolint:errorlint // a body's end is no other error
				t.Error(err)
			}
		})
	}
}

// function answers as functions do, until the test ends.
func function(t *testing.T, handler http.HandlerFunc) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- lifecycle.Serve(ctx, lifecycle.NewServer(handler, lifecycle.DefaultLimits()), l, time.Minute, nil)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}
