package activator_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscaler "knative.dev/serving/pkg/autoscaler/config"

	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/local/activator"
	"github.com/modelserveai/modelserve/local/revision"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

var errAtZero = errors.New("at zero")

// copyOf is an instance that is a test server, or nothing behind an address.
type copyOf struct {
	address string
	h1, h2  *http.Transport
	done    chan struct{}
	once    sync.Once
}

func (c *copyOf) Ready(context.Context) error { return nil }
func (c *copyOf) Done() <-chan struct{}       { return c.done }
func (c *copyOf) Err() error                  { return errors.New("ended") }
func (c *copyOf) Stop(time.Duration) {
	c.once.Do(func() { close(c.done) })
	c.h1.CloseIdleConnections()
	c.h2.CloseIdleConnections()
}
func (c *copyOf) Address() string { return c.address }
func (c *copyOf) Secret() string  { return "of " + c.address }
func (c *copyOf) Transport(h2c bool) http.RoundTripper {
	if h2c {
		return c.h2
	}
	return c.h1
}

func newCopy(address string) *copyOf {
	c := &copyOf{address: address, done: make(chan struct{}), h1: &http.Transport{Protocols: new(http.Protocols)}, h2: &http.Transport{Protocols: new(http.Protocols)}}
	c.h1.Protocols.SetHTTP1(true)
	c.h2.Protocols.SetUnencryptedHTTP2(true)
	return c
}

// begin makes a revision whose n-th instance listens at address(n).
func begin(t *testing.T, name string, concurrency int, address func(n int) string) *revision.Revision {
	t.Helper()
	scaling, err := autoscaler.NewConfigFromMap(map[string]string{"allow-zero-initial-scale": "true", "initial-scale": "0", "max-scale": "1"})
	if err != nil {
		t.Fatal(err)
	}
	var starts atomic.Int64
	r := revision.New(t.Context(), revision.Config{
		Name: name, Autoscaler: scaling, ContainerConcurrency: concurrency,
		Timeout: time.Minute, StartTimeout: time.Minute, MaxWaiting: 100, MaxWait: time.Minute,
		Build: func(context.Context, func() bool) error { return nil },
		Start: func(context.Context) (revision.Instance, error) {
			return newCopy(address(int(starts.Add(1)) - 1)), nil
		},
		Changed: func() {}, Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() { r.Close(0) })
	return r
}

func server(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config = lifecycle.NewServer(handler, lifecycle.DefaultLimits())
	s.Start()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func echo(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Server-Timing", "load;dur=1, infer;dur=2.5")
		_, _ = io.WriteString(w, strings.Join([]string{name, r.Proto, r.Host, r.Header.Get(infer.WakeHeader), string(body)}, "|"))
	}
}

func ask(t *testing.T, a *activator.Activator, host, body string, header ...string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+host+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := a.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

const host = "fn" + activator.Domain

func routed(r *revision.Revision) activator.Table {
	return activator.Table{host: {Service: "fn", Targets: []activator.Target{{Revision: r, Percent: 100, Timeout: time.Minute}}}}
}

func TestARequestReachesItsRevisionsInstance(t *testing.T) {
	t.Parallel()
	var secret atomic.Value
	address := server(t, func(w http.ResponseWriter, r *http.Request) {
		secret.Store(r.Header.Get("Modelserve-Secret"))
		echo("a")(w, r)
	})
	var colds []activator.Cold
	a := activator.New(errAtZero, func(c activator.Cold) { colds = append(colds, c) })
	a.Replace(routed(begin(t, "fn-1", 1, func(int) string { return address })))

	if _, err := ask(t, a, host, "x", infer.WakeHeader, infer.WakeNever); !errors.Is(err, errAtZero) {
		t.Errorf("without waking: %v", err)
	}
	for _, tc := range []struct{ name, host, contentType, want string }{
		{"REST", host, "application/json", "a|HTTP/1.1|" + host + "||body"},
		{"upper case and a port", "FN" + activator.Domain + ":80", "", "a|HTTP/1.1|FN" + activator.Domain + ":80||body"},
		{"gRPC", host, "application/grpc", "a|HTTP/2.0|" + host + "||body"},
		{"gRPC with a codec", host, "application/grpc+proto", "a|HTTP/2.0|" + host + "||body"},
	} {
		if got, err := ask(t, a, tc.host, "body", "Content-Type", tc.contentType); err != nil || got != tc.want {
			t.Errorf("%s: %q, %v", tc.name, got, err)
		}
	}
	if got, err := ask(t, a, host, "x", infer.WakeHeader, infer.WakeNever); err != nil || got != "a|HTTP/1.1|"+host+"||x" {
		t.Errorf("without waking what is ready: %q, %v", got, err)
	}
	if len(colds) != 1 || colds[0].Service != "fn" {
		t.Fatalf("cold starts %+v", colds)
	}
	var names []string
	for _, p := range colds[0].Parts[max(0, len(colds[0].Parts)-4):] { // behind the build, where it was waited for
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"schedule", "start", "load", "infer"}, names); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if secret.Load() != "of "+address {
		t.Errorf("the instance got the secret %q", secret.Load())
	}
	if _, err := ask(t, a, "none"+activator.Domain, "x"); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("no such function: %v", err)
	}
}

