package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

// The fields of ModelStreamInferResponse.
const (
	fieldErrorMessage  protowire.Number = 1
	fieldInferResponse protowire.Number = 2
)

// modelStreamInfer answers each message of a stream as a call of its own, to
// whichever model it names, a bounded number of them at once, in the order
// they came. A message that fails is answered with its error; the stream goes
// on.
func (s *grpcService) modelStreamInfer(ctx context.Context, stream *connect.BidiStream[frame, frame]) error {
	return tellGRPC(ctx, s.stream(ctx, stream))
}

func (s *grpcService) stream(ctx context.Context, stream *connect.BidiStream[frame, frame]) error {
	credential, err := auth.Credential(stream.RequestHeader())
	if err != nil {
		return err
	}
	// Each message takes a place in the queue, which holds the order, and a
	// slot until it has been sent, which bounds the answers held.
	places := make(chan chan frame, s.g.config.StreamInFlight)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for place := range places {
			select {
			case answer := <-place:
				if err := stream.Send(&answer); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	received := func() error {
		defer close(places)
		return s.receive(ctx, stream, credential, places, group)
	}()
	return errors.Join(received, group.Wait())
}

// receive starts an answer for each message until the client has sent its
// last.
func (s *grpcService) receive(
	ctx context.Context, stream *connect.BidiStream[frame, frame], credential string, places chan<- chan frame, group *errgroup.Group,
) error {
	for {
		message, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if told := problemgrpc.Unread(err, int64(s.g.config.MaxBody)); told != nil {
				return told
			}
			return err
		}
		// A stream may outlive its key: each message is asked for anew.
		if _, err := s.g.chain.Authenticate(ctx, credential); err != nil {
			return err
		}
		place := make(chan frame, 1)
		select {
		case places <- place:
		case <-ctx.Done():
			return ctx.Err()
		}
		group.Go(func() error {
			place <- s.streamAnswer(ctx, stream.RequestHeader(), message)
			return nil
		})
	}
}

// streamAnswer is one message's ModelStreamInferResponse.
func (s *grpcService) streamAnswer(ctx context.Context, h http.Header, message *frame) frame {
	ctx, cancel := context.WithTimeout(ctx, s.g.config.Timeout)
	defer cancel()
	// Messages are answered at once, so each has an observation of its own.
	o := &observation{}
	ctx = context.WithValue(ctx, observationKey{}, o)
	code := "ok"
	defer func() { s.g.metrics.messages.WithLabelValues(o.function, code).Inc() }()

	a, _ := message.address() // what is wrong with it, inference says
	res, err := s.inference(ctx, h, message)
	if err == nil {
		out := make(frame, 0, len(*res.Msg)+room)
		return protowire.AppendBytes(protowire.AppendTag(out, fieldInferResponse, protowire.BytesType), *res.Msg)
	}
	e := problemgrpc.WithCode(problemgrpc.Error(err))
	code = e.Code().String()
	out := protowire.AppendTag(nil, fieldErrorMessage, protowire.BytesType)
	out = protowire.AppendString(out, e.Message())
	if a.id == "" {
		return out
	}
	// Clients find the request that failed by its id.
	id := protowire.AppendString(protowire.AppendTag(nil, fieldID, protowire.BytesType), a.id)
	return protowire.AppendBytes(protowire.AppendTag(out, fieldInferResponse, protowire.BytesType), id)
}
