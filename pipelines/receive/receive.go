// Package receive takes the events that come back from the channels: what a segment's
// last step answered, what a step did not take, and what passes between two steps. It
// verifies each, and has it decided on.
//
// Nothing is believed but the ticket, its length and its SHA-256. The same event may
// come any number of times, late, and in any order: the epoch in its ticket decides
// whether it counts. What ran is charged, whether or not it counts.
package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

const (
	queued    = 1024             // taps that wait to be recorded; others are left out
	recording = 2                // taps that are recorded at once
	decided   = 30 * time.Second // for one event
	comeAgain = time.Second      // Retry-After, while the database is away
)

// Receiver is the handler of what comes back.
type Receiver struct {
	decider *decide.Decider
	tickets *ticket.Verifier
	charges Charges
	charged charged
	logger  *slog.Logger
	events  *prometheus.CounterVec
	taps    chan arrival
	mux     *http.ServeMux
}

// New makes a Receiver. Run has it record taps. Without charges, nil, nobody is charged.
func New(decider *decide.Decider, tickets *ticket.Verifier, charges Charges, registry prometheus.Registerer, logger *slog.Logger) (*Receiver, error) {
	if charges == nil {
		charges = nobody{}
	}
	r := &Receiver{
		decider: decider, tickets: tickets, charges: charges, logger: logger, taps: make(chan arrival, queued), mux: http.NewServeMux(),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_pipelines_events_total",
			Help: "Events that came back from the channels, by kind (reply, dead, tap) and what became of them: taken, forged, gone (of an execution that there is not), failed (the database was away), dropped (taps that there were too many of).",
		}, []string{"kind", "outcome"}),
	}
	if err := registry.Register(r.events); err != nil {
		return nil, fmt.Errorf("register the metrics of events: %w", err)
	}
	r.mux.HandleFunc("POST "+compile.ReplyPath, func(w http.ResponseWriter, q *http.Request) { r.serve(w, q, reply, r.reply) })
	r.mux.HandleFunc("POST "+compile.DeadPath, func(w http.ResponseWriter, q *http.Request) { r.serve(w, q, dead, r.dead) })
	r.mux.HandleFunc("POST "+compile.TapPath, func(w http.ResponseWriter, q *http.Request) { r.serve(w, q, tap, r.tap) })
	return r, nil
}

// The kinds of events.
const (
	reply = "reply"
	dead  = "dead"
	tap   = "tap"
)

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) { r.mux.ServeHTTP(w, q) }

// Run records taps until ctx ends. What is left then is lost, without harm.
func (r *Receiver) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	for range recording {
		work.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case a := <-r.taps:
					r.record(ctx, a)
				}
			}
		})
	}
}

// arrival is an event that came, with a ticket that is good. Its data may be damaged.
type arrival struct {
	header   http.Header
	ticket   ticket.Ticket
	envelope *envelope.Envelope // nil where it is damaged
	damage   error
	failed   *failed // what a step of ours answered; nil where none is known to have failed
}

// failed is what a step says of its own failure.
type failed struct {
	step problem.Step
	code problem.Code
}

// branch is what the event is of.
func (a *arrival) branch() execution.BranchID {
	return execution.BranchID{Execution: a.ticket.Execution, Segment: a.ticket.Segment, Item: a.ticket.Item}
}

// answer is what the event has of its branch.
func (a *arrival) answer() execution.Answer {
	answer := execution.Answer{Segment: a.ticket.Segment, Item: a.ticket.Item, Epoch: a.ticket.Epoch}
	if a.envelope != nil {
		answer.Values, answer.Records = a.envelope.Steps, a.envelope.Records
	}
	return answer
}

// errForged is of an event that nothing shows to be of an execution.
var errForged = errors.New("the event has no good ticket of an execution")

// serve reads an event, has it taken, and answers without an event. What is forged is
// refused with a 4xx, which nobody sends again; what cannot be recorded now with a 503.
// A refusal is short, as Knative's dispatcher panics at one of more than 768 bytes.
func (r *Receiver) serve(w http.ResponseWriter, q *http.Request, kind string, take func(context.Context, *arrival) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(q.Context()), decided) // an answer that is here counts, whoever brought it
	defer cancel()
	a, err := r.read(w, q)
	if err == nil {
		err = take(ctx, a)
	}
	outcome := "taken"
	var refused *problem.Error
	switch {
	case err == nil:
		w.WriteHeader(http.StatusAccepted)
	case errors.Is(err, errForged):
		outcome = "forged"
		r.logger.WarnContext(ctx, "an event was refused", "kind", kind, "error", err)
		problem.WriteStep(w, problem.New(problem.PermissionDenied, "%w", err), problem.Step{})
	case errors.Is(err, record.ErrNotFound):
		outcome = "gone"
		w.WriteHeader(http.StatusAccepted) // there is nobody whom another try would help
	case errors.Is(err, errDropped):
		outcome = "dropped"
		w.WriteHeader(http.StatusAccepted)
	case errors.As(err, &refused) && refused.Code.Row().Status < http.StatusInternalServerError:
		outcome = "forged"
		problem.WriteStep(w, refused, problem.Step{})
	default:
		outcome = "failed"
		r.logger.ErrorContext(ctx, "an event could not be recorded; the step is sent again when its lease ends", "kind", kind, "execution", executionOf(a), "error", err)
		problem.WriteStep(w, problem.New(problem.Unavailable, "the event could not be recorded").WithRetryAfter(comeAgain), problem.Step{})
	}
	r.events.WithLabelValues(kind, outcome).Inc()
}

