package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// document is the input of an execution: a kilobyte.
func document() string { return `{"image":"` + strings.Repeat("x", 1000) + `"}` }

// request is one of the gateway's.
func (r *recorded) request(ctx context.Context, method, path, body string, header ...string) (int, []byte) {
	q := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	q.Header.Set(infer.SecretHeader, gatewaySecret)
	q.Header.Set(infer.TenantHeader, benchTenant)
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, q)
	return w.Code, w.Body.Bytes()
}

var startPath = contract.PathOf(contract.StartPath, "chained") //nolint:gochecknoglobals // a constant, made by a function

// startOne has the service accept an execution.
func (r *recorded) startOne(ctx context.Context) error {
	if status, body := r.request(ctx, http.MethodPost, startPath, document()); status != http.StatusAccepted {
		return fmt.Errorf("expected 202, got %d: %.300s", status, body)
	}
	return nil
}

// row is an execution as it is before it is accepted.
func (r *recorded) row(id string) (*execution.Execution, execution.Change) {
	v := r.version
	x := &execution.Execution{
		ID: id, Tenant: benchTenant, Pipeline: v.ID.Name, Version: v.ID.Number, Digest: v.Digest, Input: envelope.Value{JSON: json.RawMessage(document())},
	}
	return x, v.Machine.Accept(x, time.Now())
}

