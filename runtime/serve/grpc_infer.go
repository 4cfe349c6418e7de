package serve

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// ModelInfer answers one inference.
func (i *inference) ModelInfer(ctx context.Context, in *inferpb.ModelInferRequest) (*inferpb.ModelInferResponse, error) {
	c := i.s.metrics.begin(protocolGRPC)
	info, _ := connect.CallInfoForHandlerContext(ctx)
	t := below(ctx)
	var out *inferpb.ModelInferResponse
	err := i.s.guard(ctx, func() error {
		t.frames.Decoded()
		answer, release, err := i.infer(ctx, c, t.held, info.RequestHeader(), in)
		if err != nil {
			return err
		}
		out = answer
		t.atEnd = append(t.atEnd, release) // connect-go marshals after the handler
		return nil
	})
	if err == nil {
		c.writeTiming(info.ResponseHeader())
	}
	i.s.metrics.end(ctx, c, err)
	return out, i.s.grpcFail(ctx, err)
}

// infer runs one request, whose metadata is h. The response shares the outputs' memory until release
// is called.
func (i *inference) infer(ctx context.Context, c *call, held *memory.Call, h http.Header, in *inferpb.ModelInferRequest) (out *inferpb.ModelInferResponse, release func(), err error) {
	c.received = int64(proto.Size(in))
	req, err := decodeGRPC(in)
	if err != nil {
		return nil, nil, err
	}
	req.Tenant = h.Get(infer.TenantHeader)
	if req.Version, err = infer.VersionOf(req.Version, h.Values(infer.VersionHeader)); err != nil {
		return nil, nil, err
	}
	lease, err := i.s.acquire(ctx, c, req.Model, req.Version)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if out == nil { // failed or panicked
			lease.Release()
		}
	}()
	resp, err := i.s.run(ctx, c, held, lease, req)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if out == nil {
			resp.Release()
		}
	}()
	answer := encodeGRPC(resp)
	c.sent = int64(proto.Size(answer))
	if err := held.Take(ctx, c.sent); err != nil { // connect-go writes it whole before it sends it
		return nil, nil, err
	}
	out = answer
	return out, func() { resp.Release(); lease.Release() }, nil
}

// errorCode is the parameter that names a stream's error by its stable code:
// error_message is only for people.
const errorCode = "error_code"

// ModelStreamInfer answers the requests of a stream in their order, running a
// bounded number of them at once. A request that fails is answered with its
// error, and the stream goes on.
func (i *inference) ModelStreamInfer(ctx context.Context, stream *connect.BidiStream[inferpb.ModelInferRequest, inferpb.ModelStreamInferResponse]) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := below(ctx)
	// Receive does not look at ctx: end it by ending the body.
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(expired); expire(t.controller) })
	defer func() {
		if !stop() {
			<-expired // the response must not be touched once we have returned
		}
	}()

	slots := make(chan struct{}, i.s.cfg.Limits.StreamInflight)
	queue := make(chan *streamed, i.s.cfg.Limits.StreamInflight)
	var owned sync.WaitGroup
	var sendErr error
	owned.Go(func() {
		for next := range queue {
			<-next.done
			if sendErr == nil {
				if sendErr = stream.Send(next.answer); sendErr != nil {
					cancel()
				}
			}
			next.finish()
			<-slots
		}
	})
	receiveErr := i.receive(ctx, t, stream, slots, func(next *streamed, in *inferpb.ModelInferRequest) {
		queue <- next // has room: there are as many slots
		owned.Go(func() {
			defer close(next.done)
			next.answer, next.release = i.inferStreamed(ctx, next.held, stream.RequestHeader(), in)
		})
	})
	close(queue)
	if receiveErr != nil {
		cancel()
	}
	owned.Wait()
	if receiveErr == nil {
		receiveErr = sendErr
	}
	return i.s.grpcFail(ctx, receiveErr)
}

// streamed is one request of a stream on its way.
type streamed struct {
	held    *memory.Call // what it takes, until its answer is sent
	answer  *inferpb.ModelStreamInferResponse
	release func()        // returns the answer's memory; nil when it has none
	done    chan struct{} // closed when answer is there
}

// finish lets the answer go.
func (s *streamed) finish() {
	if s.release != nil {
		s.release()
	}
	s.answer, s.release = nil, nil
	s.held.End()
}

// receive reads requests until the stream ends, one for each slot.
func (i *inference) receive(ctx context.Context, t *transport, stream *connect.BidiStream[inferpb.ModelInferRequest, inferpb.ModelStreamInferResponse],
	slots chan<- struct{}, start func(*streamed, *inferpb.ModelInferRequest),
) error {
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		in, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if known := problemgrpc.Unread(err, i.s.cfg.Limits.MaxBody); known != nil {
				return known
			}
			return err
		}
		held := i.s.memory.Open(i.s.payer(stream.RequestHeader()))
		t.held.Move(held, t.frames.Decoded())
		start(&streamed{held: held, done: make(chan struct{})}, in)
	}
}

// inferStreamed answers one request of a stream.
func (i *inference) inferStreamed(ctx context.Context, held *memory.Call, h http.Header, in *inferpb.ModelInferRequest) (*inferpb.ModelStreamInferResponse, func()) {
	c := i.s.metrics.begin(protocolStream)
	var out *inferpb.ModelInferResponse
	var release func()
	err := i.s.guard(ctx, func() (err error) {
		out, release, err = i.infer(ctx, c, held, h, in)
		return err
	})
	i.s.metrics.end(ctx, c, err)
	if err == nil {
		return &inferpb.ModelStreamInferResponse{InferResponse: out}, release
	}
	i.s.logError(ctx, err)
	p := problem.From(err)
	return &inferpb.ModelStreamInferResponse{
		ErrorMessage: p.Detail,
		InferResponse: &inferpb.ModelInferResponse{
			ModelName: in.GetModelName(), ModelVersion: in.GetModelVersion(), Id: in.GetId(),
			Parameters: map[string]*inferpb.InferParameter{
				errorCode: {ParameterChoice: &inferpb.InferParameter_StringParam{StringParam: string(p.Code)}},
			},
		},
	}, nil
}
