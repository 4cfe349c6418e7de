package service_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

const chain = `
  steps:
    - {name: first, function: one, input: 'input', retry: {attempts: 3, backoff: 10ms}}
    - {name: second, function: two, input: 'steps.first', retry: {attempts: 3, backoff: 10ms}}
    - {name: third, function: three, input: '{"all": steps.second, "input": input}', retry: {attempts: 3, backoff: 10ms}}
  output: 'steps.third'
  headers: [X-Case-Id]
`

// chained makes the functions of a chain.
func chained(p *platform) {
	for _, name := range []string{"one", "two", "three"} {
		p.function(name, echo(name))
	}
}

const chainOutput = `{"three":{"all":{"two":{"one":{"a":1}}},"input":{"a":1}}}`

func TestAChainRunsFromChannelToFunctionToChannel(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	v := p.register("chain", chain)
	p.begin(v, "x1", `{"a": 1}`)
	x := p.ended("x1")
	if got := p.output(x); got != chainOutput {
		t.Errorf("output %s", got)
	}
	for _, s := range x.Steps {
		if s.Status != execution.Succeeded || s.Attempts != 1 || s.Breaks != 0 || s.StartedAt.IsZero() || s.FinishedAt.IsZero() || !strings.Contains(s.Model, "@1;digest=") {
			t.Errorf("step %+v", s)
		}
	}
	got, want := p.events("x1"), "execution queued, execution running, first running, first succeeded, second running, second succeeded, third running, third succeeded, execution succeeded"
	if got != want {
		t.Errorf("events: %s", got)
	}
	if n := len(p.seen.of(compile.ReplyPath)); n != 1 {
		t.Errorf("%d replies", n)
	}
	p.functions.mu.Lock()
	defer p.functions.mu.Unlock()
	for _, h := range p.functions.headers {
		if h.Get("Ce-Xcaseid") != "case%207" || h.Get("Ce-Executionid") != "x1" {
			t.Errorf("a step was asked with %v", h)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	v := p.register("chain", chain)
	const n = 40
	var ids []string
	for i := range n {
		id := "x" + strings.Repeat("a", i+1)
		ids = append(ids, id)
		p.begin(v, id, `{"a": 1}`)
	}
	for _, id := range ids {
		if got := p.output(p.ended(id)); got != chainOutput {
			t.Errorf("%s: %s", id, got)
		}
	}
}

func TestAStepIsTriedAgainOnItsOwnChannel(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	var ones, twos atomic.Int32
	p.function("one", func(ctx context.Context, input json.RawMessage) (any, error) {
		ones.Add(1)
		return echo("one")(ctx, input)
	})
	p.function("two", func(ctx context.Context, input json.RawMessage) (any, error) {
		if n := twos.Add(1); n < 3 {
			return nil, problem.New(problem.Overloaded, "try %d", n)
		}
		return echo("two")(ctx, input)
	})
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	x := p.ended("x1")
	if got := p.output(x); got != chainOutput {
		t.Errorf("output %s", got)
	}
	if ones.Load() != 1 || twos.Load() != 3 || x.Steps[1].Attempts != 3 {
		t.Errorf("one ran %d times, two %d, and is %+v", ones.Load(), twos.Load(), x.Steps[1])
	}
}

func TestWhatBreaksIsTriedAgain(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	var n atomic.Int32
	p.raw("one", func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			http.Error(w, "no healthy upstream", http.StatusServiceUnavailable) // a proxy's
			return
		}
		p.function("one", echo("one"))
		p.functions.mu.Lock()
		server := p.functions.servers["one"]
		p.functions.mu.Unlock()
		server.ServeHTTP(w, r)
	})
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	x := p.ended("x1")
	if got := p.output(x); got != chainOutput || x.Steps[0].Breaks != 1 || x.Steps[0].Attempts != 1 {
		t.Errorf("output %s, %+v", got, x.Steps[0])
	}
}

func TestWhatIsNotTriedAgainIsADeadLetter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err      error
		attempts int
		code     problem.Code
		status   int
	}{
		"a fault of the input":      {problem.Invalid("image", "expected an image"), 1, problem.InvalidArgument, 400},
		"one that does not go":      {problem.New(problem.Unavailable, "not today"), 3, problem.Unavailable, 503},
		"a fault of the function's": {problem.New(problem.ModelFailed, "it fails"), 3, problem.ModelFailed, 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			chained(p)
			p.function("two", func(context.Context, json.RawMessage) (any, error) { return nil, c.err })
			p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
			x := p.ended("x1")
			if x.Status != execution.Failed || x.Error == nil || x.Error.Code != string(c.code) || x.Error.Status != c.status {
				t.Errorf("it is %s: %+v", x.Status, x.Error)
			}
			page, err := p.store.DeadLetters(t.Context(), record.DeadQuery{Tenant: tenant, Limit: 10})
			if err != nil || len(page.Letters) != 1 {
				t.Fatalf("%d dead letters, %v", len(page.Letters), err)
			}
			if d := page.Letters[0]; d.Step != "second" || d.Attempts != c.attempts || d.Error.Code != string(c.code) || d.Execution != "x1" {
				t.Errorf("dead letter %+v", d)
			}
			var statuses []execution.Status
			for _, s := range x.Steps {
				statuses = append(statuses, s.Status)
			}
			if diff := cmp.Diff([]execution.Status{execution.Succeeded, execution.Failed, execution.Cancelled}, statuses); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestAnAnswerWithoutAnEventIsNotWaitedFor holds that a chain which ends without a word
// runs again at once, instead of when its lease ends.
func TestAnAnswerWithoutAnEventIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	p.functions.mu.Lock()
	good := p.functions.servers["two"]
	p.functions.mu.Unlock()
	var n atomic.Int32
	p.raw("two", func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		good.ServeHTTP(w, r)
	})
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	x := p.ended("x1")
	if got := p.output(x); got != chainOutput || n.Load() != 2 || x.Steps[0].Breaks != 1 {
		t.Errorf("output %s after %d runs, %+v", got, n.Load(), x.Steps)
	}
}

