package v2

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/internal/grpcwire"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/wellknown"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
	rpc "github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// procedure answers a call of one procedure.
type procedure func(ctx context.Context, c *call.Call, stream *grpcwire.Stream) error

// newProcedures are the procedures of the inference service, by their path. Only
// gRPC reaches them: connect-go's own protocol and gRPC-Web have other content
// types.
func (s *Service) newProcedures() map[string]procedure {
	return map[string]procedure{
		rpc.GRPCInferenceServiceModelInferProcedure:       s.modelInfer,
		rpc.GRPCInferenceServiceModelStreamInferProcedure: s.modelStreamInfer,
		rpc.GRPCInferenceServiceModelConfigProcedure:      s.modelConfigGRPC,

		rpc.GRPCInferenceServiceServerLiveProcedure:            local(s.serverLive),
		rpc.GRPCInferenceServiceServerReadyProcedure:           local(s.serverReady),
		rpc.GRPCInferenceServiceServerMetadataProcedure:        local(s.serverMetadataGRPC),
		rpc.GRPCInferenceServiceModelReadyProcedure:            local(s.modelReadyGRPC),
		rpc.GRPCInferenceServiceModelMetadataProcedure:         local(s.modelMetadataGRPC),
		rpc.GRPCInferenceServiceModelStatisticsProcedure:       local(s.modelStatistics),
		rpc.GRPCInferenceServiceRepositoryIndexProcedure:       local(s.repositoryIndexGRPC),
		rpc.GRPCInferenceServiceRepositoryModelLoadProcedure:   local(s.repositoryModelLoad),
		rpc.GRPCInferenceServiceRepositoryModelUnloadProcedure: local(s.repositoryModelUnload),
	}
}

// newWellknown are the services that every gRPC port has.
func (s *Service) newWellknown() *wellknown.Services {
	return wellknown.New(wellknown.Config{
		Services: []string{rpc.GRPCInferenceServiceName},
		Serving:  func(ctx context.Context) bool { return s.NotReady(ctx, nil) == nil },
	}, connect.WithCompressMinBytes(math.MaxInt))
}

// Procedure is a procedure of gRPC.
type Procedure struct {
	Public bool // at the gateway's own host: probes ask for its health without a key
	Stream bool // it goes on until its client or the server ends it
	Up     bool // its client sends message after message
	Limits bool // it has the door limit what it is for
	Serve  func(c *call.Call, w http.ResponseWriter, r *http.Request) error
}

// Procedure finds a procedure by its path.
func (s *Service) Procedure(path string) (Procedure, bool) {
	if wellknown.Is(path) {
		stream := wellknown.IsStream(path)
		return Procedure{Public: wellknown.IsHealth(path), Stream: stream, Up: stream && path != wellknown.Watch, Serve: s.serveWellknown}, true
	}
	answer, ok := s.procedures[path]
	up := path == rpc.GRPCInferenceServiceModelStreamInferProcedure
	limits := strings.Contains(path, "/Model") || strings.Contains(path, "/RepositoryModel")
	return Procedure{Stream: up, Up: up, Limits: limits, Serve: func(c *call.Call, w http.ResponseWriter, r *http.Request) error {
		return s.serveProcedure(answer, up, c, w, r)
	}}, ok
}

// unaryPatience is how long a call of one message waits for room, as it does at a
// function: its caller can come again.
const unaryPatience = time.Second

// serveProcedure answers a call of one of our procedures, errors and all.
func (s *Service) serveProcedure(answer procedure, up bool, c *call.Call, w http.ResponseWriter, r *http.Request) error {
	patience := unaryPatience
	if up {
		patience = s.StreamPatience
	}
	stream := grpcwire.Accept(w, r, s.MaxMessage, s.Room.Of(c.Tenant()), patience)
	defer stream.Close()
	ctx := r.Context()
	stream.Aside(s.Large.For(ctx, c.Tenant()))
	timeout, err := grpcwire.Timeout(r.Header)
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if err == nil {
		err = answer(ctx, c, stream)
	}
	if !c.Log.Messages { // else each is limited for itself
		err = s.Door.Refuse(ctx, c, err)
	}
	c.Log.Err, c.Log.GRPC = err, "ok"
	if e := stream.End(err); e != nil {
		c.Log.GRPC = e.Code().String()
	}
	return nil
}

