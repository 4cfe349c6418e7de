package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/expr"
	"github.com/modelserveai/modelserve/problem"
)

// maxExpressions is how many inputs of plans are kept compiled.
const maxExpressions = 256

// smallInput is the most bytes that an expression reads whose value, and each on the way
// to it, has smallValue at most. One that reads more may make as much as a body has.
const (
	smallInput = envelope.MaxEnvelope
	smallValue = 2 << 20
)

// expressions compiles the inputs of plans, each once for as long as it is kept.
type expressions struct {
	small, large *expr.Compiler
	largest      int // bytes of a value

	mu    sync.Mutex
	known map[string]*compiled // by its text
}

// compiled is an expression for small and for large inputs.
type compiled struct{ small, large *expr.Expression }

// newExpressions makes expressions whose values have so many bytes at most.
func newExpressions(most int) (*expressions, error) {
	e := &expressions{largest: most, known: map[string]*compiled{}}
	var err error
	if e.small, err = expr.NewCompiler(expr.Limits{Size: min(smallValue, most)}); err != nil {
		return nil, err
	}
	if e.large, err = expr.NewCompiler(expr.Limits{Size: most}); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *expressions) compile(text string) (*compiled, error) {
	e.mu.Lock()
	x := e.known[text]
	e.mu.Unlock()
	if x != nil {
		return x, nil
	}
	x = new(compiled) // twice where two need it first
	var err error
	if x.small, err = e.small.Compile(text); err == nil {
		x.large, err = e.large.Compile(text)
	}
	if err != nil {
		return nil, problem.Invalid("plan.input", "%v", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.known) >= maxExpressions {
		clear(e.known) // pipelines in use come back at once
	}
	e.known[text] = x
	return x, nil
}

// of is the expression for inputs of so many bytes, and the most bytes that it makes.
func (e *expressions) of(x *compiled, size int) (*expr.Expression, int64) {
	if size <= smallInput {
		return x.small, int64(min(smallValue, e.largest))
	}
	return x.large, int64(e.largest)
}

// evaluating is what JSON takes at most while an expression reads it, in bytes: its
// texts, and what stands for each of its values.
func evaluating(text []byte) int64 {
	const texts, value = 4, 128
	values := bytes.Count(text, []byte(",")) + bytes.Count(text, []byte("[")) + bytes.Count(text, []byte("{")) + 1
	return int64(texts*len(text) + value*values)
}

// stepInput is what a plan's expression makes of the envelope. Only what it reads is
// fetched.
func (s *Server) stepInput(ctx context.Context, st *step) ([]byte, error) {
	x, err := s.inputs.compile(st.plan.Input)
	if err != nil {
		return nil, err
	}
	values, size, held, err := s.stepValues(ctx, st, x.small.Reads())
	defer func() { st.held.Give(held) }()
	if err != nil {
		return nil, err
	}
	expression, makes := s.inputs.of(x, size)
	if err := st.held.Take(ctx, makes); err != nil {
		return nil, err
	}
	held += makes
	var input json.RawMessage
	failed := s.cfg.Large.For(ctx, st.ticket.Tenant).Of(size, func() { input, err = expression.Evaluate(ctx, values) })
	switch {
	case failed != nil:
		return nil, failed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, expr.ErrLimit):
		return nil, problem.New(problem.PayloadTooLarge, "the step's input: %v", err)
	case err != nil:
		return nil, problem.Invalid("plan.input", "%v", err)
	}
	return input, st.held.TakeNow(int64(len(input)))
}

// stepValues are the values of an envelope that an expression reads, their bytes, and
// what was charged for reading them.
func (s *Server) stepValues(ctx context.Context, st *step, reads []string) (values expr.Values, size int, held int64, err error) {
	e := st.envelope
	values = expr.Values{Event: e.Event, Index: e.Index, Steps: map[string]json.RawMessage{}}
	for _, name := range reads {
		var v *envelope.Value
		output, isOutput := strings.CutPrefix(name, "steps.")
		switch {
		case name == "event" || name == "index":
			continue
		case name == "input":
			v = &e.Input
		case name == "item":
			v = e.Item
		case isOutput:
			if of, ok := e.Steps[output]; ok {
				v = &of
			}
		}
		if v == nil {
			return values, size, held, problem.Invalid(name, "expected it in the envelope, as the step's input reads it")
		}
		text, err := s.stepValue(ctx, st, name, *v)
		if err == nil {
			err = st.held.Take(ctx, evaluating(text))
		}
		if err != nil {
			return values, size, held, err
		}
		size, held = size+len(text), held+evaluating(text)
		switch {
		case isOutput:
			values.Steps[output] = text
		case name == "item":
			values.Item = text
		default:
			values.Input = text
		}
	}
	return values, size, held, nil
}

