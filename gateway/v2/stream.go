package v2

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/internal/grpcwire"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

// The fields of ModelStreamInferResponse.
const (
	fieldErrorMessage  protowire.Number = 1
	fieldInferResponse protowire.Number = 2
)

// framed is a ModelStreamInferResponse: what stands before a message, and that.
type framed struct {
	head    []byte
	message grpcwire.Message
	release func()
}

// modelStreamInfer answers each message of a stream as a call of its own, to
// whichever model it names, a bounded number of them at once, in the order
// they came. A message that fails is answered with its error; the stream goes
// on.
func (s *Service) modelStreamInfer(ctx context.Context, c *call.Call, stream *grpcwire.Stream) error {
	// Each message takes a place in the queue, which holds the order, and a
	// slot until it has been sent, which bounds the answers held.
	places := make(chan chan framed, s.StreamInFlight)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for place := range places {
			select {
			case answer := <-place:
				err := stream.Send(answer.head, answer.message)
				answer.release()
				if err != nil {
					return err
				}
				stream.Flush()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	received := func() error {
		defer close(places)
		return s.receive(ctx, c, stream, places, group)
	}()
	return errors.Join(received, group.Wait())
}

// receive starts an answer for each message until the client has sent its
// last.
func (s *Service) receive(ctx context.Context, c *call.Call, stream *grpcwire.Stream, places chan<- chan framed, group *errgroup.Group) error {
	for {
		message, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// Messages are calls of their own, answered at once. A stream may outlive its
		// key, or what that may do: the caller of each is identified anew.
		own := &call.Call{Protocol: call.GRPC, Source: c.Source, Host: c.Host, Header: c.Header, Bound: c.Bound, Log: &call.Entry{}}
		if err := s.Door.Identify(ctx, own); err != nil {
			return err
		}
		place := make(chan framed, 1)
		select {
		case places <- place:
		case <-ctx.Done():
			return ctx.Err()
		}
		group.Go(func() error {
			place <- s.streamAnswer(ctx, own, stream, message)
			return nil
		})
	}
}

// streamAnswer is one message's ModelStreamInferResponse.
func (s *Service) streamAnswer(ctx context.Context, c *call.Call, stream *grpcwire.Stream, m grpcwire.Message) framed {
	defer stream.Release(m)
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	code := "ok"
	defer func() { s.Messages.WithLabelValues(c.Log.Function, code).Inc() }()

	a, _ := addressOf(m) // what is wrong with it, inferMessage says
	out, err := s.inferMessage(ctx, c, stream, m)
	if err == nil {
		head := protowire.AppendTag(nil, fieldInferResponse, protowire.BytesType)
		return framed{protowire.AppendVarint(head, uint64(len(out.message))), out.message, func() { stream.Release(out.message) }}
	}
	e := problemgrpc.WithCode(problemgrpc.Error(err))
	code = e.Code().String()
	head := protowire.AppendTag(nil, fieldErrorMessage, protowire.BytesType)
	head = protowire.AppendString(head, e.Message())
	if a.id == "" {
		return framed{head: head, release: func() {}}
	}
	// Clients find the request that failed by its id.
	id := protowire.AppendString(protowire.AppendTag(nil, fieldID, protowire.BytesType), a.id)
	return framed{protowire.AppendTag(head, fieldInferResponse, protowire.BytesType), protowire.AppendBytes(nil, id), func() {}}
}