func executionOf(a *arrival) string {
	if a == nil {
		return ""
	}
	return a.ticket.Execution
}

// read reads an event in binary form (CloudEvents 1.0.2, HTTP protocol binding, 3.1), as
// our functions answer, and verifies it.
func (r *Receiver) read(w http.ResponseWriter, q *http.Request) (*arrival, error) {
	t, err := r.tickets.Ticket(extension(q.Header, envelope.Ticket))
	if err != nil && !errors.Is(err, ticket.ErrExpired) { // which the epoch decides on
		return nil, fmt.Errorf("%w: %w", errForged, err)
	}
	a := &arrival{header: q.Header, ticket: t}
	data, err := io.ReadAll(http.MaxBytesReader(w, q.Body, envelope.MaxEnvelope))
	if err != nil {
		a.damage = fmt.Errorf("read the event's data: %w", err)
		return a, nil
	}
	a.damage = envelope.CheckStamp(data, extension(q.Header, envelope.DataLength), extension(q.Header, envelope.DataSHA256))
	if a.damage == nil {
		a.envelope, a.damage = envelope.Parse(data)
	}
	if a.damage != nil {
		a.envelope = nil
		return a, nil //nolint:nilerr // that it is damaged is decided on
	}
	for name, v := range a.envelope.Steps {
		if v.Claim != nil && !v.Claim.Is(t.Tenant, t.Execution) {
			a.envelope, a.damage = nil, fmt.Errorf("the claim check of step %s is of what is not the execution's", name)
			break
		}
	}
	return a, nil
}

// extension is an extension of an event in binary form. Ours are plain ASCII.
func extension(h http.Header, name string) string { return h.Get("Ce-" + name) }

// decide has an event decided on, of an execution that is the ticket's.
func (r *Receiver) decide(ctx context.Context, a *arrival, do func(*decide.State) (execution.Change, error)) error {
	return r.decider.Decide(ctx, a.branch(), func(s *decide.State) (execution.Change, error) {
		if s.Execution.Tenant != a.ticket.Tenant || s.Execution.Digest != a.ticket.Pipeline {
			return execution.Change{}, fmt.Errorf("%w: its ticket is of another tenant or pipeline", errForged)
		}
		return do(s)
	})
}

// settle has an event decided on, and charges for what it shows to have run. What could
// not be recorded is not charged: it comes again.
func (r *Receiver) settle(ctx context.Context, a *arrival, do func(*decide.State) (execution.Change, error)) error {
	var state *decide.State
	var change execution.Change
	err := r.decide(ctx, a, func(s *decide.State) (_ execution.Change, err error) {
		state = s
		change, err = do(s)
		return change, err
	})
	switch {
	case err == nil:
		r.charge(ctx, a, state, &change)
	case errors.Is(err, record.ErrNotFound):
		r.charge(ctx, a, nil, nil)
	}
	return err
}

// reply takes what a whole chain answered. One that is damaged has the chain run again.
func (r *Receiver) reply(ctx context.Context, a *arrival) error {
	answer := a.answer()
	return r.settle(ctx, a, func(s *decide.State) (execution.Change, error) {
		if a.damage != nil {
			return s.Version.Machine.Failed(s.Execution, s.Branches, a.damaged(), s.Evaluator(ctx, nil), s.Now)
		}
		return s.Version.Machine.Answered(s.Execution, s.Branches, answer, s.Evaluator(ctx, &answer), s.Now)
	})
}

// damaged is the failure of an event that is not what it was when it was sent.
func (a *arrival) damaged() execution.Failure {
	p := execution.Of(problem.New(problem.EventDamaged, "%w", a.damage))
	answer := a.answer()
	answer.Values, answer.Records = nil, nil
	return execution.Failure{Answer: answer, Status: p.Status, Problem: p}
}

var errDropped = errors.New("too many taps wait")

// tap takes what passes between two steps: it is recorded later, or not at all.
func (r *Receiver) tap(_ context.Context, a *arrival) error {
	if a.damage != nil {
		return nil //nolint:nilerr // the next step says so
	}
	if len(a.envelope.Records) == 0 {
		return nil
	}
	last := a.envelope.Records[len(a.envelope.Records)-1]
	light := arrival{ticket: a.ticket, envelope: &envelope.Envelope{Records: []envelope.Record{last}}} // a queue of whole events would be much memory
	select {
	case r.taps <- light:
		return nil
	default:
		return errDropped
	}
}

// record brings an execution's progress up to date by a tap.
func (r *Receiver) record(ctx context.Context, a arrival) {
	last := a.envelope.Records[len(a.envelope.Records)-1]
	seen := execution.Seen{Segment: a.ticket.Segment, Item: a.ticket.Item, Epoch: a.ticket.Epoch, Step: last.Step, Record: last}
	ctx, cancel := context.WithTimeout(ctx, decided)
	defer cancel()
	err := r.decide(ctx, &a, func(s *decide.State) (execution.Change, error) {
		return s.Version.Machine.Seen(s.Execution, s.Branches, seen, s.Now), nil
	})
	if err != nil {
		r.logger.DebugContext(ctx, "a step's progress was not recorded", "execution", a.ticket.Execution, "error", err)
	}
}
