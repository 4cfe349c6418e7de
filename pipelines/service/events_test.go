package service_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/service"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/sign"
)

func serviceConfig() service.Config { return service.Config{} }

// TestForgedEventsChangeNothing holds that an event without a good ticket of the
// execution is refused, of every kind, and that one with it counts once.
func TestForgedEventsChangeNothing(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	chained(p)
	running, release := make(chan struct{}), make(chan struct{})
	p.function("three", func(ctx context.Context, input json.RawMessage) (any, error) {
		close(running)
		<-release
		return echo("three")(ctx, input)
	})
	v := p.register("chain", chain)
	p.begin(v, "x1", `{"a": 1}`)
	<-running
	dir := t.TempDir()
	other, err := sign.CreateKeys(filepath.Join(dir, "key"), filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	good := ticket.Ticket{Tenant: tenant, Execution: "x1", Pipeline: v.Digest, Epoch: 1, Deadline: time.Now().Add(time.Hour)}
	with := func(change func(*ticket.Ticket)) string {
		changed := good
		change(&changed)
		return p.signer.Ticket(changed)
	}
	data, err := (&envelope.Envelope{
		Input: envelope.Value{JSON: json.RawMessage(`null`)},
		Steps: map[string]envelope.Value{"first": {JSON: json.RawMessage(`1`)}, "second": {JSON: json.RawMessage(`1`)}, "third": {JSON: json.RawMessage(`"forged"`)}},
	}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ticket string
		want   int
	}{
		"none":                           {"", http.StatusForbidden},
		"garbage":                        {"a.b.c", http.StatusForbidden},
		"of another key":                 {ticket.NewSigner(other).Ticket(good), http.StatusForbidden},
		"changed":                        {with(func(*ticket.Ticket) {}) + "A", http.StatusForbidden},
		"of another tenant":              {with(func(t *ticket.Ticket) { t.Tenant = "evil" }), http.StatusForbidden},
		"of another pipeline":            {with(func(t *ticket.Ticket) { t.Pipeline = "sha256:" + strings.Repeat("0", 64) }), http.StatusForbidden},
		"of another execution":           {with(func(t *ticket.Ticket) { t.Execution = "x2" }), http.StatusAccepted},
		"of an old epoch":                {with(func(t *ticket.Ticket) { t.Epoch = 0 }), http.StatusAccepted},
		"of a segment that there is not": {with(func(t *ticket.Ticket) { t.Segment = 9 }), http.StatusAccepted},
	} {
		for _, path := range []string{compile.ReplyPath, compile.DeadPath, compile.TapPath} {
			h := stamped(http.Header{"Ce-Specversion": {"1.0"}, "Ce-Ticket": {c.ticket}}, data)
			want := c.want
			if path == compile.TapPath && strings.HasPrefix(name, "of another ") && name != "of another key" {
				want = http.StatusAccepted // it is recorded later, or not
			}
			if got := p.post(path, h, data); got != want {
				t.Errorf("%s, %s: %d, want %d", name, path, got, want)
			}
		}
	}
	for _, path := range []string{"/events/", "/", "/events/reply/x"} {
		if got := p.post(path, http.Header{}, nil); got != http.StatusNotFound {
			t.Errorf("%s: %d", path, got)
		}
	}
	close(release)
	x := p.ended("x1")
	if got := p.output(x); got != chainOutput {
		t.Errorf("output %s", got)
	}
	replies := p.seen.of(compile.ReplyPath)
	if len(replies) != 1 || replies[0].status != http.StatusAccepted {
		t.Fatalf("replies: %+v", replies)
	}

	if got := p.post(compile.ReplyPath, replies[0].header, replies[0].data); got != http.StatusAccepted {
		t.Errorf("the same again: %d", got)
	}
	if again := p.ended("x1"); again.Revision != x.Revision || p.output(again) != chainOutput {
		t.Errorf("the same again changed it: %+v", again)
	}
}

func TestAReplyThatIsDamagedRunsAgain(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	var n atomic.Int32
	running, release := make(chan struct{}), make(chan struct{})
	p.function("one", func(ctx context.Context, input json.RawMessage) (any, error) {
		if n.Add(1) == 1 {
			close(running)
			<-release
		}
		return echo("one")(ctx, input)
	})
	v := p.register("single", "\n  steps: [{name: first, function: one, input: 'input', retry: {backoff: 10ms}}]\n  output: 'steps.first'\n")
	p.begin(v, "x1", `1`)
	<-running
	good := p.signer.Ticket(ticket.Ticket{Tenant: tenant, Execution: "x1", Pipeline: v.Digest, Epoch: 1, Deadline: time.Now().Add(time.Hour)})
	h := stamped(http.Header{"Ce-Ticket": {good}}, []byte("all of it"))
	if got := p.post(compile.ReplyPath, h, []byte("a part")); got != http.StatusAccepted {
		t.Errorf("damaged: %d", got)
	}
	x := p.ended("x1")
	close(release)
	if got := p.output(x); got != `{"one":1}` || x.Steps[0].Breaks != 1 || n.Load() != 2 {
		t.Errorf("%s after %d runs: %+v", got, n.Load(), x.Steps[0])
	}
}

const uri = `
  steps:
    - {name: ask, uri: 'URI', input: '{"q": input}', retry: {attempts: 3, backoff: 10ms}, timeout: 1s}
    - {name: then, function: one, input: 'steps.ask'}
  output: 'steps.then'
  headers: [X-Case-Id]
`

func TestAStepThatIsNotOurs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(n int32, w http.ResponseWriter, r *http.Request)
		want   string
		code   problem.Code
		calls  int32
	}{
		"answers JSON": {func(_ int32, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			var in json.RawMessage
			_ = json.NewDecoder(r.Body).Decode(&in)
			_ = json.NewEncoder(w).Encode(map[string]any{"in": in, "case": r.Header.Get("X-Case-Id"), "ticket": r.Header.Get("Ce-Ticket"), "id": r.Header.Get("Ce-Id")})
		}, `{"one":{"case":"case 7","id":"x1.ask.0.1","in":{"q":7},"ticket":""}}`, "", 1},
		"answers nothing": {func(_ int32, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, `{"one":null}`, "", 1},
		"answers bytes": {func(_ int32, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write([]byte("png"))
		}, `{"one":{"content_type":"image/png","ref":"s3://bucket/payloads/acme/x1/ask-`, "", 1},
		"fails twice": {func(n int32, w http.ResponseWriter, _ *http.Request) {
			if n < 3 {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			w.WriteHeader(http.StatusOK)
		}, `{"one":null}`, "", 3},
		"refuses": {func(_ int32, w http.ResponseWriter, _ *http.Request) {
			problem.Write(w, problem.Invalid("q", "expected another"))
		}, "", problem.InvalidArgument, 1},
		"breaks once": {func(n int32, _ http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				panic(http.ErrAbortHandler)
			}
		}, `{"one":null}`, "", 2},
		"leads inside": {func(_ int32, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, "", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t)
			p.function("one", echo("one"))
			var n atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if key := r.Header.Get("Idempotency-Key"); key != "x1.ask.0" {
					t.Errorf("it is asked with the key %q, which is to be the same at each attempt", key)
				}
				c.answer(n.Add(1), w, r)
			}))
			t.Cleanup(server.Close)
			p.begin(p.register("asks", strings.Replace(uri, "URI", server.URL+"/x", 1)), "x1", `7`)
			x := p.ended("x1")
			if n.Load() != c.calls {
				t.Errorf("called %d times", n.Load())
			}
			if c.want == "" {
				if x.Status != execution.Failed || c.code != "" && x.Error.Code != string(c.code) {
					t.Errorf("it is %s: %+v", x.Status, x.Error)
				}
				return
			}
			if got := p.output(x); !strings.HasPrefix(got, c.want) {
				t.Errorf("output %s", got)
			}
		})
	}
}

func TestAnAddressInsideIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.function("one", echo("one"))
	p.begin(p.register("asks", strings.Replace(uri, "URI", "http://169.254.169.254/latest", 1)), "x1", `7`)
	x := p.ended("x1")
	if x.Status != execution.Failed || x.Error.Code != string(problem.PermissionDenied) || x.Steps[0].Attempts != 1 ||
		strings.Contains(x.Error.Detail, "169.254") { // what a name inside resolves to is not for callers
		t.Errorf("it is %s: %+v, %+v", x.Status, x.Error, x.Steps[0])
	}
}