// An instance that ended as the request came is no reason to fail: nothing had
// been sent.
func TestDialsAnother(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	good := server(t, echo("b"))
	dead, alive := begin(t, "fn-1", 0, func(int) string { return strings.TrimPrefix(gone.URL, "http://") }), begin(t, "fn-2", 0, func(int) string { return good })
	a := activator.New(errAtZero, func(activator.Cold) {})
	a.Replace(activator.Table{host: {Service: "fn", Targets: []activator.Target{
		{Revision: dead, Percent: 50, Timeout: time.Minute}, {Revision: alive, Percent: 50, Timeout: time.Minute},
	}}})
	answered := 0
	for range 20 {
		got, err := ask(t, a, host, "whole body")
		switch {
		case err == nil && got == "b|HTTP/1.1|"+host+"||whole body":
			answered++
		case err == nil || problem.CodeOf(err) != problem.Unavailable || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), "fn: "):
			t.Errorf("%q, %v", got, err)
		}
	}
	if answered < 15 { // all five attempts meet the dead one once in 32
		t.Errorf("%d of 20 answered", answered)
	}
}

func TestSlotIsHeldUntilTheBodyIsClosed(t *testing.T) {
	t.Parallel()
	address := server(t, echo("a"))
	r := begin(t, "fn-1", 1, func(int) string { return address })
	a := activator.New(errAtZero, func(activator.Cold) {})
	a.Replace(routed(r))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := a.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() {
		resp, err := a.RoundTrip(req.Clone(context.Background()))
		if err == nil {
			err = resp.Body.Close()
		}
		second <- err
	}()
	for r.Status().Waiting == 0 {
		select {
		case err := <-second:
			t.Fatalf("did not wait: %v", err)
		default:
		}
	}
	if err := errors.Join(first.Body.Close(), first.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
}

func TestTimeoutCoversTheWholeAnswer(t *testing.T) {
	t.Parallel()
	address := server(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server notices the end of a connection once the body is read
		<-r.Context().Done()
	})
	a := activator.New(errAtZero, func(activator.Cold) {})
	table := routed(begin(t, "fn-1", 1, func(int) string { return address }))
	table[host].Targets[0].Timeout = 50 * time.Millisecond
	a.Replace(table)
	if _, err := ask(t, a, host, "x"); problem.CodeOf(err) != problem.DeadlineExceeded {
		t.Errorf("a function that does not answer: %v", err)
	}
	if _, err := ask(t, a, host, "x"); problem.CodeOf(err) != problem.DeadlineExceeded {
		t.Errorf("its slot was not given back: %v", err)
	}
}

// canned is an instance that answers by itself how long it has for it.
type canned struct {
	done chan struct{}
	once sync.Once
}

func (c *canned) Ready(context.Context) error      { return nil }
func (c *canned) Done() <-chan struct{}            { return c.done }
func (c *canned) Err() error                       { return nil }
func (c *canned) Stop(time.Duration)               { c.once.Do(func() { close(c.done) }) }
func (c *canned) Address() string                  { return "canned" }
func (c *canned) Secret() string                   { return "" }
func (c *canned) Transport(bool) http.RoundTripper { return c }
func (c *canned) RoundTrip(r *http.Request) (*http.Response, error) {
	deadline, _ := r.Context().Deadline()
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Server-Timing": {"infer;dur=2"}},
		Body: io.NopCloser(strings.NewReader(time.Until(deadline).String())),
	}, nil
}

