package service_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/charge"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/service"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// charged is what tenants were charged.
type charged struct {
	mu  sync.Mutex
	all []charge.Took
}

// Charge implements the service's Charges.
func (c *charged) Charge(t charge.Took) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, t)
}

// says is what was charged, in short and in order.
func (c *charged) says() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []string{}
	for _, t := range c.all {
		failed := ""
		if t.Failed {
			failed = " failed"
		}
		all = append(all, fmt.Sprintf("%s %s %s%s: %d rows, %g ms", t.Tenant, t.Function, t.Model, failed, t.Rows, t.ComputeMS))
	}
	slices.Sort(all)
	return all
}

// modelled runs its model once before it answers.
type modelled struct{ answer }

// Answer implements serve.Codec.
func (m modelled) Answer(ctx context.Context, in serve.Payload, run serve.Runner) (any, error) {
	if _, err := run.Run(ctx, nil); err != nil {
		return nil, err
	}
	return m.answer.Answer(ctx, in, run)
}

// TestEachStepIsChargedOnce holds that a tenant is charged what each step took, once,
// however often its answer comes and whoever takes it.
func TestEachStepIsChargedOnce(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for _, name := range []string{"one", "two", "three"} {
		p.codec(name, modelled{echo(name)})
	}
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	p.ended("x1")
	want := []string{"acme one one: 2 rows, 3 ms", "acme three three: 2 rows, 3 ms", "acme two two: 2 rows, 3 ms"}
	if diff := cmp.Diff(want, p.charged.says()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	reply := p.seen.of(compile.ReplyPath)[0]
	p.post(compile.ReplyPath, reply.header, reply.data)
	p.stop()
	p.run(service.Config{}) // which has nothing of it in memory
	p.post(compile.ReplyPath, reply.header, reply.data)
	if diff := cmp.Diff(want, p.charged.says()); diff != "" {
		t.Errorf("after it came again, -want +got:\n%s", diff)
	}
}

// TestAttemptsThatFailAreCharged holds that a tenant is charged for what ran, also where
// it failed, and that the steps before it are not charged again.
func TestAttemptsThatFailAreCharged(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for _, name := range []string{"one", "two", "three"} {
		p.codec(name, modelled{echo(name)})
	}
	var n atomic.Int32
	p.codec("two", modelled{func(ctx context.Context, input json.RawMessage) (any, error) {
		switch n.Add(1) {
		case 1:
			return nil, problem.New(problem.ModelFailed, "it fails")
		case 2:
			return nil, problem.New(problem.RateLimited, "too many") // which is free, as at the gateway
		}
		return echo("two")(ctx, input)
	}})
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	if got := p.output(p.ended("x1")); got != chainOutput {
		t.Errorf("output %s", got)
	}
	want := []string{"acme one one: 2 rows, 3 ms", "acme three three: 2 rows, 3 ms", "acme two  failed: 2 rows, 3 ms", "acme two two: 2 rows, 3 ms"}
	if diff := cmp.Diff(want, p.charged.says()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestLateAnswersAreCharged holds that a tenant is charged for what ran though its answer
// changes nothing: the execution was cancelled, or there is none any more.
func TestLateAnswersAreCharged(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	running := make(chan struct{})
	p.function("one", func(ctx context.Context, _ json.RawMessage) (any, error) {
		close(running)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	v := p.register("chain", chain)
	p.begin(v, "x1", `{"a": 1}`)
	<-running
	if err := p.now().Decider().Cancel(t.Context(), tenant, "x1"); err != nil {
		t.Fatal(err)
	}
	record := func(step string, epoch int) envelope.Record {
		return envelope.Record{
			Step: step, Epoch: epoch, StartedAt: time.Now(), FinishedAt: time.Now(), Model: step + "-model@3;digest=sha256:0", Rows: 5, ComputeMS: 1.5,
		}
	}
	data, err := (&envelope.Envelope{
		Input: envelope.Value{JSON: json.RawMessage(`null`)}, Steps: map[string]envelope.Value{"first": {JSON: json.RawMessage(`1`)}},
		Records: []envelope.Record{record("first", 1), record("second", 2)}, // the second is of no chain of this ticket
	}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	event := func(id, tenant string) http.Header {
		of := ticket.Ticket{Tenant: tenant, Execution: id, Pipeline: v.Digest, Epoch: 1, Deadline: time.Now().Add(time.Hour)}
		return stamped(http.Header{"Ce-Specversion": {"1.0"}, "Ce-Ticket": {p.signer.Ticket(of)}}, data)
	}
	dead := event("x1", tenant)
	dead.Set("Ce-Knativeerrordest", "http://two/?plan=aa&pipeline=bb&key=cc&sig=dd")
	dead.Set("Ce-Knativeerrorcode", "500")
	dead.Set("Ce-Knativeerrordata", base64.StdEncoding.EncodeToString([]byte(`{"code":"model_failed","step":"second","rows":4,"compute_ms":2}`)))
	for range 2 {
		p.post(compile.ReplyPath, event("x1", tenant), data)
		p.post(compile.DeadPath, dead, data)
		p.post(compile.ReplyPath, event("x9", tenant), data) // deleted meanwhile
		p.post(compile.ReplyPath, event("x1", "evil"), data) // whose it is not
		p.post(compile.TapPath, event("x1", tenant), data)
	}
	want := []string{"acme  first-model: 5 rows, 1.5 ms", "acme one first-model: 5 rows, 1.5 ms", "acme two  failed: 4 rows, 2 ms"}
	if diff := cmp.Diff(want, p.charged.says()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
