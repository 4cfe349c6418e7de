package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/registry"
	"github.com/modelserveai/modelserve/problem"
)

func newRegistry(s *service) *registry.Registry { return registry.New(s.store, nil, registry.Bounds{}) }

// TestReplayFromAStep holds that a replay takes the outputs before the step as recorded,
// and that it outlives the execution that they are of.
func TestReplayFromAStep(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	got := s.do("POST", "/v1/pipelines/a/executions", "bytes", "Content-Type", "image/png", "X-Case-Id", "7")
	old := read[contract.Execution](t, got)
	if got := s.do("POST", "/v1/executions/"+old.ID+"/replay", ""); got.code() != problem.Conflict {
		t.Errorf("before it has ended: %d %s", got.status, got.body)
	}
	s.begin(old.ID)
	s.succeed(old.ID, `{"boxes":[1]}`)
	s.fail(old.ID)
	failed := read[contract.Execution](t, s.do("GET", "/v1/executions/"+old.ID, ""))
	if failed.Status != contract.Failed || failed.Error == nil || failed.Error.Code != problem.InvalidArgument || failed.Steps[0].Status != contract.Succeeded || failed.Steps[0].Model != "m@1" || failed.Steps[1].Attempts != 1 {
		t.Errorf("%+v", failed)
	}
	letters := read[contract.DeadLetters](t, s.do("GET", "/v1/dead-letters?pipeline=a&step=second&replayed=false", "")).DeadLetters
	if len(letters) != 1 || letters[0].Execution != old.ID || letters[0].Step != "second" || letters[0].Error.Code != problem.InvalidArgument {
		t.Fatalf("%+v", letters)
	}
	if got := s.do("POST", "/v1/executions/"+old.ID+"/replay?from=nope", ""); got.code() != problem.InvalidArgument {
		t.Errorf("%d %s", got.status, got.body)
	}
	replay := s.do("POST", "/v1/dead-letters/"+letters[0].ID+"/replay", "")
	x := read[contract.Execution](t, replay)
	if replay.status != http.StatusAccepted || replay.header.Get("Location") != "/v1/executions/"+x.ID || x.ReplayOf != old.ID || x.From != "second" || x.Steps[0].Status != contract.Succeeded || x.Steps[1].Status != contract.Queued {
		t.Fatalf("%d %s", replay.status, replay.body)
	}
	if !strings.Contains(string(x.Input), "/payloads/acme/"+x.ID+"/input-") || s.load(x.ID).Execution.Headers["X-Case-Id"] != "7" {
		t.Errorf("%s", x.Input)
	}
	if l := read[contract.DeadLetter](t, s.do("GET", "/v1/dead-letters/"+letters[0].ID, "")); l.ReplayedBy != x.ID {
		t.Errorf("%+v", l)
	}
	for from, code := range map[string]problem.Code{"first": "", "nope": problem.InvalidArgument} {
		got := s.do("POST", "/v1/dead-letters/"+letters[0].ID+"/replay?from="+from, "")
		if got.code() != code {
			t.Errorf("from %s: %d %s", from, got.status, got.body)
		}
		if code != "" {
			continue
		}
		again := read[contract.Execution](t, got)
		if by := read[contract.DeadLetter](t, s.do("GET", "/v1/dead-letters/"+letters[0].ID, "")).ReplayedBy; by != again.ID || again.From != from {
			t.Errorf("from %s: %s, replayed by %s", from, got.body, by)
		}
	}
	if got := s.do("DELETE", "/v1/executions/"+old.ID, ""); got.status != http.StatusNoContent {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, key := range s.objects.Keys() {
		if strings.Contains(key, old.ID) {
			t.Errorf("%s is left", key)
		}
	}
	if got := s.do("POST", "/v1/dead-letters/"+letters[0].ID+"/replay?from=nope", ""); got.code() != problem.Conflict {
		t.Errorf("an erased one's letter: %d %s", got.status, got.body)
	}
	stub := read[contract.Execution](t, s.do("GET", "/v1/executions/"+old.ID, ""))
	if !stub.Erased || stub.Input != nil || stub.Status != contract.Failed {
		t.Errorf("%+v", stub)
	}
	if got := s.do("POST", "/v1/executions/"+old.ID+"/replay", ""); got.code() != problem.Conflict {
		t.Errorf("an erased one: %d %s", got.status, got.body)
	}
	s.begin(x.ID)
	s.succeed(x.ID, `"done"`)
	if result := s.do("GET", "/v1/executions/"+x.ID+"/result", ""); result.status != http.StatusOK || result.body != `"done"` || result.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", result.status, result.body)
	}
}

