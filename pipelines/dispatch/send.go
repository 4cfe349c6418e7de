package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

// message is what is sent of a branch.
type message struct {
	tenant    string
	execution *execution.Execution
	version   *decide.Version
	branch    execution.Branch // as it is once it is sent
	step      string
	deadline  time.Time // by the database's clock
	left      time.Duration
	url, host string
	data      []byte // the envelope, or of a step that is not ours its input
	outside   bool
}

// send has a branch's event sent when its tenant has a place.
func (d *Dispatcher) send(ctx context.Context, row execution.Branch, until time.Time) error {
	tenant, known := d.tenants.of(row.Execution)
	if !known {
		loaded, err := d.Store.Load(ctx, row.Execution)
		if err != nil {
			return err
		}
		tenant = loaded.Execution.Tenant
	}
	back := func() { d.postpone(row, until) }
	if !d.posts.offer(tenant, until, func() { d.post(ctx, row, until) }, back) {
		back()
	}
	return nil
}

// post commits that a branch is sent, and sends it. It returns when all is over that
// follows from that, where the channels are synchronous.
func (d *Dispatcher) post(ctx context.Context, row execution.Branch, until time.Time) {
	m, waits, err := d.prepare(ctx, row)
	switch {
	case errors.Is(err, record.ErrNotFound):
		return
	case err != nil:
		d.trouble(ctx, "an event of an execution could not be prepared; it comes again", err)
		d.postpone(row, until)
		return
	case waits:
		d.postpone(row, until)
		return
	case m == nil:
		return
	}
	// The lease ends a little after the deadline; what is on its way longer, nobody waits for.
	deadline, cancelDeadline := context.WithTimeout(ctx, m.left)
	defer cancelDeadline()
	sending, cancel := context.WithCancelCause(deadline)
	defer cancel(nil)
	d.register(m, cancel)
	defer d.forget(m)
	d.metrics.sends.Inc()
	if m.outside {
		d.call(sending, m)
		return
	}
	failure, taken := d.deliver(sending, m)
	switch {
	case !taken:
		d.insist(ctx, m, func(_ context.Context, s *decide.State) (execution.Change, error) {
			return s.Version.Machine.Refused(s.Execution, s.Branches, m.answer(), s.Now), nil
		})
	case failure != nil:
		d.failed(ctx, m, failure)
	case sending.Err() == nil && d.cfg.Synchronous && !d.isDecided(m):
		d.silent(ctx, m)
	}
}

// prepare builds the message of a branch and commits that it is sent. A nil message is
// one that there is nothing to send of; waits is set where its channel is not there yet.
// That it is sent changes nothing of the execution but this row: so the execution itself
// is not saved, and what else is decided on it meanwhile is not disturbed.
func (d *Dispatcher) prepare(ctx context.Context, row execution.Branch) (m *message, waits bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	s, err := d.Decider.Load(ctx, row.Execution)
	if err != nil {
		return nil, false, err
	}
	b, ok := s.Branch(row.BranchID)
	if !ok || b.Epoch != row.Epoch {
		return nil, false, nil
	}
	sent, deadline, ok := s.Version.Machine.Send(s.Execution, b, s.Now)
	if !ok {
		return nil, false, nil
	}
	m = &message{
		tenant: s.Execution.Tenant, execution: s.Execution, version: s.Version, branch: sent, deadline: deadline,
		left: sent.Due.Sub(s.Now), step: s.Version.Plan.Step(b.Segment, b.Step).Name, outside: s.Version.Plan.Segments[b.Segment].Outside,
	}
	if m.outside {
		m.url = s.Version.Plan.Step(b.Segment, b.Step).URI
		m.data, err = s.Input(ctx, b)
	} else {
		if m.url, m.host, err = d.first(ctx, s, b.Segment, b.Step); err != nil {
			return nil, true, nil // it is asked again
		}
		m.data, err = s.Envelope(ctx, b)
	}
	var fault error
	if err != nil {
		if fault = own(err); fault == nil {
			return nil, false, err
		}
	}
	stored, err := d.Store.Sent(ctx, []execution.Branch{sent})
	if err != nil || len(stored) == 0 { // it is another's by now, or the execution has ended
		return nil, false, err
	}
	if fault == nil {
		return m, false, nil
	}
	p := execution.Of(fault)
	d.failed(ctx, m, &execution.Failure{Step: m.step, Status: p.Status, Problem: p})
	return nil, false, nil
}