// serveWellknown answers a call of the health service or of reflection.
func (s *Service) serveWellknown(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	asker := wellknown.Asker{Serving: func(ctx context.Context) bool { return s.NotReady(ctx, c.Bound) == nil }}
	p := c.Principal
	if credential, err := auth.Credential(c.Header); p == nil && err == nil {
		p, _ = s.Authenticator.Authenticate(r.Context(), credential) // a wrong one is none
	}
	if p != nil {
		asker.Caller = p.ID
	}
	s.wellknown.Handler(r.URL.Path, asker).ServeHTTP(w, r)
	c.Log.GRPC = "ok"
	if e := problemgrpc.Complete(w.Header(), wellknown.MaxMessage); e != nil {
		c.Log.Err, c.Log.GRPC = e, e.Code().String()
	}
	return nil
}

// local is a procedure that is answered here. Its message is bounded as in REST, since
// decoded it takes many times its length, which nobody charges: 2 MiB of parameters took
// 28.
func local[T any, In interface {
	*T
	proto.Message
}, Out proto.Message](answer func(ctx context.Context, c *call.Call, in In) (Out, error)) procedure {
	return func(ctx context.Context, c *call.Call, stream *grpcwire.Stream) error {
		stream.Bound(infer.MaxControl)
		x, err := stream.Only()
		if err != nil {
			return err
		}
		if _, _, _, err := x.Begin(); err != nil {
			return err
		}
		if err := x.Read(ctx); err != nil {
			return err
		}
		in := In(new(T))
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(x.Message(), in) != nil {
			return malformed()
		}
		out, err := answer(ctx, c, in)
		if err != nil {
			return err
		}
		data, err := proto.Marshal(out)
		if err != nil {
			return err
		}
		return stream.Send(data)
	}
}

// modelInfer forwards an inference to the version it resolves to.
func (s *Service) modelInfer(ctx context.Context, c *call.Call, stream *grpcwire.Stream) error {
	x, a, err := s.only(ctx, c, stream, auth.DoInfer)
	if err != nil {
		return err
	}
	return s.inferMessage(ctx, c, x, a, reply(stream))
}

// modelConfigGRPC forwards too: the configuration has where the model runs, which
// only its function knows.
func (s *Service) modelConfigGRPC(ctx context.Context, c *call.Call, stream *grpcwire.Stream) error {
	x, a, err := s.only(ctx, c, stream, auth.DoRead)
	if err != nil {
		return err
	}
	return s.sendMessage(ctx, c, x, rpc.GRPCInferenceServiceModelConfigProcedure, auth.DoRead, a, a.version, reply(stream))
}

// only begins the message of a call that has one.
func (s *Service) only(ctx context.Context, c *call.Call, stream *grpcwire.Stream, verb auth.Verb) (*grpcwire.Exchange, address, error) {
	x, err := stream.Only()
	if err != nil {
		return nil, address{}, err
	}
	a, err := s.begin(ctx, c, x, verb)
	return x, a, err
}

// begin reads what a message begins with, and decides on it before room is taken for
// more. A message whose beginning says where it goes passes from there on; another, and
// one that is compressed, is read whole. Of a message that is refused the id is "" where
// it does not stand in the beginning.
func (s *Service) begin(ctx context.Context, c *call.Call, x *grpcwire.Exchange, verb auth.Verb) (address, error) {
	beginning, more, plain, err := x.Begin()
	if err != nil {
		return address{}, err
	}
	a, err := addressOf(beginning)
	if more {
		err = nil // of what is cut, what is whole
	}
	if more && a.name != "" {
		if err := s.Door.Check(ctx, c, door.Ask{Verb: verb, Model: a.name}); err != nil {
			return a, err
		}
		f := &follower{left: x.Length()}
		if plain && f.pass(beginning) == nil && f.past {
			return a, x.Pass(ctx, f.pass)
		}
	}
	if err == nil {
		err = x.Read(ctx)
	}
	if err != nil {
		return a, err
	}
	message := x.Message()
	failed := s.Large.For(ctx, c.Tenant()).Of(len(message), func() { a, err = addressOf(message) })
	return a, cmp.Or(failed, err)
}