// inserts are those of an execution that is accepted, without the decisions.
func inserts(x *execution.Execution, state string) *pgx.Batch {
	now := time.Now().UnixMilli()
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO executions VALUES ($1, $2, $2, $3, $4, $5, 'queued', '', 0, 1, $6, 0, 0, $6, 0, 604800000, 0, '', '', '', '', '', $7, false, $8, '', '', '', '', '')`,
		x.ID, x.Tenant, x.Pipeline, x.Version, x.Digest, now, state, []byte(x.Input.JSON))
	b.Queue(`INSERT INTO due VALUES ($1, -1, 0, 0, $2, $2, $3, $4, 10000, 0, 0, 0, 0, 'start', $5, $5, 0)`, x.ID, x.Tenant, x.Pipeline, x.Version, now)
	b.Queue(`INSERT INTO events VALUES ($1, 1, $2, '', 'queued', $3)`, x.ID, execution.ExecutionAccepted, now)
	return b
}

// insertOne writes the rows of an execution in a transaction: a statement at a time, or
// all of it in one message, which is the least that a database can be asked.
func (r *recorded) insertOne(ctx context.Context, ids *ids, state string, atOnce bool) error {
	x, _ := r.row(ids.next())
	batch := inserts(x, state)
	if atOnce {
		return r.pool.SendBatch(ctx, batch).Close()
	}
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		for _, q := range batch.QueuedQueries {
			if _, err := tx.Exec(ctx, q.SQL, q.Arguments...); err != nil {
				return err
			}
		}
		return nil
	})
}

// accepting holds executions that the service accepts against the same inserts.
func (o *options) accepting(ctx context.Context, w *records) (rows []row, err error) {
	ours, err := w.open(ctx, noChannels{})
	if err != nil {
		return nil, err
	}
	defer ours.close()
	bare, err := w.open(ctx, noChannels{})
	if err != nil {
		return nil, err
	}
	defer bare.close()
	ids := newIDs()
	x, _ := bare.row("x")
	state, err := execution.EncodeState(x)
	if err != nil {
		return nil, err
	}
	var accepted, stepwise, atOnce []float64
	for i := range o.rounds {
		for _, turn := range []struct {
			to   *[]float64
			over *recorded
			do   func(context.Context) error
		}{
			{&accepted, ours, ours.startOne},
			{&stepwise, bare, func(ctx context.Context) error { return bare.insertOne(ctx, ids, string(state), false) }},
			{&atOnce, bare, func(ctx context.Context) error { return bare.insertOne(ctx, ids, string(state), true) }},
		} {
			if err := turn.over.empty(ctx); err != nil {
				return nil, err
			}
			if _, err := repeat(ctx, writers, o.turn/4, turn.do); err != nil { // connections and plans are there
				return nil, err
			}
			rate, err := repeat(ctx, writers, o.turn, turn.do)
			if err != nil {
				return nil, err
			}
			*turn.to = append(*turn.to, rate)
		}
		progress("accepted executions, round %d of %d: %.0f/s, of inserts %.0f/s a statement at a time and %.0f/s at once",
			i+1, o.rounds, accepted[i], stepwise[i], atOnce[i])
	}
	what := fmt.Sprintf("executions accepted with PostgreSQL, %d clients (%.0f/s)", writers, median(accepted))
	a, b := ratios(accepted, stepwise), ratios(accepted, atOnce)
	return []row{
		{what, "the same inserts in a loop, a statement at a time in a transaction", spread(a), "≥ 0.70", rounded(a) >= 0.70},
		{what, "the same, all sent at once", spread(b), "≥ 0.70", rounded(b) >= 0.70},
	}, nil
}

// noChannels is of executions that nobody sends.
type noChannels struct{}

func (noChannels) First(context.Context, string, string, int, int, int) (url, host string, err error) {
	return "", "", errors.New("there are none")
}

// lives takes executions through all that is stored of them, as the service does: each
// is accepted, begun, sent, and ended by what its three steps answered.
func (r *recorded) lives(ctx context.Context, ids *ids, n int) error {
	err := together(n, func(int) error {
		x, change := r.row(ids.next())
		_, err := r.store.Accept(ctx, &record.Acceptance{Execution: x, Change: change, Owner: benchTenant, Concurrency: 10_000, Retention: time.Hour})
		return err
	})
	if err != nil {
		return err
	}
	decider, machine := r.service.Decider(), r.version.Machine
	admitted, err := r.store.Admit(ctx, record.Admission{Most: n, Hold: time.Minute})
	if err != nil || len(admitted) != n {
		return fmt.Errorf("%d of %d were admitted: %w", len(admitted), n, err)
	}
	err = together(n, func(i int) error {
		return decider.Decide(ctx, admitted[i].BranchID, func(s *decide.State) (execution.Change, error) {
			return machine.Begin(s.Execution, s.Branches, s.Evaluator(ctx, nil), s.Now)
		})
	})
	if err != nil {
		return err
	}
	claimed, err := r.store.Claim(ctx, n, time.Minute)
	if err != nil || len(claimed) != n {
		return fmt.Errorf("%d of %d were claimed: %w", len(claimed), n, err)
	}
	err = together(n, func(i int) error { return r.send(ctx, &claimed[i]) })
	if err != nil {
		return err
	}
	return together(n, func(i int) error {
		answer := answerOf(&claimed[i])
		return decider.Decide(ctx, claimed[i].BranchID, func(s *decide.State) (execution.Change, error) {
			return machine.Answered(s.Execution, s.Branches, answer, s.Evaluator(ctx, &answer), s.Now)
		})
	})
}

// send stores that a branch is sent.
func (r *recorded) send(ctx context.Context, b *execution.Branch) error {
	s, err := r.service.Decider().Load(ctx, b.Execution)
	if err != nil {
		return err
	}
	due, ok := s.Branch(b.BranchID)
	if !ok {
		return errors.New("what was claimed is not due")
	}
	sent, _, ok := r.version.Machine.Send(s.Execution, due, s.Now)
	if !ok {
		return errors.New("what was claimed is not to be sent")
	}
	*b = sent
	stored, err := r.store.Sent(ctx, []execution.Branch{sent})
	if err == nil && len(stored) != 1 {
		err = errors.New("what was claimed is another's")
	}
	return err
}

// answerOf is what the three steps answer.
func answerOf(b *execution.Branch) execution.Answer {
	a := execution.Answer{Segment: b.Segment, Item: b.Item, Epoch: b.Epoch, Values: map[string]envelope.Value{}}
	for _, step := range []string{"first", "second", "third"} {
		a.Values[step] = envelope.Value{JSON: json.RawMessage(`{"text":"` + strings.Repeat("y", 300) + `"}`)}
		a.Records = append(a.Records, recordOf(step, b.Epoch))
	}
	return a
}

func recordOf(step string, epoch int) envelope.Record {
	now := time.Now().UTC()
	return envelope.Record{Step: step, Epoch: epoch, StartedAt: now, FinishedAt: now, Model: step + "@1", Device: "cpu", ComputeMS: 1, Rows: 1, Size: 312}
}

// recording prints what is stored of three steps, by the processor time that it takes
// here and in PostgreSQL: on an idle machine that is the throughput of each processor.
func (o *options) recording(ctx context.Context, w *records) ([]row, error) {
	r, err := w.open(ctx, noChannels{})
	if err != nil {
		return nil, err
	}
	defer r.close()
	ids := newIDs()
	self := &process{cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	const batch = 64
	var perCore, rates, share []float64
	for i := range o.rounds {
		if err := errors.Join(r.empty(ctx), r.lives(ctx, ids, batch)); err != nil {
			return nil, err
		}
		before, err := self.cpu()
		if err != nil {
			return nil, err
		}
		database, err := w.processor()
		if err != nil {
			return nil, err
		}
		began, n := time.Now(), 0
		for ; time.Since(began) < o.turn; n += batch {
			if err := r.lives(ctx, ids, batch); err != nil {
				return nil, err
			}
		}
		took := time.Since(began)
		after, err := self.cpu()
		if err != nil {
			return nil, err
		}
		later, err := w.processor()
		if err != nil {
			return nil, err
		}
		used := after - before + later - database
		perCore = append(perCore, float64(n)/used.Seconds())
		rates = append(rates, float64(n)/took.Seconds())
		share = append(share, float64(later-database)/float64(used))
		progress("records of three steps, round %d of %d: %.0f/s, %.0f for each second of a processor, %.2f of it PostgreSQL's", i+1, o.rounds, rates[i], perCore[i], share[i])
	}
	return []row{{
		fmt.Sprintf("executions recorded, three steps, two durable commits, for each second of a processor (%.2f of it PostgreSQL's; %.0f/s in all, beside what else ran)", median(share), median(rates)),
		"—", fmt.Sprintf("%.0f (%.0f to %.0f)", median(perCore), minOf(perCore), maxOf(perCore)), "500 is the aim", median(perCore) >= 500,
	}}, nil
}
