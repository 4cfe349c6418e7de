// Package historytest starts executions of a pipeline while a test kills what runs
// them, and holds what came of them to what was promised: each one that was accepted
// finishes or is reported failed, none is recorded twice, and nothing hangs.
//
// It knows a platform by its API alone, local or in a cluster. Nothing but tests
// imports it.
package historytest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
)

// Run is the executions of one pipeline, of which nobody else starts any.
type Run struct {
	URL      string // of the gateway
	Key      string // of one tenant
	Pipeline string
	Steps    []string // the pipeline's, none of which is skipped

	mu       sync.Mutex
	accepted map[string]string // ids by the idempotency key that they were started with
	ended    int
}

const (
	pause     = 100 * time.Millisecond // between two tries
	perCall   = 30 * time.Second
	maxAnswer = 4 << 20
)

// Start has an execution accepted under an idempotency key, and tries again while the
// platform cannot be reached or says that it may come again, until ctx ends.
func (r *Run) Start(ctx context.Context, key, input string) error {
	var x contract.Execution
	err := r.insist(ctx, http.MethodPost, contract.PathOf(contract.StartPath, r.Pipeline), key, []byte(input), &x)
	if err != nil {
		return fmt.Errorf("start %s: %w", key, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.accepted == nil {
		r.accepted = map[string]string{}
	}
	if before := r.accepted[key]; before != "" && before != x.ID {
		return fmt.Errorf("key %s is of %s, and of %s", key, before, x.ID)
	}
	r.accepted[key] = x.ID
	return nil
}

// Work starts an execution for each number below n, under "key-NUMBER" and with what
// input is of it, and waits for each to end, until ctx ends: so many callers do so at
// once, each for a few executions at a time.
func (r *Run) Work(ctx context.Context, n, callers int, input func(number int) string) error {
	const atOnce = 3
	numbers := make(chan int, n)
	for i := range n {
		numbers <- i
	}
	close(numbers)
	failures := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for failures[i] == nil && len(numbers) > 0 {
				var keys []string
				for range atOnce {
					if number, ok := <-numbers; ok && failures[i] == nil {
						keys = append(keys, key(number))
						failures[i] = r.Start(ctx, key(number), input(number))
					}
				}
				for _, key := range keys {
					failures[i] = errors.Join(failures[i], r.wait(ctx, key))
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(failures...)
}

func key(number int) string { return "key-" + strconv.Itoa(number) }

// Number is that of an execution that Work started under a key.
func Number(key string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(key, "key-"))
	return n
}

// wait waits until the execution of a key has ended.
func (r *Run) wait(ctx context.Context, key string) error {
	r.mu.Lock()
	id := r.accepted[key]
	r.mu.Unlock()
	if id == "" { // its start failed, which is reported
		return nil
	}
	if err := r.events(ctx, id, &history{}); err != nil {
		return fmt.Errorf("wait for %s: %w", key, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended++
	return nil
}

// Ended is how many that Work started have ended.
func (r *Run) Ended() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// IDs are those of the executions that were accepted.
func (r *Run) IDs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Values(r.accepted))
}

// Tally is what became of executions.
type Tally struct{ Succeeded, Failed, Repeated int }

// Check waits until every execution has ended, or ctx has, and returns what is wrong
// with their history. want is the output of the one of a key, as JSON.
func (r *Run) Check(ctx context.Context, want func(key string) string) (Tally, []error) {
	r.mu.Lock()
	accepted := maps.Clone(r.accepted)
	r.mu.Unlock()
	var tally Tally
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(accepted)) {
		h, err := r.history(ctx, accepted[key])
		if err != nil {
			return tally, append(faults, fmt.Errorf("execution %s of key %s, after %+v: %w", accepted[key], key, tally, err))
		}
		for _, fault := range h.faults(r.Steps, want(key)) {
			faults = append(faults, fmt.Errorf("execution %s of key %s: %w", accepted[key], key, fault))
		}
		tally.add(&h.execution)
	}
	all, err := r.list(ctx)
	if err != nil {
		return tally, append(faults, err)
	}
	return tally, append(faults, unequal(accepted, all)...)
}

func (t *Tally) add(x *contract.Execution) {
	if x.Status == contract.Succeeded {
		t.Succeeded++
	} else {
		t.Failed++
	}
	if slices.ContainsFunc(x.Steps, func(s contract.Step) bool { return s.Attempts > 1 }) {
		t.Repeated++
	}
}

// unequal are the executions that are listed and were not accepted, or the other way
// round: of two for one key, one is.
func unequal(accepted map[string]string, listed []string) (faults []error) {
	times := map[string]int{}
	for _, id := range listed {
		times[id]++
	}
	for key, id := range accepted {
		if times[id] != 1 {
			faults = append(faults, fmt.Errorf("execution %s of key %s is listed %d times", id, key, times[id]))
		}
		delete(times, id)
	}
	for id := range times {
		faults = append(faults, fmt.Errorf("execution %s is listed, and no key has it", id))
	}
	return faults
}

// history reads what happened to an execution, once it has ended.
func (r *Run) history(ctx context.Context, id string) (*history, error) {
	h := &history{}
	if err := r.events(ctx, id, h); err != nil {
		return nil, fmt.Errorf("after %d events: %w", len(h.events), err)
	}
	if err := r.insist(ctx, http.MethodGet, contract.PathOf(contract.ExecutionPath, id), "", nil, &h.execution); err != nil {
		return nil, err
	}
	var letters contract.DeadLetters
	err := r.insist(ctx, http.MethodGet, contract.DeadLettersPath+"?"+url.Values{contract.ParamExecution: {id}}.Encode(), "", nil, &letters)
	h.letters = letters.DeadLetters
	return h, err
}

// list are the ids of all executions of the pipeline.
func (r *Run) list(ctx context.Context) (ids []string, err error) {
	query := url.Values{contract.ParamPipeline: {r.Pipeline}, contract.ParamLimit: {fmt.Sprint(contract.MaxLimit)}}
	for {
		var page contract.Executions
		if err := r.insist(ctx, http.MethodGet, contract.ExecutionsPath+"?"+query.Encode(), "", nil, &page); err != nil {
			return nil, err
		}
		for i := range page.Executions {
			ids = append(ids, page.Executions[i].ID)
		}
		if page.NextCursor == "" {
			return ids, nil
		}
		query.Set(contract.ParamCursor, page.NextCursor)
	}
}

// insist calls until the platform answers with a JSON value.
func (r *Run) insist(ctx context.Context, method, path, key string, body []byte, into any) error {
	for {
		again, err := r.call(ctx, method, path, key, body, into)
		if err == nil || !again {
			return err
		}
		if err := rest(ctx, err); err != nil {
			return err
		}
	}
}

// rest waits before another try after a failure, which it returns where ctx ends first.
func rest(ctx context.Context, after error) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), after)
	case <-timer.C:
		return nil
	}
}

func (r *Run) call(ctx context.Context, method, path, key string, body []byte, into any) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, perCall)
	defer cancel()
	res, err := r.send(ctx, method, path, http.Header{contract.IdempotencyKeyHeader: {key}}, body)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return true, err
	case res.StatusCode != http.StatusOK && res.StatusCode != http.StatusAccepted:
		return mayComeAgain(res.StatusCode), fmt.Errorf("%s %s: %d %.500s", method, path, res.StatusCode, text)
	}
	return false, json.Unmarshal(text, into)
}

// mayComeAgain reports whether a refusal is of now, and of nothing else.
func mayComeAgain(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

func (r *Run) send(ctx context.Context, method, path string, h http.Header, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range h {
		if values[0] != "" {
			req.Header[name] = values
		}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("X-Api-Key", r.Key)
	return http.DefaultClient.Do(req)
}