// TestDamagedDataRunsAgain holds that what was cut on its way is not taken for what was
// sent.
func TestDamagedDataRunsAgain(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	p.functions.mu.Lock()
	good := p.functions.servers["one"]
	p.functions.mu.Unlock()
	var n atomic.Int32
	p.raw("one", func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > 1 {
			good.ServeHTTP(w, r)
			return
		}
		cut := &cutting{ResponseWriter: w}
		good.ServeHTTP(cut, r)
	})
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	x := p.ended("x1")
	if got := p.output(x); got != chainOutput || n.Load() != 2 || x.Steps[0].Breaks+x.Steps[1].Breaks != 1 {
		t.Errorf("output %s after %d runs, %+v", got, n.Load(), x.Steps)
	}
}

// cutting leaves out the last byte of what is written.
type cutting struct{ http.ResponseWriter }

func (c *cutting) Write(p []byte) (int, error) {
	c.Header().Del("Content-Length")
	if len(p) == 0 {
		return 0, nil
	}
	_, err := c.ResponseWriter.Write(p[:len(p)-1])
	return len(p), err
}

const diamond = `
  steps:
    - {name: begin, function: one, input: 'input'}
    - {name: left, function: two, needs: [begin], input: 'steps.begin'}
    - {name: right, function: three, needs: [begin], input: 'steps.begin', when: 'input.right'}
    - {name: join, function: four, needs: [left, right], input: '[steps.left, steps.right]'}
  output: '{"join": steps.join}'
`

func TestAForkAndAJoin(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	p.function("four", echo("four"))
	v := p.register("diamond", diamond)
	p.begin(v, "both", `{"right": true}`)
	p.begin(v, "left", `{"right": false}`)
	if got := p.output(p.ended("both")); got != `{"join":{"four":[{"two":{"one":{"right":true}}},{"three":{"one":{"right":true}}}]}}` {
		t.Errorf("both: %s", got)
	}
	x := p.ended("left")
	if got := p.output(x); got != `{"join":{"four":[{"two":{"one":{"right":false}}},null]}}` || x.Step("right").Status != execution.Skipped {
		t.Errorf("left: %s, %+v", got, x.Step("right"))
	}
}

func TestLargeValuesAreClaimChecks(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	p.begin(p.register("chain", chain), "x1", large(100_000))
	want := `{"three":{"all":{"two":{"one":` + large(100_000) + `}},"input":` + large(100_000) + `}}`
	x := p.ended("x1")
	if got := p.output(x); got != want || x.Output.Claim == nil {
		t.Errorf("%d bytes of output, want %d; %.100s", len(got), len(want), got)
	}
	for _, key := range p.objects.Keys() {
		if !strings.HasPrefix(key, "payloads/acme/x1/") {
			t.Errorf("stored at %s", key)
		}
	}
	if err := p.now().Values().Erase(t.Context(), tenant, "x1"); err != nil || len(p.objects.Keys()) > 0 {
		t.Errorf("erased: %v; left %v", err, p.objects.Keys())
	}
}

const each = `
  steps:
    - {name: begin, function: one, input: 'input'}
    - name: each
      function: two
      forEach: {items: 'steps.begin.one', max: 50, at_once: 4, join: JOIN}
      input: '{"item": item, "index": index}'
      retry: {attempts: 1}
  output: 'steps.each'
`

