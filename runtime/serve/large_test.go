package serve_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// TestLargeRequestsAreDecodedInTurn holds that a large request waits while as many others
// as may be are decoded, that no small one does, and that one whose body does not come
// keeps nobody waiting.
func TestLargeRequestsAreDecodedInTurn(t *testing.T) {
	t.Parallel()
	padded := inferBody + strings.Repeat(" ", 2*mib)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(padded)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	rest := func(body string, headers ...string) func(*testing.T, string, *grpc.ClientConn) error {
		return func(t *testing.T, url string, _ *grpc.ClientConn) error {
			t.Helper()
			if got := send(t, http.MethodPost, url+"/v2/models/double/infer", []byte(body), headers...); got.status != http.StatusOK {
				return fmt.Errorf("%d %s", got.status, got.body)
			}
			return nil
		}
	}
	rpc := func(id string) func(*testing.T, string, *grpc.ClientConn) error {
		return func(t *testing.T, _ string, conn *grpc.ClientConn) error {
			t.Helper()
			in := request("double", "", 1, 2)
			in.Id = id
			return conn.Invoke(t.Context(), service+"ModelInfer", in, &inferpb.ModelInferResponse{}, grpc.MaxCallRecvMsgSize(8*mib))
		}
	}
	for name, tc := range map[string]struct {
		call  func(*testing.T, string, *grpc.ClientConn) error
		waits bool
	}{
		"JSON":            {rest(inferBody), false},
		"large JSON":      {rest(padded), true},
		"large, in gzip":  {rest(packed.String(), "Content-Encoding", "gzip"), true},
		"a message":       {rpc("1"), false},
		"a large message": {rpc(strings.Repeat("x", 2*mib)), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			threads := nice.New(1)
			ts := start(t, serve.Config{Backend: f, Repository: f, Large: threads})
			conn := dial(t, ts.URL)
			dialRaw(t, ts.URL, fmt.Sprintf("POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\n%s: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s",
				infer.TenantHeader, packed.Len(), packed.String()[:packed.Len()-1])) // its last byte does not come
			if err := tc.call(t, ts.URL, conn); err != nil {
				t.Errorf("while nothing is decoded: %v", err)
			}
			begun, hold, free := make(chan struct{}), make(chan struct{}), make(chan struct{})
			go func() {
				defer close(free)
				if err := threads.Do(t.Context(), "another", func() { close(begun); <-hold }); err != nil {
					t.Error(err)
				}
			}()
			<-begun
			answered := make(chan error, 1)
			go func() { answered <- tc.call(t, ts.URL, conn) }()
			if tc.waits {
				for threads.Waiting() == 0 && t.Context().Err() == nil {
					select {
					case err := <-answered:
						t.Fatalf("it did not wait: %v", err)
					default:
						runtime.Gosched()
					}
				}
				close(hold)
			}
			if err := <-answered; err != nil {
				t.Error(err)
			}
			if !tc.waits {
				close(hold)
			}
			<-free
		})
	}
}