// stepValue is a value's JSON, fetched where the envelope has a claim check.
func (s *Server) stepValue(ctx context.Context, st *step, name string, v envelope.Value) (json.RawMessage, error) {
	c := v.Claim
	switch {
	case c == nil:
		return v.JSON, nil
	case !c.Is(st.ticket.Tenant, st.ticket.Execution):
		return nil, refused("%s: the claim check names what is not of the ticket's execution", name)
	case c.Size > s.cfg.Limits.MaxBody:
		return nil, problem.New(problem.PayloadTooLarge, "%s: the value has %d bytes, at most %d are read", name, c.Size, s.cfg.Limits.MaxBody)
	}
	if err := st.held.Take(ctx, c.Size); err != nil {
		return nil, err
	}
	r, err := s.cfg.Open(ctx, st.ticket.Tenant, name, c.Ref)
	if err != nil {
		return nil, err
	}
	text := make([]byte, c.Size)
	_, err = io.ReadFull(r, text)
	if err == nil {
		var more [1]byte
		if n, end := io.ReadFull(r, more[:]); n > 0 {
			err = io.ErrUnexpectedEOF
		} else if !errors.Is(end, io.EOF) {
			err = end
		}
	}
	closing := r.Close()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, problem.New(problem.EventDamaged, "%s: the value has not the %d bytes that its claim check says", name, c.Size)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case envelope.Sum(text) != c.SHA256:
		return nil, problem.New(problem.EventDamaged, "%s: the value is not the one that its claim check is of", name)
	}
	return text, closing
}

// nextEnvelope is the envelope of the answer: with the step's output and its record. An
// output that it has no room for is stored; where that is not enough, the largest of the
// outputs before it are as well.
func (s *Server) nextEnvelope(ctx context.Context, st *step, began time.Time, output []byte) ([]byte, error) {
	if err := st.held.Take(ctx, int64(len(output))); err != nil { // written anew
		return nil, err
	}
	text, err := envelope.Compact(output)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s: %w", st.plan.Function, err)
	}
	next := *st.envelope
	next.Steps = maps.Clone(next.Steps)
	if next.Steps == nil {
		next.Steps = map[string]envelope.Value{}
	}
	next.Steps[st.plan.Step] = envelope.Value{JSON: text}
	if len(text) > envelope.MaxInline {
		if err := s.storeOutput(ctx, st, &next, st.plan.Step); err != nil {
			return nil, err
		}
	}
	next.Records = append(slices.Clip(next.Records), st.record(began, len(text)))
	for {
		data, err := next.Encode()
		largest := largestInline(&next)
		if problem.CodeOf(err) != problem.PayloadTooLarge || largest == "" {
			return data, err
		}
		if err := s.storeOutput(ctx, st, &next, largest); err != nil {
			return nil, err
		}
	}
}

// largestInline is the step whose output takes most of an envelope; "" is none.
func largestInline(e *envelope.Envelope) (largest string) {
	const least = 1 << 10 // a claim check takes as much
	most := least
	for name, v := range e.Steps {
		if n := len(v.JSON); n > most || n == most && n > least && name < largest {
			largest, most = name, n
		}
	}
	return largest
}

// storeOutput puts a claim check in place of a step's output. Its object is always the
// same one for the same output.
func (s *Server) storeOutput(ctx context.Context, st *step, e *envelope.Envelope, name string) error {
	text := e.Steps[name].JSON
	if s.cfg.Store == nil {
		return problem.New(problem.PayloadTooLarge, "the output of step %s has %d bytes, and this function has nowhere to store it", name, len(text))
	}
	const media = "application/json"
	c := &envelope.Claim{SHA256: envelope.Sum(text), Size: int64(len(text)), ContentType: media}
	t := &st.ticket
	ref, err := s.cfg.Store(ctx, envelope.OutputKey(t.Tenant, t.Execution, name, t.Item, t.Epoch, c.SHA256), media, text)
	if err != nil {
		return fmt.Errorf("store the output of step %s: %w", name, err)
	}
	c.Ref = ref
	e.Steps[name] = envelope.Value{Claim: c}
	return nil
}

// record is what is known of a step that was answered.
func (st *step) record(began time.Time, size int) envelope.Record {
	r := envelope.Record{
		Step: st.plan.Step, Epoch: st.ticket.Epoch, StartedAt: began.UTC(), FinishedAt: time.Now().UTC(),
		ComputeMS: float64(st.call.usage.Compute) / float64(time.Millisecond), Rows: st.call.usage.Rows, Size: int64(size),
	}
	if info := st.call.info; info != nil {
		r.Model, r.Device = info.Name+"@"+info.Version+";digest="+info.Digest, info.Device
	}
	return r
}