// deliver sends an answer on, with those of its headers that are meant for callers. It
// ends before the answer's function is released.
type deliver func(ctx context.Context, header http.Header, out *grpcwire.Answer) error

// reply delivers the answer of a call that has one.
func reply(stream *grpcwire.Stream) deliver {
	return func(ctx context.Context, header http.Header, out *grpcwire.Answer) error {
		for name, values := range header {
			stream.Header()[name] = values
		}
		_, err := out.Send(ctx, nil)
		return err
	}
}

// inferMessage forwards one inference, of a message for a, whose metadata may name the
// version that the message does not.
func (s *Service) inferMessage(ctx context.Context, c *call.Call, x *grpcwire.Exchange, a address, to deliver) error {
	version, err := infer.VersionOf(a.version, c.Header.Values(infer.VersionHeader))
	if err != nil {
		return err
	}
	return s.sendMessage(ctx, c, x, rpc.GRPCInferenceServiceModelInferProcedure, auth.DoInfer, a, version, to)
}

// sendMessage sends x's message, which is for a version, to the function that it
// resolves to, and delivers that one's answer.
func (s *Service) sendMessage(
	ctx context.Context, c *call.Call, x *grpcwire.Exchange, path string, verb auth.Verb, a address, version string, to deliver,
) error {
	p, err := s.Door.Pass(ctx, c, door.Ask{Verb: verb, Model: a.name, Version: version})
	if err != nil {
		return err
	}
	defer p.End()
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, a.timeout+forward.Slack, forward.TimedOut(a.timeout))
		defer cancel()
	}
	out, header, err := s.forward(ctx, p, x, path, a)
	if err != nil {
		return err
	}
	defer out.Close()
	if err = to(ctx, header, out); err == nil || errors.Is(err, grpcwire.ErrNotSent) {
		return err
	}
	return s.functionError(ctx, p, err)
}

// forward sends x's message to its target, and begins to read the answer.
func (s *Service) forward(ctx context.Context, p *door.Passage, x *grpcwire.Exchange, path string, a address) (*grpcwire.Answer, http.Header, error) {
	var behind []byte
	if p.Target.Version != a.version {
		behind = withVersion(nil, p.Target.Version)
	}
	passing := x.Passes(behind)
	r, err := newRequest(ctx, path, x.Message(), behind, passing)
	if err != nil {
		return nil, nil, err
	}
	res, err := p.Send(ctx, r) //nolint:bodyclose // the Answer closes it
	if err == nil {
		var out *grpcwire.Answer
		if out, err = x.Answer(res, maxAnswer); err == nil {
			p.Answered(res.Header)
			return out, forCallers(res.Header), nil
		}
		err = s.functionError(ctx, p, err)
	}
	if passing != nil && passing.Failed() != nil {
		err = passing.Failed() // the function's side is only its consequence
	}
	return nil, nil, err
}

// newRequest is a call of a procedure with a message, which passes or is whole, and what
// is behind it.
func newRequest(ctx context.Context, path string, whole grpcwire.Message, behind []byte, passing *grpcwire.Passing) (*http.Request, error) {
	if passing != nil {
		return grpcwire.NewPassing(ctx, path, passing)
	}
	return grpcwire.NewRequest(ctx, path, append(whole, behind...))
}

// maxAnswer keeps answers, in bytes, within what gRPC libraries count with.
const maxAnswer = int64(env.GiB)

// forCallers are the headers of a function's answer that a caller gets.
func forCallers(h http.Header) http.Header {
	out := http.Header{}
	for name, values := range h {
		if name == infer.TimingHeader || strings.HasPrefix(name, "Modelserve-") || strings.HasPrefix(name, "Ratelimit") {
			out[name] = values
		}
	}
	return out
}

// functionError is what a caller gets of a function's error, and notes what it
// reports of the model.
func (*Service) functionError(ctx context.Context, p *door.Passage, err error) error {
	var e *connect.Error
	if !errors.As(err, &e) || !connect.IsWireError(err) {
		return forward.Error(ctx, err) // the transport's, or a function without gRPC
	}
	own := connect.NewError(e.Code(), errors.New(e.Message()))
	for _, d := range e.Details() {
		own.AddDetail(d)
	}
	p.Failed(problemgrpc.Code(own), e.Message())
	return problemgrpc.WithCode(own)
}