// own is an error that is the pipeline's own, and no other attempt would change; else nil.
func own(err error) error {
	var known *problem.Error
	if !errors.As(err, &known) {
		return nil
	}
	p := execution.Of(known)
	if f := (execution.Failure{Status: p.Status, Problem: p}); f.Verdict() != execution.Dead || known.Code == problem.Cancelled {
		return nil
	}
	return known
}

func (d *Dispatcher) register(m *message, cancel context.CancelCauseFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent[m.branch.BranchID] = &sending{epoch: m.branch.Epoch, cancel: cancel}
}

// silent sends again what came to nothing, though the channel took it: an answer on the
// way was no event, or could not be recorded; or the channel's process died, or its
// connection broke, which cancels what it does. Where another replica had the answer, it
// is decided on already; one that comes later nevertheless is late.
func (d *Dispatcher) silent(ctx context.Context, m *message) {
	f := broken("the channel died, or an answer on the way was no event or could not be recorded")
	f.Answer = m.answer()
	d.insist(ctx, m, func(ctx context.Context, s *decide.State) (execution.Change, error) {
		if b, ok := s.Branch(m.branch.BranchID); !ok || b.What != execution.Lease || b.Epoch != m.branch.Epoch {
			return execution.Change{}, nil
		}
		return s.Version.Machine.Failed(s.Execution, s.Branches, *f, s.Evaluator(ctx, nil), s.Now)
	})
}

// answer is an answer of a message, without values.
func (m *message) answer() execution.Answer {
	return execution.Answer{Segment: m.branch.Segment, Item: m.branch.Item, Epoch: m.branch.Epoch}
}

// isDecided reports whether something came of a message, in this process.
func (d *Dispatcher) isDecided(m *message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	own := d.sent[m.branch.BranchID]
	return own == nil || own.epoch != m.branch.Epoch || own.decided
}

func (d *Dispatcher) forget(m *message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if own := d.sent[m.branch.BranchID]; own != nil && own.epoch == m.branch.Epoch {
		delete(d.sent, m.branch.BranchID)
	}
}

// failed has a failure of a message decided on.
func (d *Dispatcher) failed(ctx context.Context, m *message, f *execution.Failure) {
	f.Answer = m.answer()
	d.insist(ctx, m, func(ctx context.Context, s *decide.State) (execution.Change, error) {
		return s.Version.Machine.Failed(s.Execution, s.Branches, *f, s.Evaluator(ctx, nil), s.Now)
	})
}

// insist has what came of a message decided on, again and again while the database is
// away. It is not the end of the world where that fails: then the lease runs out. What
// the end of this process broke off is decided on as well, to be sent by another.
func (d *Dispatcher) insist(ctx context.Context, m *message, do func(context.Context, *decide.State) (execution.Change, error)) {
	within := time.NewTimer(m.left)
	defer within.Stop()
	for {
		err := d.decide(context.WithoutCancel(ctx), m.branch.BranchID, do)
		switch {
		case err == nil || errors.Is(err, record.ErrNotFound):
			return
		case !isAway(err) || errors.Is(context.Cause(ctx), errStopping):
			d.trouble(ctx, "what came of an event was not recorded; its lease runs out instead", err)
			return
		}
		select {
		case <-within.C:
			return
		case <-time.After(storeWait):
		}
	}
}

