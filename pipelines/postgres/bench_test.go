package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/postgres"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

const (
	batch   = 64 // executions that are accepted and ended together
	writers = 8  // at once
)

// atOnce has several do a batch.
func atOnce(b *testing.B, do func(i int) error) {
	b.Helper()
	var work sync.WaitGroup
	errs := make(chan error, batch)
	for w := range writers {
		work.Go(func() {
			for i := w; i < batch; i += writers {
				errs <- do(i)
			}
		})
	}
	work.Wait()
	for range batch {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
}

// lifecycle takes a batch through all that an execution of one segment is stored for:
// accepted, admitted, begun, claimed, sent and ended.
func lifecycle(b *testing.B, s *postgres.Store, name string) {
	b.Helper()
	ctx := b.Context()
	all := make([]*execution.Execution, batch)
	atOnce(b, func(i int) error {
		all[i] = &execution.Execution{
			ID: fmt.Sprintf("%s-%d", name, i), Tenant: "acme", Pipeline: "read", Version: 1, Digest: "sha256:1", Status: execution.Queued, Events: 1,
			Input: envelope.Value{JSON: json.RawMessage(`{"image":"` + strings.Repeat("x", 1000) + `"}`)}, Segments: []execution.Segment{{Status: execution.Queued}},
			Steps: []execution.Step{{Name: "detect", Status: execution.Queued}},
		}
		_, err := s.Accept(ctx, &record.Acceptance{
			Execution: all[i], Owner: "acme", Change: execution.Change{Events: []execution.Event{{Number: 1, Type: execution.ExecutionAccepted, Status: execution.Queued}}},
		})
		return err
	})
	if admitted, err := s.Admit(ctx, record.Admission{Most: batch, Hold: time.Minute}); err != nil || len(admitted) != batch {
		b.Fatalf("admitted %d, %v", len(admitted), err)
	}
	atOnce(b, func(i int) error {
		x := all[i]
		x.Status, x.Started, x.Deadline, x.Events = execution.Running, x.Created, x.Created.Add(time.Hour), 2
		return s.Save(ctx, x, &execution.Change{
			Put: []execution.Branch{
				{BranchID: execution.Whole(x.ID), What: execution.End, Due: x.Deadline},
				{BranchID: execution.BranchID{Execution: x.ID}, What: execution.Send, Due: x.Created},
			},
			Events: []execution.Event{{Number: 2, Type: execution.ExecutionStarted, Status: execution.Running, At: x.Created}},
		})
	})
	claimed, err := s.Claim(ctx, batch, time.Minute)
	if err != nil || len(claimed) != batch {
		b.Fatalf("claimed %d, %v", len(claimed), err)
	}
	for i := range claimed {
		claimed[i].Epoch++
		claimed[i].What, claimed[i].Due = execution.Lease, claimed[i].Due.Add(time.Minute)
	}
	if sent, err := s.Sent(ctx, claimed); err != nil || len(sent) != batch {
		b.Fatalf("sent %d, %v", len(sent), err)
	}
	atOnce(b, func(i int) error {
		x := all[i]
		x.Status, x.Finished, x.Events = execution.Succeeded, x.Created.Add(time.Second), 4
		x.Output = &envelope.Value{JSON: json.RawMessage(`{"text":"` + strings.Repeat("y", 300) + `"}`)}
		return s.Save(ctx, x, &execution.Change{
			Values: []execution.StepValue{{Step: "detect", Epoch: 1, Value: *x.Output}},
			Events: []execution.Event{
				{Number: 3, Type: execution.StepSucceeded, Step: "detect", Status: execution.Succeeded, At: x.Finished},
				{Number: 4, Type: execution.ExecutionSucceeded, Status: execution.Succeeded, At: x.Finished},
			},
		})
	})
}

// bare writes the same rows in two transactions each, and nothing else.
func bare(b *testing.B, pool *pgxpool.Pool, name string) {
	b.Helper()
	ctx := b.Context()
	input, output := `{"image":"`+strings.Repeat("x", 1000)+`"}`, `{"text":"`+strings.Repeat("y", 300)+`"}`
	now := time.Now().UnixMilli()
	atOnce(b, func(i int) error {
		return transaction(ctx, pool, fmt.Sprintf("%s-%d", name, i), []string{
			`INSERT INTO executions VALUES ($1, 'acme', 'acme', 'read', 1, 'sha256:1', 'queued', '', 0, 1, $2, 0, 0, 0, 0, 0, 0, '', '', '', '', '', '{"v":1}', false, $3, '', '', '', '', '')`,
			`INSERT INTO due VALUES ($1, -1, 0, 0, 'acme', 'acme', 'read', 1, 0, 0, 0, 0, 0, 'start', $2, $2, 0)`,
			`INSERT INTO events VALUES ($1, 1, 'accepted', '', 'queued', $2)`,
		}, []any{now, input}, []any{now}, []any{now})
	})
	atOnce(b, func(i int) error {
		return transaction(ctx, pool, fmt.Sprintf("%s-%d", name, i), []string{
			`UPDATE executions SET status = 'succeeded', outcome = 'succeeded', revision = 3, finished_at = $2, output = $3 WHERE id = $1`,
			`DELETE FROM due WHERE execution = $1`,
			`INSERT INTO outputs VALUES ($1, 'detect', 0, 1, $2, '', '')`,
			`INSERT INTO events VALUES ($1, 2, 'started', '', 'running', $2), ($1, 3, 'step', 'detect', 'succeeded', $2), ($1, 4, 'succeeded', '', 'succeeded', $2)`,
		}, []any{now, output}, nil, []any{output}, []any{now})
	})
}

func transaction(ctx context.Context, pool *pgxpool.Pool, id string, statements []string, args ...[]any) error {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	for i, statement := range statements {
		if _, err := tx.Exec(ctx, statement, append([]any{id}, args[i]...)...); err != nil {
			return err
		}
	}
	return tx.Commit(ctx)
}

// BenchmarkExecution compares all that is stored of an execution, from when it is
// accepted to when it has ended, with a bare loop that writes the same rows in two
// transactions, in turns on one server that syncs its disk. The ratio is of the times.
func BenchmarkExecution(b *testing.B) {
	s, pool := benched(b)
	var ours, theirs time.Duration
	for i := range b.N {
		start := time.Now()
		lifecycle(b, s, fmt.Sprintf("ours%d", i))
		middle := time.Now()
		bare(b, pool, fmt.Sprintf("bare%d", i))
		ours += middle.Sub(start)
		theirs += time.Since(middle)
	}
	n := float64(b.N * batch)
	b.ReportMetric(ours.Seconds()*1e6/n, "µs/execution")
	b.ReportMetric(theirs.Seconds()*1e6/n, "µs/bare")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "×bare")
}