func TestForEach(t *testing.T) {
	t.Parallel()
	double := func(_ context.Context, input json.RawMessage) (any, error) {
		var in struct{ Item, Index int }
		if err := json.Unmarshal(input, &in); err != nil {
			return nil, err
		}
		if in.Item < 0 {
			return nil, problem.Invalid("item", "expected none below zero")
		}
		return 2*in.Item + in.Index, nil
	}
	list := func(n int) string {
		items := make([]int, n)
		for i := range items {
			items[i] = i
		}
		text, _ := json.Marshal(items)
		return string(text)
	}
	for name, c := range map[string]struct {
		join, input string
		want        string
		status      execution.Status
	}{
		"all":                         {"all", `[1, 2, 3]`, `[2,5,8]`, execution.Succeeded},
		"all of many":                 {"all", list(40), "", execution.Succeeded},
		"all of none":                 {"all", `[]`, `[]`, execution.Succeeded},
		"all, and one fails":          {"all", `[1, -2, 3]`, "", execution.Failed},
		"any":                         {"any", `[-1, 5, -3]`, `11`, execution.Succeeded},
		"any of none":                 {"any", `[]`, `null`, execution.Succeeded},
		"any, and all fail":           {"any", `[-1, -2]`, "", execution.Failed},
		"best effort":                 {"best-effort", `[1, -2, 3]`, `[2,null,8]`, execution.Succeeded},
		"best effort, and all fail":   {"best-effort", `[-1, -2]`, `[null,null]`, execution.Succeeded},
		"more than max":               {"all", list(51), "", execution.Failed},
		"what is no list":             {"all", `7`, "", execution.Failed},
		"items that are claim checks": {"best-effort", `[` + large(70_000) + `]`, `[null]`, execution.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.function("one", echo("one"))
			p.function("two", double)
			p.begin(p.register("each", strings.Replace(each, "JOIN", c.join, 1)), "x1", c.input)
			x := p.ended("x1")
			if x.Status != c.status {
				t.Fatalf("it is %s: %+v", x.Status, x.Error)
			}
			if c.want != "" {
				if got := p.output(x); got != c.want {
					t.Errorf("output %s", got)
				}
			}
		})
	}
}

func TestACancelledExecutionStopsItsStep(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	running, stopped := make(chan struct{}), make(chan struct{})
	p.function("two", func(ctx context.Context, _ json.RawMessage) (any, error) {
		close(running)
		<-ctx.Done()
		close(stopped)
		return nil, ctx.Err()
	})
	p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
	<-running
	if err := p.now().Decider().Cancel(t.Context(), "other", "x1"); err == nil {
		t.Error("another tenant cancelled it")
	}
	if err := p.now().Decider().Cancel(t.Context(), tenant, "x1"); err != nil {
		t.Fatal(err)
	}
	x := p.ended("x1")
	<-stopped
	if x.Status != execution.Cancelled || x.Step("third").Status != execution.Cancelled {
		t.Errorf("it is %s: %+v", x.Status, x.Steps)
	}
	if err := p.now().Decider().Cancel(t.Context(), tenant, "x1"); problem.CodeOf(err) != problem.Conflict {
		t.Errorf("again: %v", err)
	}
}

func TestADeadlineEndsIt(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	stopped := make(chan struct{})
	p.function("two", func(ctx context.Context, _ json.RawMessage) (any, error) {
		<-ctx.Done()
		close(stopped)
		return nil, ctx.Err()
	})
	p.begin(p.register("chain", "  timeout: 1s"+chain), "x1", `{"a": 1}`)
	x := p.ended("x1")
	<-stopped
	if x.Status != execution.Failed || x.Error.Code != string(problem.DeadlineExceeded) {
		t.Errorf("it is %s: %+v", x.Status, x.Error)
	}
}

func TestAStepsTimeoutIsRetried(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	var n atomic.Int32
	p.function("one", func(ctx context.Context, input json.RawMessage) (any, error) {
		if n.Add(1) == 1 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return echo("one")(ctx, input)
	})
	p.begin(p.register("slow", `
  steps: [{name: first, function: one, input: 'input', timeout: 100ms, retry: {attempts: 2, backoff: 10ms}}]
  output: 'steps.first'
`), "x1", `1`)
	x := p.ended("x1")
	if got := p.output(x); got != `{"one":1}` || x.Steps[0].Attempts != 2 {
		t.Errorf("%s, %+v", got, x.Steps[0])
	}
}

func TestARestartInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, graceful := range map[string]bool{"stopped": true, "killed": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			chained(p)
			var n atomic.Int32
			running, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			free := func() { once.Do(func() { close(release) }) }
			t.Cleanup(free)
			p.function("two", func(ctx context.Context, input json.RawMessage) (any, error) {
				if n.Add(1) == 1 {
					close(running)
					if graceful {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					<-release
				}
				return echo("two")(ctx, input)
			})
			p.begin(p.register("chain", chain), "x1", `{"a": 1}`)
			<-running
			p.until("x1", func(x *execution.Execution) bool { return x.Step("second").Status == execution.Running }) // by its tap
			old := p.now()
			if graceful {
				p.stop()
				if err := p.store.Close(); err != nil {
					t.Fatal(err)
				}
				p.open()
			}
			p.run(serviceConfig()) // of a killed one nothing was said
			x := p.ended("x1")
			if got := p.output(x); got != chainOutput {
				t.Errorf("output %s", got)
			}
			if x.Steps[0].Breaks+x.Steps[1].Breaks != 1 {
				t.Errorf("steps %+v", x.Steps)
			}
			if !graceful { // what was on its way answers at last
				free()
				p.seen.wait(compile.ReplyPath, 2)
				if got := p.counted("late_answers_total"); got != 1 {
					t.Errorf("%v late answers", got)
				}
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				if err := old.Stop(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