// TestTheBuildIsNoPartOfTheTimeout holds that a function has its whole timeout
// though its request has waited for the build for longer, and that the build is
// reported as a part.
func TestTheBuildIsNoPartOfTheTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		scaling, err := autoscaler.NewConfigFromMap(map[string]string{"allow-zero-initial-scale": "true", "initial-scale": "0"})
		if err != nil {
			t.Fatal(err)
		}
		r := revision.New(t.Context(), revision.Config{
			Name: "fn-1", Autoscaler: scaling, Timeout: time.Minute, StartTimeout: time.Minute, MaxWaiting: 1, MaxWait: time.Minute,
			Build:   func(context.Context, func() bool) error { time.Sleep(3 * time.Minute); return nil },
			Start:   func(context.Context) (revision.Instance, error) { return &canned{done: make(chan struct{})}, nil },
			Changed: func() {}, Logger: slog.New(slog.DiscardHandler),
		})
		defer r.Close(0)
		var colds []activator.Cold
		a := activator.New(errAtZero, func(c activator.Cold) { colds = append(colds, c) })
		a.Replace(routed(r))
		for range 2 {
			if left, err := ask(t, a, host, "x"); err != nil || left != "1m0s" {
				t.Errorf("the function has %s, %v; want its minute", left, err)
			}
		}
		want := []activator.Cold{{Service: "fn", FromZero: true, Total: 3 * time.Minute, Parts: []activator.Part{
			{Name: "build", Duration: 3 * time.Minute}, {Name: "schedule"}, {Name: "start"}, {Name: "infer", Duration: 2 * time.Millisecond},
		}}}
		if diff := cmp.Diff(want, colds); diff != "" {
			t.Errorf("cold starts (-want +got):\n%s", diff)
		}
	})
}

func TestSplit(t *testing.T) {
	t.Parallel()
	one, two := server(t, echo("one")), server(t, echo("two"))
	a := activator.New(errAtZero, func(activator.Cold) {})
	a.Replace(activator.Table{host: {Service: "fn", Targets: []activator.Target{
		{Revision: begin(t, "fn-1", 0, func(int) string { return one }), Percent: 90, Timeout: time.Minute},
		{Revision: begin(t, "fn-2", 0, func(int) string { return two }), Percent: 10, Timeout: time.Minute},
	}}})
	got := map[string]int{}
	for range 1000 {
		text, err := ask(t, a, host, "")
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(text, "|")
		got[name]++
	}
	if got["two"] < 52 || got["two"] > 148 { // five standard deviations around 100
		t.Errorf("split %v, want about 900 to 100", got)
	}
}

// TestATenantsRequestIsNotBehindAnothers holds that whose a request is, by its header,
// decides on whom it waits for.
func TestATenantsRequestIsNotBehindAnothers(t *testing.T) {
	t.Parallel()
	served, next := make(chan string), make(chan struct{})
	address := server(t, func(_ http.ResponseWriter, r *http.Request) {
		served <- r.Header.Get(infer.TenantHeader)
		<-next
	})
	r := begin(t, "fn-1", 1, func(int) string { return address })
	a := activator.New(errors.New("at zero"), func(activator.Cold) {})
	a.Replace(routed(r))
	const many = 20
	answered := make(chan error, many+1)
	send := func(tenant string) {
		go func() {
			_, err := ask(t, a, host, "", infer.TenantHeader, tenant)
			answered <- err
		}()
	}
	waiting := func(n int) {
		for r.Status().Waiting != n {
			runtime.Gosched()
		}
	}
	for range many {
		send("many")
	}
	if got := <-served; got != "many" {
		t.Fatal(got)
	}
	waiting(many - 1)
	send("few")
	waiting(many)
	next <- struct{}{}
	if got := <-served; got != "few" {
		t.Errorf("served %q next, want the one that has had nothing", got)
	}
	for range many - 1 {
		next <- struct{}{}
		<-served
	}
	next <- struct{}{}
	for range many + 1 {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}

// TestTheTraceBeginsWithTheInstance holds that a request which waits for an instance
// reports no connection (httptrace) before it has one: nobody pays for a start.
func TestTheTraceBeginsWithTheInstance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		scaling, err := autoscaler.NewConfigFromMap(map[string]string{"allow-zero-initial-scale": "true", "initial-scale": "0", "max-scale": "1"})
		if err != nil {
			t.Fatal(err)
		}
		built := make(chan struct{})
		r := revision.New(t.Context(), revision.Config{
			Name: "fn-1", Autoscaler: scaling, ContainerConcurrency: 1,
			Timeout: time.Minute, StartTimeout: time.Minute, MaxWaiting: 100, MaxWait: time.Minute,
			Build: func(ctx context.Context, _ func() bool) error {
				select {
				case <-built:
				case <-ctx.Done():
				}
				return ctx.Err()
			},
			Start: func(ctx context.Context) (revision.Instance, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			Changed: func() {}, Logger: slog.New(slog.DiscardHandler),
		})
		defer r.Close(0)
		a := activator.New(errAtZero, func(activator.Cold) {})
		a.Replace(routed(r))
		for _, when := range []string{"is built", "starts"} {
			ctx, leave := context.WithCancel(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				GotConn: func(httptrace.GotConnInfo) { t.Errorf("a connection while it %s", when) },
			}))
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+host+"/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			var call sync.WaitGroup
			call.Go(func() {
				if res, err := a.RoundTrip(req); err == nil {
					_ = res.Body.Close()
					t.Errorf("it is answered while it %s", when)
				}
			})
			synctest.Wait()
			leave()
			call.Wait()
			if when == "is built" {
				close(built)
			}
		}
	})
}
