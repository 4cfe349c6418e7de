package serve_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// openStream opens a ModelStreamInfer.
func openStream(t *testing.T, ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestStream(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]grpc.CallOption{"plain": nil, "gzip": {grpc.UseCompressor(gzip.Name)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			conn := dial(t, start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{StreamInflight: 3}}).URL)
			stream := openStream(t, t.Context(), conn, opts...)
			const n = 50
			sent := make(chan error, 1)
			go func() {
				for i := range n {
					model := "double"
					switch i % 10 {
					case 3:
						model = "nope"
					case 6:
						model = "panics"
					}
					if err := stream.SendMsg(request(model, strconv.Itoa(i), float32(i), 0)); err != nil {
						sent <- err
						return
					}
				}
				sent <- stream.CloseSend()
			}()
			for i := range n {
				var out inferpb.ModelStreamInferResponse
				if err := stream.RecvMsg(&out); err != nil {
					t.Fatal(err)
				}
				if id := out.GetInferResponse().GetId(); id != strconv.Itoa(i) {
					t.Fatalf("answer %s at %d", id, i)
				}
				code := out.GetInferResponse().GetParameters()["error_code"].GetStringParam()
				switch i % 10 {
				case 3:
					if code != string(problem.ModelNotFound) || !strings.Contains(out.GetErrorMessage(), "nope") {
						t.Errorf("%v", &out)
					}
				case 6:
					if code != string(problem.Internal) || out.GetErrorMessage() == "" {
						t.Errorf("%v", &out)
					}
				default:
					if got := outputs(t, out.GetInferResponse()); got[0] != float32(2*i) || out.GetErrorMessage() != "" {
						t.Errorf("%d: %v", i, got)
					}
				}
			}
			if err := stream.RecvMsg(&inferpb.ModelStreamInferResponse{}); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			if f.leases.Load() != 0 || f.released.Load() != 40 {
				t.Errorf("%d leases left, %d released", f.leases.Load(), f.released.Load())
			}
		})
	}
}

func TestStreamIsBounded(t *testing.T) {
	t.Parallel()
	f := newFake()
	server := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{StreamInflight: 3}})
	ctx, cancel := context.WithCancel(t.Context())
	stream := openStream(t, ctx, dial(t, server.URL))
	for range 10 {
		if err := stream.SendMsg(request("slow", "", 1, 2)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		<-f.started
	}
	cancel()
	server.wait() // for the stream's goroutines
	if len(f.started) != 0 {
		t.Errorf("%d more than 3 were begun", len(f.started))
	}
	if f.leases.Load() != 0 {
		t.Errorf("%d leases left", f.leases.Load())
	}
}

func TestStreamDeadline(t *testing.T) {
	t.Parallel()
	f := newFake()
	conn := dial(t, start(t, serve.Config{Backend: f, Repository: f}).URL)
	// An idle stream ends with its time, though the client sends nothing.
	stream := openStream(t, metadata.AppendToOutgoingContext(t.Context(), infer.TimeoutHeader, "20"), conn)
	err := stream.RecvMsg(&inferpb.ModelStreamInferResponse{})
	if got := reason(t, err, codes.DeadlineExceeded); got != string(problem.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestStreamRefusesLargeMessages(t *testing.T) {
	t.Parallel()
	f := newFake()
	conn := dial(t, start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: 1 << 10}}).URL)
	stream := openStream(t, t.Context(), conn)
	for _, n := range []int{2, 1 << 10} {
		if err := stream.SendMsg(request("double", "", make([]float32, n)...)); err != nil {
			t.Fatal(err)
		}
	}
	var out inferpb.ModelStreamInferResponse
	if err := stream.RecvMsg(&out); err != nil {
		t.Fatal(err)
	}
	err := stream.RecvMsg(&out)
	if got := reason(t, err, codes.ResourceExhausted); got != string(problem.PayloadTooLarge) {
		t.Error(err)
	}
}