// benched is a store, and other connections to its database.
func benched(b *testing.B) (*postgres.Store, *pgxpool.Pool) {
	b.Helper()
	ctx := b.Context()
	server, err := postgrestest.Run(ctx)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close() })
	name, err := server.NewDatabase(ctx, "")
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Exec(ctx, "postgres", "ALTER SYSTEM SET fsync = on", "SELECT pg_reload_conf()"); err != nil {
		b.Fatal(err)
	}
	s, err := postgres.Open(ctx, server.URL(name))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	pool, err := pgxpool.New(ctx, server.URL(name)+"&search_path=pipelines&pool_max_conns=8")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	return s, pool
}

// BenchmarkWithFinished compares what is asked most of a database that has 100,000
// executions which have ended with the same of one that has none.
func BenchmarkWithFinished(b *testing.B) {
	s, pool := benched(b)
	ctx := b.Context()
	lifecycle(b, s, "x")
	waiting := &execution.Execution{ID: "later", Tenant: "acme", Pipeline: "read", Version: 1, Status: execution.Queued, RunAt: time.Now().Add(time.Hour)}
	if _, err := s.Accept(ctx, &record.Acceptance{Execution: waiting, Owner: "acme"}); err != nil {
		b.Fatal(err)
	}
	read := "read"
	asked := []struct {
		name string
		do   func() error
	}{
		{"load", func() error { _, err := s.Load(ctx, "x-1"); return err }},
		{"list", func() error { _, err := s.List(ctx, record.Query{Tenant: "acme", Limit: 20}); return err }},
		{"list-of-pipeline", func() error {
			_, err := s.List(ctx, record.Query{Tenant: "acme", Pipeline: &read, Limit: 20})
			return err
		}},
		{"list-running", func() error {
			_, err := s.List(ctx, record.Query{Tenant: "acme", Status: execution.Running, Limit: 20})
			return err
		}},
		{"claim", func() error { _, err := s.Claim(ctx, 100, time.Minute); return err }},
		{"admit", func() error { _, err := s.Admit(ctx, record.Admission{Most: 100, Hold: time.Minute}); return err }},
		{"waiting", func() error { _, err := s.Waiting(ctx, "acme", 1000); return err }},
		{"expired", func() error { _, err := s.Expired(ctx, 100); return err }},
	}
	const rounds = 200
	measure := func() []time.Duration {
		times := make([]time.Duration, len(asked))
		for i, a := range asked {
			for n := range rounds + 10 {
				start := time.Now()
				if err := a.do(); err != nil {
					b.Fatal(err)
				}
				if n >= 10 { // connections and plans are there
					times[i] += time.Since(start)
				}
			}
		}
		return times
	}
	before := measure()
	_, err := pool.Exec(ctx, `INSERT INTO executions SELECT 'f' || n, 'acme', 'acme', 'read', 1, 'sha256:1', o.s, o.s, 0, 3, 1700000000000 + n, 0, 0, 0, 0, 3600000, 9000000000000, '', '', '', '', '',
		'{"v":1,"segments":[],"steps":[],"events":4}', false, '{}', '', '', '', '', '' FROM generate_series(1, 100000) n, LATERAL (SELECT CASE n % 3 WHEN 0 THEN 'failed' ELSE 'succeeded' END AS s) o`)
	if err != nil {
		b.Fatal(err)
	}
	for _, statement := range []string{"VACUUM ANALYZE", "CHECKPOINT"} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			b.Fatal(err)
		}
	}
	after := measure()
	for i, a := range asked {
		b.ReportMetric(after[i].Seconds()/before[i].Seconds(), "×"+a.name)
		b.ReportMetric(after[i].Seconds()*1e6/rounds, "µs/"+a.name)
	}
}
