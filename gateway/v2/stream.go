package v2

import (
	"context"
	"errors"
	"io"

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

// framed is a ModelStreamInferResponse: what stands before a message, and that.
type framed struct {
	head     []byte
	message  grpcwire.Message
	exchange *grpcwire.Exchange // which is done when it was sent
}

// modelStreamInfer answers each message of a stream as a call of its own, to
// whichever model it names, a bounded number of them at once, in the order
// they came. A message that fails is answered with its error; the stream goes
// on.
func (s *Service) modelStreamInfer(ctx context.Context, c *call.Call, stream *grpcwire.Stream) error {
	c.Log.Messages = true
	// Each message takes a place in the queue, which holds the order, and a
	// slot until it has been sent, which bounds the answers held.
	places := make(chan chan framed, s.StreamInFlight)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for place := range places {
			select {
			case answer := <-place:
				err := stream.Send(answer.head, answer.message)
				answer.exchange.Done()
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
		x, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// Messages are calls of their own, answered at once. A stream may outlive its
		// key, or what that may do: the caller of each is identified anew, before room
		// is taken for it.
		own := &call.Call{Protocol: call.GRPC, Source: c.Source, Host: c.Host, Path: c.Path, Operation: c.Operation, Header: c.Header, Bound: c.Bound, Log: &call.Entry{Route: c.Log.Route}}
		if err := s.Door.Identify(ctx, own); err != nil {
			return err
		}
		a, refused := s.begin(ctx, own, x, auth.DoInfer)
		if refused == nil {
			refused = x.Read(ctx)
		}
		if refused != nil {
			x.Refuse()
		}
		place := make(chan framed, 1)
		select {
		case places <- place:
		case <-ctx.Done():
			return ctx.Err()
		}
		if refused != nil {
			place <- s.streamError(ctx, own, x, a.id, refused)
			if err := x.Skip(); err != nil {
				return err
			}
			continue
		}
		group.Go(func() error {
			place <- s.streamAnswer(ctx, own, x)
			return nil
		})
	}
}

// streamAnswer is one message's ModelStreamInferResponse.
func (s *Service) streamAnswer(ctx context.Context, c *call.Call, x *grpcwire.Exchange) framed {
	bounded, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	a, err := addressOf(x.Message()) // while it is there
	var out *answer
	if err == nil {
		out, err = s.inferMessage(bounded, c, x, a)
	}
	if err != nil {
		return s.streamError(ctx, c, x, a.id, err)
	}
	s.Messages.WithLabelValues(c.Log.Function, "ok").Inc()
	head := protowire.AppendTag(nil, fieldInferResponse, protowire.BytesType)
	return s.ended(ctx, c, framed{protowire.AppendVarint(head, uint64(len(out.message))), out.message, x})
}

// streamError is the ModelStreamInferResponse of a message that failed, which it
// reports. Clients find the request by its id, which a message that is refused for what
// its beginning names has only where the id stands there too.
func (s *Service) streamError(ctx context.Context, c *call.Call, x *grpcwire.Exchange, id string, err error) framed {
	e := problemgrpc.WithCode(problemgrpc.Error(err))
	s.Messages.WithLabelValues(c.Log.Function, e.Code().String()).Inc()
	c.Log.Err, c.Log.GRPC = err, e.Code().String()
	head := protowire.AppendTag(nil, fieldErrorMessage, protowire.BytesType)
	head = protowire.AppendString(head, e.Message())
	if id == "" {
		return s.ended(ctx, c, framed{head, nil, x})
	}
	response := protowire.AppendString(protowire.AppendTag(nil, fieldID, protowire.BytesType), id)
	return s.ended(ctx, c, framed{protowire.AppendTag(head, fieldInferResponse, protowire.BytesType), protowire.AppendBytes(nil, response), x})
}

// ended notes that a message has its answer, and returns it.
func (s *Service) ended(ctx context.Context, c *call.Call, f framed) framed {
	s.MessageEnded(ctx, c, f.exchange.Came(), int64(grpcwire.HeaderLen+len(f.head)+len(f.message)))
	return f
}