// TestAReplayTakesACorrectedInput holds that a replay's body is its execution's input, with
// the outputs before its step as recorded, and that nothing of one that is refused stays.
func TestAReplayTakesACorrectedInput(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	old := read[contract.Execution](t, s.do("POST", "/v1/pipelines/a/executions", "bytes", "Content-Type", "image/png"))
	s.begin(old.ID)
	s.fail(old.ID)
	letter := read[contract.DeadLetters](t, s.do("GET", "/v1/dead-letters", "")).DeadLetters[0]
	keys := s.objects.Keys()
	for _, path := range []string{"/v1/dead-letters/" + letter.ID + "/replay", "/v1/executions/" + old.ID + "/replay?from=" + letter.Step} {
		x := read[contract.Execution](t, s.do("POST", path, `{"image": 1}`, "Content-Type", "application/json"))
		if string(x.Input) != `{"image":1}` && string(x.Input) != `{"image": 1}` || x.From != letter.Step || x.ReplayOf != old.ID {
			t.Errorf("%s: %s from %q of %q", path, x.Input, x.From, x.ReplayOf)
		}
		if cmp.Diff(keys, s.objects.Keys()) != "" {
			t.Errorf("%s: the input that is not taken was copied: %v", path, s.objects.Keys())
		}
		if got := s.do("POST", path, `{"image": `, "Content-Type", "application/json"); got.status != http.StatusBadRequest {
			t.Errorf("%s, half a body: %d %s", path, got.status, got.body)
		}
	}
	if l := read[contract.DeadLetter](t, s.do("GET", "/v1/dead-letters/"+letter.ID, "")); l.ReplayedBy == "" {
		t.Errorf("%+v", l)
	}
	stored := read[contract.Execution](t, s.do("POST", "/v1/executions/"+old.ID+"/replay", "other", "Content-Type", "image/jpeg"))
	if !strings.Contains(string(stored.Input), "/payloads/acme/"+stored.ID+"/input-") || !strings.Contains(string(stored.Input), `"image/jpeg"`) {
		t.Errorf("%s", stored.Input)
	}
	call := s.later(order(t, "http://iris.default.svc", "/v2/models/iris/infer", true), "{}")
	s.do("POST", "/v1/executions/"+call.ID+"/cancel", "")
	if got := s.do("POST", "/v1/executions/"+call.ID+"/replay", "{}", "Content-Type", "application/json"); got.code() != problem.Conflict {
		t.Errorf("a call: %d %s", got.status, got.body)
	}
}

// TestReplayOutlivesWhatAURLAnswered holds that an output which is a claim check as JSON, as
// that of a URL which answered with no JSON, is copied too.
func TestReplayOutlivesWhatAURLAnswered(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	old := s.start("/v1/pipelines/a/executions", "{}")
	claim, err := s.values.Store(t.Context(), "acme", old.ID, "first", "image/png", []byte("pixels"))
	if err != nil {
		t.Fatal(err)
	}
	output, err := json.Marshal(claim)
	if err != nil {
		t.Fatal(err)
	}
	s.begin(old.ID)
	s.succeed(old.ID, string(output))
	s.fail(old.ID)
	x := read[contract.Execution](t, s.do("POST", "/v1/executions/"+old.ID+"/replay?from=second", ""))
	if got := s.do("DELETE", "/v1/executions/"+old.ID, ""); got.status != http.StatusNoContent {
		t.Fatalf("%d %s", got.status, got.body)
	}
	kept, err := s.store.Values(t.Context(), x.ID, []string{"first"})
	if err != nil || len(kept) != 1 {
		t.Fatalf("%v, %v", kept, err)
	}
	var copied envelope.Claim
	if err := json.Unmarshal(kept[0].Value.JSON, &copied); err != nil {
		t.Fatal(err)
	}
	data, err := s.values.Fetch(t.Context(), "acme", x.ID, envelope.Value{Claim: &copied})
	if err != nil || string(data) != "pixels" {
		t.Errorf("%s: %q, %v", copied.Ref, data, err)
	}
}

