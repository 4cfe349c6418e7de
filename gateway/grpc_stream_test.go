package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

type raw []byte

type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(m any) ([]byte, error) {
	r, ok := m.(*raw)
	if !ok {
		return nil, fmt.Errorf("not raw: %T", m)
	}
	return append([]byte{}, *r...), nil
}

func (rawCodec) Unmarshal(data []byte, m any) error {
	p, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("not a message: %T", m)
	}
	return proto.Unmarshal(data, p)
}

func (w *world) h2c() *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestGRPCStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.StreamInFlight = 2 })
	w.grpcFunction("pool")
	w.grpcFunction("ocr")
	conn := w.dial("")
	stream, err := conn.NewStream(with(t, "authorization", "Bearer "+w.key(auth.Infer("iris"), auth.Infer("text-recognize"))),
		&grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
	if err != nil {
		t.Fatal(err)
	}
	models := []string{"iris", "text-recognize", "nope", "secret-model", "iris", "a/b"}
	var want, got []string
	for i := range 60 {
		model := models[i%len(models)]
		id := strconv.Itoa(i)
		if err := stream.SendMsg(&inferpb.ModelInferRequest{ModelName: model, Id: id}); err != nil {
			t.Fatal(err)
		}
		want = append(want, id+" "+map[string]string{
			"iris": "pool/iris", "text-recognize": "ocr/text-recognize", "nope": "may not infer", "secret-model": "may not infer", "a/b": "model_name",
		}[model])
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for {
		var out inferpb.ModelStreamInferResponse
		if err := stream.RecvMsg(&out); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		text := out.GetInferResponse().GetModelName()
		for _, part := range []string{"may not infer", "model_name"} {
			if strings.Contains(out.GetErrorMessage(), part) {
				text = part
			}
		}
		got = append(got, out.GetInferResponse().GetId()+" "+text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestGRPCClientGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.grpcFunction("pool")
	f.hold, f.held = make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(with(t, "x-api-key", w.admin))
	done := make(chan error, 1)
	conn := w.dial("")
	go func() {
		done <- conn.Invoke(ctx, service+"ModelInfer", &inferpb.ModelInferRequest{ModelName: "iris"}, &inferpb.ModelInferResponse{})
	}()
	select {
	case <-f.held:
	case err := <-done:
		t.Fatal(err)
	}
	cancel()
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the function's context ended with %v", err)
	}
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Errorf("the client got %v", err)
	}
}
