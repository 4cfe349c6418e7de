package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
)

// manyFinished is how many executions have ended in the full database.
const manyFinished = 100_000

// fewFinished is how many have in the other one: two pages.
const fewFinished = 64

// besideFinished holds what callers ask of executions, in a database of many that have
// ended, against the same in one of few.
func (o *options) besideFinished(ctx context.Context, w *records) (rows []row, err error) {
	var all [2]*recorded // the one with few first
	for i := range all {
		if all[i], err = w.open(ctx, noChannels{}); err != nil {
			return nil, err
		}
		defer all[i].close()
		if err := all[i].lives(ctx, &ids{prefix: "one"}, fewFinished); err != nil {
			return nil, err
		}
	}
	progress("%d finished executions", manyFinished)
	for _, statement := range []string{
		fmt.Sprintf(`INSERT INTO executions SELECT 'f' || n, tenant, owner, pipeline, version, digest, s, s, priority, 3, 1700000000000 + n, started_at, finished_at, run_at, deadline,
			retention, 9000000000000, replay_of, from_step, traceparent, labels, error, state, erased, input, input_claim, event, headers, output, output_claim
			FROM (SELECT * FROM executions LIMIT 1) x, generate_series(1, %d) n, LATERAL (SELECT CASE n %% 3 WHEN 0 THEN 'failed' ELSE 'succeeded' END AS s) o`, manyFinished),
		"VACUUM ANALYZE", "CHECKPOINT",
	} {
		if _, err := all[1].pool.Exec(ctx, statement); err != nil {
			return nil, err
		}
	}
	if _, err := all[0].pool.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return nil, err
	}
	for _, asked := range []struct{ what, path string }{
		{"the status of an execution", contract.PathOf(contract.ExecutionPath, "one-000000001")},
		{"a page of 20 executions", contract.ExecutionsPath + "?limit=20"},
		{"the same of a pipeline", contract.ExecutionsPath + "?limit=20&pipeline=chained"},
		{"the same, those that run (none)", contract.ExecutionsPath + "?limit=20&status=running"},
	} {
		var ratio []float64
		var last [2]time.Duration
		for range o.rounds {
			var took [2][]time.Duration
			for began, n := time.Now(), 0; time.Since(began) < o.turn || n < 20; n++ { // each in its turn
				for i, r := range all {
					at := time.Now()
					if status, body := r.request(ctx, http.MethodGet, asked.path, ""); status != http.StatusOK {
						return nil, fmt.Errorf("%s: expected 200, got %d: %.300s", asked.what, status, body)
					}
					if n >= 10 { // connections and plans are there
						took[i] = append(took[i], time.Since(at))
					}
				}
			}
			last = [2]time.Duration{median(took[0]), median(took[1])}
			ratio = append(ratio, last[1].Seconds()/last[0].Seconds())
		}
		progress("%s beside %d finished executions: %s", asked.what, manyFinished, spread(ratio))
		rows = append(rows, row{
			fmt.Sprintf("%s, beside %d that have ended: median (%d µs)", asked.what, manyFinished, last[1].Microseconds()),
			fmt.Sprintf("beside %d", fewFinished), spread(ratio), "≤ 1.20", rounded(ratio) <= 1.20,
		})
	}
	return rows, nil
}