// TestManyDeadLettersAreReplayedOnce holds that a filter replays what was not replayed,
// each execution once.
func TestManyDeadLettersAreReplayedOnce(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	s.register("b")
	for _, name := range []string{"a", "a", "b"} {
		x := s.start("/v1/pipelines/"+name+"/executions", "{}")
		s.begin(x.ID)
		s.fail(x.ID)
	}
	one := read[contract.Replays](t, s.do("POST", "/v1/dead-letters/replay?pipeline=a&limit=1", ""))
	if len(one.Replays) != 1 || !one.More || one.Replays[0].Execution == "" {
		t.Errorf("%+v", one)
	}
	if one.NextCursor == "" {
		t.Errorf("%+v", one)
	}
	if got := s.do("POST", "/v1/dead-letters/replay?cursor=x", ""); got.code() != problem.InvalidArgument {
		t.Errorf("%d %s", got.status, got.body)
	}
	two := read[contract.Replays](t, s.do("POST", "/v1/dead-letters/replay?pipeline=a&cursor="+one.NextCursor, ""))
	if len(two.Replays) != 1 || two.More || two.Replays[0].DeadLetter == one.Replays[0].DeadLetter {
		t.Errorf("%+v", two)
	}
	if none := read[contract.Replays](t, s.do("POST", "/v1/dead-letters/replay?pipeline=a", "")); len(none.Replays) != 0 {
		t.Errorf("%+v", none)
	}
	if left := read[contract.DeadLetters](t, s.do("GET", "/v1/dead-letters?replayed=false", "")); len(left.DeadLetters) != 1 || *left.DeadLetters[0].Pipeline != "b" {
		t.Errorf("%+v", left)
	}
	if done := read[contract.DeadLetters](t, s.do("GET", "/v1/dead-letters?replayed=true&limit=1", "")); len(done.DeadLetters) != 1 || done.NextCursor == "" {
		t.Errorf("%+v", done)
	}
	if got := s.do("POST", "/v1/dead-letters/replay?version=7", ""); got.status != http.StatusOK || !strings.Contains(got.body, `"code":"not_found"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestTwoWhoReplayManyReplayOnce holds that a letter which two requests find at the same
// time is replayed once, and that both report the execution.
func TestTwoWhoReplayManyReplayOnce(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	x := s.start("/v1/pipelines/a/executions", "{}")
	s.begin(x.ID)
	s.fail(x.ID)
	s.store.meet = &sync.WaitGroup{}
	s.store.meet.Add(2)
	var got [2]*answer
	var both sync.WaitGroup
	for i := range got {
		both.Go(func() { got[i] = s.do("POST", "/v1/dead-letters/replay", "") })
	}
	both.Wait()
	one, two := read[contract.Replays](t, got[0]), read[contract.Replays](t, got[1])
	if len(one.Replays) != 1 || one.Replays[0].Execution == "" || cmp.Diff(one, two) != "" {
		t.Errorf("%+v, %+v", one, two)
	}
	if all := read[contract.Executions](t, s.do("GET", "/v1/executions", "")); len(all.Executions) != 2 {
		t.Errorf("%d executions, want it and its replay", len(all.Executions))
	}
}

// TestAReplayOfManyReportsWhatItDid holds that a replay of many which comes to its end
// early says what was replayed, why the next was not, and where to go on.
func TestAReplayOfManyReportsWhatItDid(t *testing.T) {
	t.Parallel()
	s := newService(t, func(c *config) { c.MaxQueued = 2 })
	s.register("a")
	for range 4 {
		x := s.start("/v1/pipelines/a/executions", "{}")
		s.begin(x.ID)
		s.fail(x.ID)
	}
	first := read[contract.Replays](t, s.do("POST", "/v1/dead-letters/replay", ""))
	if len(first.Replays) != 3 || first.Replays[1].Execution == "" || first.Replays[2].Error == nil || first.Replays[2].Error.Code != problem.Overloaded || !first.More {
		t.Fatalf("%+v", first)
	}
	if got := s.do("POST", "/v1/dead-letters/replay?cursor="+first.NextCursor, ""); got.code() != problem.Overloaded { // nothing was done
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, one := range first.Replays[:2] {
		s.do("POST", "/v1/executions/"+one.Execution+"/cancel", "")
	}
	rest := read[contract.Replays](t, s.do("POST", "/v1/dead-letters/replay?cursor="+first.NextCursor, ""))
	if len(rest.Replays) != 2 || rest.Replays[0].DeadLetter != first.Replays[2].DeadLetter || rest.Replays[1].Execution == "" || rest.More {
		t.Errorf("%+v", rest)
	}
}

// TestResult holds what there is before the end, and of each end.
func TestResult(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("a")
	x := s.start("/v1/pipelines/a/executions", "{}")
	path := "/v1/executions/" + x.ID + "/result"
	if got := s.do("GET", path, ""); got.status != http.StatusAccepted || got.header.Get("Retry-After") != "1" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("DELETE", "/v1/executions/"+x.ID, ""); got.code() != problem.Conflict {
		t.Errorf("%d %s", got.status, got.body)
	}
	s.begin(x.ID)
	s.fail(x.ID)
	if got := s.do("GET", path, ""); got.status != http.StatusBadRequest || got.code() != problem.InvalidArgument {
		t.Errorf("%d %s", got.status, got.body)
	}
	y := s.start("/v1/pipelines/a/executions", "{}")
	s.do("POST", "/v1/executions/"+y.ID+"/cancel", "")
	if got := s.do("GET", "/v1/executions/"+y.ID+"/result", ""); got.code() != problem.Conflict {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// stream is an open stream of events.
type stream struct {
	t     *testing.T
	lines *bufio.Scanner
	close func()
}

func (s *service) stream(t *testing.T, url, id, last string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/executions/"+id+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Modelserve-Secret", secret)
	r.Header.Set("Modelserve-Tenant", s.tenant)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	t.Cleanup(func() { cancel(); _ = res.Body.Close() })
	return &stream{t, bufio.NewScanner(res.Body), cancel}
}

// next is the next event: its id and type; "" at the end.
func (s *stream) next() (id, kind string) {
	for s.lines.Scan() {
		line := s.lines.Text()
		if after, ok := strings.CutPrefix(line, "id: "); ok {
			id = after
		}
		if after, ok := strings.CutPrefix(line, "event: "); ok {
			kind = after
		}
		if after, ok := strings.CutPrefix(line, "data: "); ok {
			e := read[contract.Event](s.t, &answer{body: after})
			if e.Type != kind || e.SpecVersion != "1.0" || e.Data.Execution == "" || e.ExecutionID != e.Data.Execution {
				s.t.Errorf("%+v", e)
			}
		}
		if line == "" && id != "" {
			return id, strings.TrimSuffix(strings.TrimPrefix(kind, "dev.modelserve."), ".v1")
		}
	}
	return "", ""
}

func (s *stream) all() (kinds []string) {
	for {
		id, kind := s.next()
		if id == "" {
			return kinds
		}
		kinds = append(kinds, id+" "+kind)
	}
}

// TestEvents holds that a stream has every event from the first, or after one, and ends
// after the one that ends the execution, which GET shows by then.
func TestEvents(t *testing.T) {
	t.Parallel()
	s := newService(t)
	server := httptest.NewServer(s.api)
	t.Cleanup(server.Close)
	s.register("a")
	x := s.start("/v1/pipelines/a/executions", "{}")
	early := s.stream(t, server.URL, x.ID, "")
	if id, kind := early.next(); id != "1" || kind != "execution.accepted" {
		t.Errorf("%s %s", id, kind)
	}
	s.begin(x.ID)
	if id, kind := early.next(); id != "2" || kind != "execution.started" {
		t.Errorf("%s %s", id, kind)
	}
	s.succeed(x.ID, "1")
	s.succeed(x.ID, "2")
	rest := early.all()
	if got := read[contract.Execution](t, s.do("GET", "/v1/executions/"+x.ID, "")); got.Status != contract.Succeeded {
		t.Errorf("the stream has ended, and it is %s", got.Status)
	}
	whole := s.stream(t, server.URL, x.ID, "").all()
	if diff := cmp.Diff(whole[2:], rest); diff != "" {
		t.Errorf("(-again +live):\n%s", diff)
	}
	last := whole[len(whole)-1]
	if !strings.HasSuffix(last, " execution.succeeded") {
		t.Errorf("%v", whole)
	}
	if after := s.stream(t, server.URL, x.ID, "3").all(); cmp.Diff(whole[3:], after) != "" {
		t.Errorf("after 3: %v of %v", after, whole)
	}
	n, _, _ := strings.Cut(last, " ")
	if none := s.stream(t, server.URL, x.ID, n).all(); len(none) != 0 {
		t.Errorf("after the last: %v", none)
	}
	for _, bad := range []string{"x", "-1", "99", "1.5"} {
		if got := s.do("GET", "/v1/executions/"+x.ID+"/events", "", "Last-Event-ID", bad); got.code() != problem.InvalidArgument {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		}
	}
}

// TestStreamsAreBoundedAndEnd holds that a tenant has so many streams, and that closing
// the service ends them.
func TestStreamsAreBoundedAndEnd(t *testing.T) {
	t.Parallel()
	s := newService(t)
	server := httptest.NewServer(s.api)
	t.Cleanup(server.Close)
	s.register("a")
	x := s.start("/v1/pipelines/a/executions", "{}")
	var open []*stream
	for range 5 {
		open = append(open, s.stream(t, server.URL, x.ID, ""))
	}
	if got := s.do("GET", "/v1/executions/"+x.ID+"/events", ""); got.code() != problem.Overloaded {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, one := range open {
		if id, _ := one.next(); id != "1" {
			t.Errorf("the first event is %q", id)
		}
	}
	s.api.Close()
	s.api.Close()
	for _, one := range open {
		if kinds := one.all(); len(kinds) != 0 {
			t.Errorf("%v", kinds)
		}
	}
}

// FuzzRequests holds that no query, header or id is a fault of ours, whatever it is.
func FuzzRequests(f *testing.F) {
	f.Add("limit=1", "k", "wait=1", "3", "a", "{}")
	f.Add("cursor=AQAAAAAAAAAAYQ", "", "wait=\"0\"; a=b, c", "-1", "..", "[1e999]")
	f.Add("label=a=b&run_at=1s&priority=-10", "ä", "wait=99999999999999999999", "\x00", "%2f", "\"\xff\"")
	s := newService(f)
	s.register("a")
	f.Fuzz(func(t *testing.T, query, key, prefer, last, id, body string) {
		if strings.Contains(strings.ToLower(prefer), "wait") {
			prefer = strings.ReplaceAll(prefer, "=", "=0")
		}
		for _, op := range []struct{ method, path string }{
			{"GET", "/v1/executions"},
			{"GET", "/v1/pipelines"},
			{"GET", "/v1/dead-letters"},
			{"POST", "/v1/pipelines/a/executions"},
			{"POST", "/v1/pipelines"},
			{"GET", "/v1/executions/" + id},
			{"POST", "/v1/executions/" + id + "/replay"},
			{"GET", "/v1/dead-letters/" + id},
			{"GET", "/v1/pipelines/a/versions/" + id},
			{"GET", "/v1/executions/" + id + "/events"},
		} {
			r, err := http.NewRequestWithContext(t.Context(), op.method, "http://h/", strings.NewReader(body))
			if err != nil {
				continue
			}
			r.URL.Path, r.URL.RawQuery = op.path, query
			for name, value := range map[string]string{
				"Modelserve-Secret": secret, "Modelserve-Tenant": "acme", "Content-Type": "application/json", "Idempotency-Key": key, "Prefer": prefer, "Last-Event-ID": last,
			} {
				r.Header[http.CanonicalHeaderKey(name)] = []string{value}
			}
			w := httptest.NewRecorder()
			s.api.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Errorf("%s %s?%s: %d %s", op.method, op.path, query, w.Code, w.Body)
			}
		}
	})
}
