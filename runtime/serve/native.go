package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// serveNative answers POST /: the function's native payload or a CloudEvent.
func (s *Server) serveNative(w http.ResponseWriter, r *http.Request) (err error) {
	if isStep(r) {
		return s.serveStep(w, r)
	}
	if s.cfg.Codec == nil {
		return problem.New(problem.NotFound, "this function has no payload of its own: call it by the Open Inference Protocol V2, at /v2/models/{model}/infer")
	}
	form := eventForm(r)
	protocol := protocolNative
	if form != notEvent {
		protocol = protocolCloudEvent
	}
	c := s.metrics.begin(protocol)
	defer func() { s.metrics.end(r.Context(), c, err) }()
	ctx, cancel, err := deadline(r.Context(), r.Header)
	if err != nil {
		return err
	}
	defer cancel()
	held := s.memory.Open(s.payer(r.Header))
	defer held.End()
	return s.guard(ctx, func() error {
		body, err := s.readBody(w, r, held, infer.NoHeader)
		if err != nil {
			return err
		}
		c.received = int64(len(body))
		if form != notEvent {
			return s.answerEvent(ctx, c, held, form, body, w, r)
		}
		answer, err := s.answer(ctx, c, held, s.callerOf(r.Header), Payload{ContentType: mediaType(r.Header.Get("Content-Type")), Body: body})
		if err != nil {
			return err
		}
		c.writeTiming(w.Header())
		s.writeAnswer(c, held, w, r, "application/json", answer)
		return nil
	})
}

// insteadOfForm is what to send a function instead of a form.
const insteadOfForm = "send the file itself as the body and name its type (curl --data-binary @FILE -H 'Content-Type: application/octet-stream'), " +
	"or send JSON as application/json"

// writeAnswer writes a whole answer.
func (s *Server) writeAnswer(c *call, held memory.Holder, w http.ResponseWriter, r *http.Request, contentType string, body []byte) {
	c.sent = int64(len(body))
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.write(w, r, held, c.sent, func(out io.Writer) error {
		_, err := out.Write(body)
		return err
	})
}

// mediaType is a Content-Type without its parameters, in lower case.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// caller is who a payload is answered for.
type caller struct {
	tenant   string   // whose share of the model its runs take
	storage  string   // whose stored inputs it may name; "" is nobody's
	versions []string // of the model, as its headers name them

	timeout time.Duration // from when the model is there; 0 is none
}

// within bounds ctx by a timeout; 0 is none.
func within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

func (s *Server) callerOf(h http.Header) caller {
	return caller{tenant: h.Get(infer.TenantHeader), storage: s.storage(h), versions: h.Values(infer.VersionHeader)}
}

// answer runs the codec on a payload and returns its answer as JSON. A panic in
// it is an error.
func (s *Server) answer(ctx context.Context, c *call, held *memory.Call, who caller, in Payload) ([]byte, error) {
	if err := infer.RefuseForm(in.ContentType, in.Body, insteadOfForm); err != nil {
		return nil, err
	}
	version, err := infer.VersionOf("", who.versions)
	if err != nil {
		return nil, err
	}
	lease, err := s.acquire(ctx, c, s.cfg.Model, version)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	ctx, cancel := within(ctx, who.timeout)
	defer cancel()
	run := &runner{lease: lease, held: held, tenant: who.tenant}
	defer run.release()
	in.Open = func(ctx context.Context, ref string) (io.ReadCloser, error) {
		return s.cfg.Open(ctx, who.storage, "ref", ref)
	}
	in.Reserve, in.Return = held.Take, held.Give
	if in.ContentType == "application/json" { // a form's texts are copies of it
		if err := held.Take(ctx, int64(len(in.Body))); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	err = s.guard(ctx, func() error {
		answer, err := s.cfg.Codec.Answer(ctx, in, run)
		if err != nil {
			return err
		}
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(answer); err != nil {
			return fmt.Errorf("write the answer of %s as JSON: %w", s.cfg.Function, err)
		}
		return held.TakeNow(int64(out.Cap())) // it is there
	})
	c.timing, c.usage = run.total()
	if err == nil {
		err = ctx.Err() // an answer past its deadline is none
	}
	return out.Bytes(), err
}

// runner is the Runner of one native request.
type runner struct {
	lease  Lease
	held   *memory.Call
	tenant string

	mu        sync.Mutex
	timing    infer.Timing
	usage     infer.Usage
	responses []*infer.Response
}

// misuse is a model's refusal of what a codec made for it, such as an input of
// another name: the function's fault, so that its caller gets a plain 500, and
// the log the reason. It does not unwrap, or the refusal would be the answer.
type misuse struct{ refused error }

// Error describes the refusal, for the log.
func (m *misuse) Error() string {
	return "the model refuses the inputs that the codec made: " + m.refused.Error()
}

// Run runs the model once.
func (r *runner) Run(ctx context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	info := r.lease.Info()
	resp, err := runCharged(ctx, r.held, r.lease, &infer.Request{Model: info.Name, Version: info.Version, Tenant: r.tenant, Inputs: inputs})
	if code := problem.CodeOf(err); code == problem.InvalidArgument || code == problem.MalformedBody {
		return nil, &misuse{err} // what the caller sent is the codec's to judge
	}
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.timing, resp.Timing)
	r.usage.Add(infer.UsageOf(inputs, resp.Timing))
	r.responses = append(r.responses, resp)
	return resp.Outputs, nil
}

// Release gives the outputs of one run back before the others.
func (r *runner) Release(outputs []infer.Tensor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, resp := range r.responses {
		if len(outputs) > 0 && len(resp.Outputs) > 0 && &resp.Outputs[0] == &outputs[0] {
			r.responses = slices.Delete(r.responses, i, i+1)
			resp.Release()
			return
		}
	}
}

// Info describes the model.
func (r *runner) Info() *ModelInfo { return r.lease.Info() }

// total is the time of all runs.
func (r *runner) total() (infer.Timing, infer.Usage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.timing, r.usage
}

// release gives every output back.
func (r *runner) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resp := range r.responses {
		resp.Release()
	}
	r.responses = nil
}
