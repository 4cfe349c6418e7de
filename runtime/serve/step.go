package serve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// step is one step of a pipeline's execution that is answered.
type step struct {
	call     *call
	held     *memory.Call // of the ticket's tenant
	in       event.Event
	ticket   ticket.Ticket
	plan     ticket.Plan
	envelope *envelope.Envelope
}

// isStep reports whether a request is, or claims to be, an event that carries a plan.
func isStep(r *http.Request) bool {
	return r.URL.Path == "/" && r.Method == http.MethodPost && eventForm(r) != notEvent && ticket.HasPlan(r.URL.Query())
}

// stepError is the error of a step whose name is known, and what it took.
type stepError struct {
	step problem.Step
	err  error
}

func (e *stepError) Error() string { return "step " + e.step.Name + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// stepOf is the step that an error is of; zero where that is not known.
func stepOf(err error) problem.Step {
	var of *stepError
	if errors.As(err, &of) {
		return of.step
	}
	return problem.Step{}
}

// maxStepEvent is the most bytes of an event with an envelope: that, and its attributes.
const maxStepEvent = envelope.MaxEnvelope + maxAttributes + 1<<10

// readTimes is how many times its length an envelope takes at most once it is read: its
// values are copies, and so is what is written of them.
const readTimes = 4

// serveStep answers the event of a pipeline's step: what its ticket says decides for
// whom and until when, and its plan what is done. Whoever else sent it, nothing of it is
// believed. The answer is the reply's, whatever takes the answers to other events.
func (s *Server) serveStep(w http.ResponseWriter, r *http.Request) (err error) {
	c := s.metrics.begin(protocolCloudEvent)
	defer func() { s.metrics.end(r.Context(), c, err) }()
	ctx, cancel, err := deadline(r.Context(), r.Header)
	if err != nil {
		return err
	}
	defer cancel()
	return s.guard(ctx, func() error {
		arriving := s.memory.Open(s.payer(r.Header))
		defer arriving.End()
		form := eventForm(r)
		body, err := s.readBodyOf(w, r, arriving, infer.NoHeader, min(maxStepEvent, s.cfg.Limits.MaxBody))
		if err != nil {
			return err
		}
		c.received = int64(len(body))
		in, err := readEvent(form, body, r, func(n int64) error { return arriving.Take(ctx, n) })
		if err != nil {
			return err
		}
		t, err := s.verifyTicket(in)
		if err != nil {
			return err
		}
		held := s.memory.Open(t.Tenant)
		defer held.End()
		if err := held.Take(ctx, readTimes*int64(len(body))); err != nil {
			return err
		}
		arriving.End()
		st := &step{call: c, held: held, in: in, ticket: t}
		if err := s.verifyPlan(st, r.URL.Query()); err != nil {
			return err
		}
		if err := s.answerStep(ctx, st, form, w, r); err != nil {
			took := problem.Step{Name: st.plan.Step, Rows: c.usage.Rows, ComputeMS: float64(c.usage.Compute) / float64(time.Millisecond)}
			return &stepError{took, err}
		}
		return nil
	})
}

// extension is an event's extension as a text; "" where it has none.
func extension(in event.Event, name string) string {
	value, ok := in.Extensions()[name]
	if !ok {
		return ""
	}
	text, err := types.Format(value)
	if err != nil {
		return ""
	}
	return text
}

// refused is the error of a plan that nothing shows to be the pipelines service's.
func refused(format string, args ...any) error {
	return problem.New(problem.PermissionDenied, format, args...)
}

// verifyTicket is an event's ticket. One whose deadline has passed is no refusal: what
// it asks for came too late.
func (s *Server) verifyTicket(in event.Event) (ticket.Ticket, error) {
	if s.cfg.Tickets == nil {
		return ticket.Ticket{}, refused("this function answers no steps of pipelines: " +
			"set MODELSERVE_PIPELINES_PUBLIC_KEY or MODELSERVE_PIPELINES_PUBLIC_KEY_FILE to the key that the pipelines service signs with")
	}
	t, err := s.cfg.Tickets.Ticket(extension(in, envelope.Ticket))
	switch {
	case errors.Is(err, ticket.ErrExpired):
		return t, problem.New(problem.DeadlineExceeded, "the step's deadline passed before it was begun")
	case err != nil:
		return t, refused("a plan is followed with a ticket of the pipelines service alone: %w", err)
	}
	return t, nil
}

// verifyPlan holds an event's data to what the event says of it, and finds the plan,
// which the address shows to be this function's and the ticket's.
func (s *Server) verifyPlan(st *step, query url.Values) error {
	data := st.in.Data()
	if err := envelope.CheckStamp(data, extension(st.in, envelope.DataLength), extension(st.in, envelope.DataSHA256)); err != nil {
		return problem.New(problem.EventDamaged, "%w", err)
	}
	e, err := envelope.Parse(data)
	if err != nil {
		return err
	}
	hash := ticket.PlanHash(query)
	text := e.Plans[hash]
	if text == nil {
		return problem.Invalid("plans", "expected the plan whose hash the address has")
	}
	p, err := ticket.ParsePlan(text, hash)
	if err != nil {
		return refused("the plan is not the one that was signed: %w", err)
	}
	if err := s.checkPlace(p); err != nil {
		return err
	}
	_, digest, err := s.cfg.Tickets.Address(p.Function, query)
	switch {
	case err != nil:
		return refused("a plan is followed at an address of the pipelines service alone: %w", err)
	case digest != st.ticket.Pipeline:
		return refused("the address and the ticket are of two pipelines")
	}
	st.plan, st.envelope = p, e
	return nil
}

// checkPlace refuses a plan that is another function's: one with a payload of its own
// has its own plans alone, one of models those of every published model. Whoever made the
// plan knows which models a Service has, and not whether its program has a codec: the
// plan of a model of the function's name is the function's.
func (s *Server) checkPlace(p ticket.Plan) error {
	switch {
	case s.cfg.Codec == nil && p.Model == "":
		return refused("this service has models only, and the plan is one of function %s", p.Function)
	case s.cfg.Codec != nil && p.Function != s.cfg.Function:
		return refused("this is function %s, and the plan is another's", s.cfg.Function)
	default:
		return nil
	}
}

// answerStep does what a plan says, and answers with the envelope that the next step
// gets.
func (s *Server) answerStep(ctx context.Context, st *step, form form, w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithDeadline(ctx, st.ticket.Deadline)
	defer cancel()
	began := time.Now()
	input, err := s.stepInput(ctx, st)
	if err != nil {
		return err
	}
	output, err := s.runStep(ctx, st, input)
	if err != nil {
		return err
	}
	data, err := s.nextEnvelope(ctx, st, began, output)
	if err != nil {
		return err
	}
	out := s.stepAnswer(st)
	length, sum := envelope.Stamp(data)
	out.SetExtension(envelope.DataLength, length)
	out.SetExtension(envelope.DataSHA256, sum)
	if err := out.SetData("application/json", json.RawMessage(data)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err // an answer past its deadline is none
	}
	st.call.writeTiming(w.Header())
	return s.writeEvent(r.Context(), st.call, st.held, form, out, data, w, r)
}

// timeout is the plan's, of the run; 0 is none.
func (st *step) timeout() time.Duration { return time.Duration(st.plan.TimeoutMS) * time.Millisecond }

// runStep answers an input with the codec, as a call of the ticket's tenant, or with a
// published model by the Open Inference Protocol.
func (s *Server) runStep(ctx context.Context, st *step, input []byte) ([]byte, error) {
	if s.cfg.Codec == nil {
		return s.inferStep(ctx, st, input)
	}
	who := caller{tenant: st.ticket.Tenant, storage: st.ticket.Tenant, timeout: st.timeout()}
	return s.answer(ctx, st.call, st.held, who, Payload{ContentType: "application/json", Body: input})
}

// inferStep answers a V2 request in JSON with one.
func (s *Server) inferStep(ctx context.Context, st *step, input []byte) ([]byte, error) {
	req, err := s.decode(ctx, st.held, s.cfg.Large.For(ctx, st.ticket.Tenant), input, infer.NoHeader)
	if err != nil {
		return nil, err
	}
	req.Model, req.Tenant = st.plan.Model, st.ticket.Tenant
	req.BinaryOutput = false
	for i := range req.Outputs {
		req.Outputs[i].Binary = nil
	}
	lease, err := s.acquire(ctx, st.call, st.plan.Model, "")
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	ctx, cancel := within(ctx, st.timeout())
	defer cancel()
	resp, err := s.run(ctx, st.call, st.held, lease, req)
	if err != nil {
		return nil, err
	}
	defer resp.Release()
	if err := st.held.Take(ctx, infer.ResponseBytes(resp, req)); err != nil {
		return nil, err
	}
	answer, err := infer.EncodeResponse(resp, req)
	if err != nil {
		return nil, err
	}
	return answer.JSON, nil
}

// stepAnswer is the event that answers a step, without data: the same for the same
// send of the same step.
func (s *Server) stepAnswer(st *step) event.Event {
	out := s.answeringEvent(st.in)
	out.SetID(envelope.ID(st.ticket.Execution, st.plan.Step, st.ticket.Item, st.ticket.Epoch))
	out.SetType(envelope.AnsweredType(st.plan.Function))
	out.SetSource("/functions/" + st.plan.Function)
	for name, value := range map[string]string{ // what others said of it is theirs
		envelope.Tenant:      st.ticket.Tenant,
		envelope.ExecutionID: st.ticket.Execution,
		envelope.Attempt:     strconv.Itoa(st.ticket.Epoch),
		envelope.Step:        st.plan.Step,
	} {
		out.SetExtension(name, value)
	}
	return out
}