// isAway reports whether the database did not answer, or not in time: what was to be
// stored may be by now, which the next decision finds.
func isAway(err error) bool {
	return errors.Is(err, record.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// deliver posts a message to its channel, and reports whether that took it, or may have:
// a failure is what came of it then. A connection that breaks once the event is on its way
// says nothing of the step, whose answer comes by itself or not at all.
func (d *Dispatcher) deliver(ctx context.Context, m *message) (failure *execution.Failure, taken bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(m.data))
	if err != nil {
		return broken("the address of the channel does not parse"), true
	}
	req.Host = m.host
	d.attributes(req.Header, m)
	res, err := d.client.Do(req)
	if err != nil {
		var op *net.OpError
		switch {
		case errors.As(err, &op) && op.Op == "dial" && ctx.Err() == nil:
			return nil, false
		case errors.Is(context.Cause(ctx), errStopping): // which cancels what the channel does for it
			return broken("the pipelines service ended while the event was on its way"), true
		}
		return nil, true
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<10)) // the connection is used again
	switch {
	case res.StatusCode >= 200 && res.StatusCode <= 299:
		return nil, true
	case slices.Contains([]int{http.StatusNotFound, http.StatusTooManyRequests, http.StatusServiceUnavailable}, res.StatusCode):
		return nil, false // by an ingress that does not know the channel, or has no room or no backend
	}
	return broken(fmt.Sprintf("the channel answered with status %d", res.StatusCode)), true
}

// broken is a failure of what is between here and the step.
func broken(why string) *execution.Failure {
	return &execution.Failure{Transport: true, Problem: execution.Of(problem.New(problem.BadGateway, "%s", why))}
}

// attributes sets the headers of a step's event, in binary form (CloudEvents 1.0.2, HTTP
// protocol binding, 3.1).
func (d *Dispatcher) attributes(h http.Header, m *message) {
	b, x := m.branch, m.execution
	for name, value := range m.execution.Headers {
		if extension := extensionOf(name); extension != "" {
			h.Set("Ce-"+extension, encoded(value))
		}
	}
	h.Set("Content-Type", "application/json")
	h.Set("Ce-Specversion", "1.0")
	h.Set("Ce-Id", envelope.ID(x.ID, m.step, b.Item, b.Epoch))
	h.Set("Ce-Type", envelope.RequestedType)
	h.Set("Ce-Source", envelope.RequestedSource(x.Pipeline))
	h.Set("Ce-Time", time.Now().UTC().Format(time.RFC3339Nano))
	length, sum := envelope.Stamp(m.data)
	for name, value := range map[string]string{
		envelope.Tenant: x.Tenant, envelope.ExecutionID: x.ID, envelope.Pipeline: x.Pipeline, envelope.Step: m.step,
		envelope.Attempt: strconv.Itoa(b.Epoch), envelope.Sequence: fmt.Sprintf("%06d", b.Epoch),
		envelope.DataLength: length, envelope.DataSHA256: sum,
		envelope.Ticket: d.Signer.Ticket(ticket.Ticket{
			Tenant: x.Tenant, Execution: x.ID, Pipeline: x.Digest, Segment: b.Segment, Item: b.Item, Epoch: b.Epoch, Deadline: m.deadline,
		}),
	} {
		h.Set("Ce-"+name, value)
	}
	if x.Traceparent != "" {
		h.Set("Ce-Traceparent", x.Traceparent)
		h.Set("Traceparent", x.Traceparent)
	}
}

// encoded is an attribute's value as a header has it (CloudEvents 1.0.2, HTTP protocol
// binding, 3.1.3.2).
func encoded(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// extensionOf is the extension that carries a header through the channels, which carry
// nothing else: its letters and digits in lower case; "" where that is one of ours.
func extensionOf(header string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(header))
	switch name {
	case "specversion", "id", "type", "source", "time", "subject", "datacontenttype", "dataschema", "data", "dataref", "traceparent", "tracestate",
		envelope.DataLength, envelope.DataSHA256, "":
		return ""
	}
	for _, reserved := range envelope.Reserved() {
		if name == reserved {
			return ""
		}
	}
	return name
}
