package v2

import (
	"context"
	"errors"
	"io"
	"net/http"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/internal/grpcwire"
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
func (s *Service) modelStreamInfer(ctx context.Context, c *call.Call, stream *grpcwire.Stream) error {
	c.Log.Messages = true
	group, ctx := errgroup.WithContext(ctx)
	received := s.receive(ctx, c, stream, group)
	if err := group.Wait(); err != nil {
		return err
	}
	return received
}

// receive starts an answer for each message until the client has sent its
// last.
func (s *Service) receive(ctx context.Context, c *call.Call, stream *grpcwire.Stream, group *errgroup.Group) error {
	places := make(chan struct{}, s.StreamInFlight) // one for each message until it was answered
	for {
		x, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return s.Door.Refuse(ctx, c, err)
		}
		// Messages are calls of their own, answered at once. A stream may outlive its
		// key, or what that may do: the caller of each is identified anew, before room
		// is taken for it.
		own := &call.Call{Protocol: call.GRPC, Source: c.Source, Host: c.Host, Path: c.Path, Operation: c.Operation, Header: c.Header, Bound: c.Bound, Log: &call.Entry{Route: c.Log.Route}}
		if err := s.Door.Identify(ctx, own); err != nil {
			return err
		}
		a, refused := s.begin(ctx, own, x, auth.DoInfer)
		if refused != nil {
			x.Refuse()
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		group.Go(func() error {
			defer func() { <-places }()
			return s.streamAnswer(ctx, own, stream, x, a, refused)
		})
		if err := x.Skip(ctx); err != nil { // what does not pass, or did not to its end
			return err
		}
	}
}

// streamAnswer answers one message of a stream with its ModelStreamInferResponse, when
// its turn has come. An error ends the stream.
func (s *Service) streamAnswer(ctx context.Context, c *call.Call, stream *grpcwire.Stream, x *grpcwire.Exchange, a address, failed error) error {
	begun, sent := false, int64(grpcwire.HeaderLen)
	if failed == nil {
		bounded, cancel := context.WithTimeout(ctx, s.Timeout)
		defer cancel()
		failed = s.inferMessage(bounded, c, x, a, func(bounded context.Context, _ http.Header, out *grpcwire.Answer) (err error) {
			if err := out.Hold(bounded); err != nil {
				return err
			}
			if err := x.Turn(ctx); err != nil {
				return err
			}
			prefix := protowire.AppendTag(nil, fieldInferResponse, protowire.BytesType)
			prefix = protowire.AppendVarint(prefix, uint64(out.Length()))
			sent += int64(len(prefix)) + out.Length()
			begun, err = out.Send(bounded, prefix)
			return err
		})
	}
	x.Refuse() // in case it was not answered: its error may have to wait for its turn
	switch {
	case failed == nil:
		s.Messages.WithLabelValues(c.Log.Function, "ok").Inc()
	case begun: // half a message is sent
		c.Log.Err = failed
		s.MessageEnded(ctx, c, x.Came(), 0)
		stream.Abort()
		return failed
	default:
		message := s.streamError(c, a.id, s.Door.Refuse(ctx, c, failed))
		sent = int64(grpcwire.HeaderLen + len(message))
		if err := x.Turn(ctx); err != nil {
			return err
		}
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	s.MessageEnded(ctx, c, x.Came(), sent)
	stream.Flush()
	x.Done()
	return nil
}

// streamError is the ModelStreamInferResponse of a message that failed, which it
// reports. Clients find the request by its id, which a message that is refused for what
// its beginning names has only where the id stands there too.
func (s *Service) streamError(c *call.Call, id string, err error) []byte {
	e := problemgrpc.WithCode(problemgrpc.Error(err))
	s.Messages.WithLabelValues(c.Log.Function, e.Code().String()).Inc()
	c.Log.Err, c.Log.GRPC = err, e.Code().String()
	message := protowire.AppendTag(nil, fieldErrorMessage, protowire.BytesType)
	message = protowire.AppendString(message, e.Message())
	if id == "" {
		return message
	}
	response := protowire.AppendString(protowire.AppendTag(nil, fieldID, protowire.BytesType), id)
	return protowire.AppendBytes(protowire.AppendTag(message, fieldInferResponse, protowire.BytesType), response)
}
