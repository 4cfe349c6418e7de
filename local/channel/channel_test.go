package channel_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	flowsv1 "knative.dev/eventing/pkg/apis/flows/v1"
	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/local/channel"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/plan"
	"github.com/modelserveai/modelserve/problem"
)

// functions answer by name; one that there is none of appends its name to the data.
type functions map[string]answer

// answer is what a function answers, or why the connection to it broke.
type answer struct {
	status int
	body   string
	err    error
	breaks bool // without an answer
}

func (f functions) RoundTrip(r *http.Request) (*http.Response, error) {
	name, _, _ := strings.Cut(r.URL.Host, ".")
	if a, ok := f[name]; ok {
		if a.breaks {
			panic(http.ErrAbortHandler)
		}
		w := httptest.NewRecorder()
		if a.err == nil {
			w.WriteHeader(a.status)
			_, a.err = w.WriteString(a.body)
		}
		return w.Result(), a.err
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	w := httptest.NewRecorder()
	for header, values := range r.Header {
		if strings.HasPrefix(header, "Ce-") {
			w.Header()[header] = values
		}
	}
	w.Header().Set("Ce-Id", r.Header.Get("Ce-Id")+"/"+name)
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, "%s %s%s", data, name, r.URL.RequestURI())
	return w.Result(), nil
}

func answers(status int, body string) answer { return answer{status: status, body: body} }

func fails(err error) answer { return answer{err: err} }

// arrival is an event as the service got it.
type arrival struct {
	Path, ID, Data          string
	Code, Destination, Text string // of a dead letter
	Extension               string
}

type service struct {
	mu       sync.Mutex
	arrivals []arrival
	status   map[string]int // by path
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	text, _ := base64.StdEncoding.DecodeString(r.Header.Get("Ce-Knativeerrordata"))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals = append(s.arrivals, arrival{
		Path: r.URL.Path, ID: r.Header.Get("Ce-Id"), Data: string(data), Code: r.Header.Get("Ce-Knativeerrorcode"),
		Destination: r.Header.Get("Ce-Knativeerrordest"), Text: string(text), Extension: r.Header.Get("Ce-Executionid"),
	})
	if status := s.status[r.URL.Path]; status != 0 {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.Repeat("no ", 1000))
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (s *service) got() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrivals
}

func open(t *testing.T, f http.RoundTripper, s http.Handler) *channel.Hub {
	t.Helper()
	hub, err := channel.Open(t.Context(), channel.Config{
		Namespace: "default", Functions: f, Service: "modelserve-pipelines", Sinks: s, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	return hub
}

// sink is the service's, at a path.
func sink(path string) *duckv1.Destination {
	return &duckv1.Destination{
		Ref: &duckv1.KReference{APIVersion: "v1", Kind: "Service", Name: "modelserve-pipelines", Namespace: "default"},
		URI: &apis.URL{Path: path},
	}
}

// sequence is a chain of functions, each with an address of its own.
func sequence(names ...string) *flowsv1.Sequence {
	s := &flowsv1.Sequence{
		ObjectMeta: metav1.ObjectMeta{Name: "rd-v1", Namespace: "default"},
		Spec: flowsv1.SequenceSpec{
			ChannelTemplate: &messagingv1.ChannelTemplateSpec{TypeMeta: metav1.TypeMeta{APIVersion: "messaging.knative.dev/v1", Kind: "InMemoryChannel"}},
			Reply:           sink("/events/reply"),
		},
	}
	retry := int32(0)
	for _, name := range names {
		s.Spec.Steps = append(s.Spec.Steps, flowsv1.SequenceStep{
			Destination: duckv1.Destination{
				Ref: &duckv1.KReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: name, Namespace: "default"},
				URI: &apis.URL{Path: "/", RawQuery: "plan=" + name + "&sig=%2Bx"},
			},
			Delivery: &eventingduckv1.DeliverySpec{Retry: &retry, DeadLetterSink: sink("/events/dead")},
		})
	}
	return s
}

func apply(t *testing.T, hub *channel.Hub, objects channel.Objects) {
	t.Helper()
	if err := hub.Apply(t.Context(), "rd-v1", objects); err != nil {
		t.Fatal(err)
	}
}

// post sends an event to a channel, and returns the answer's status.
func post(t *testing.T, url, data string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Type": "dev.modelserve.step.requested.v1", "Ce-Source": "/pipelines/rd",
		"Ce-Executionid": "e1", "Content-Type": "application/json",
	} {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestEventsRunThroughASequence(t *testing.T) {
	t.Parallel()
	const a = "a/?plan=a&sig=%2Bx"
	breaks := errors.New("read: connection reset by peer")
	for _, test := range []struct {
		name      string
		functions functions
		from      int
		want      []arrival
	}{
		{
			name: "from channel to function to channel to the reply",
			want: []arrival{{Path: "/events/reply", ID: "1/a/b/c", Data: "in " + a + " b/?plan=b&sig=%2Bx c/?plan=c&sig=%2Bx", Extension: "e1"}},
		},
		{
			name: "again from a step's own channel",
			from: 2,
			want: []arrival{{Path: "/events/reply", ID: "1/c", Data: "in c/?plan=c&sig=%2Bx", Extension: "e1"}},
		},
		{
			name:      "a failure arrives as it went in, with what failed",
			functions: functions{"b": answers(http.StatusBadRequest, `{"code":"invalid_argument"}`)},
			want: []arrival{{
				Path: "/events/dead", ID: "1/a", Data: "in " + a, Code: "400", Extension: "e1",
				Destination: "http://b.default.svc.cluster.local/?plan=b&sig=%2Bx", Text: `{"code":"invalid_argument"}`,
			}},
		},
		{
			name:      "of a long failure there is the beginning",
			functions: functions{"a": answers(http.StatusInternalServerError, strings.Repeat("0123456789", 1000))},
			want: []arrival{{
				Path: "/events/dead", ID: "1", Data: "in", Code: "500", Extension: "e1",
				Destination: "http://a.default.svc.cluster.local/?plan=a&sig=%2Bx", Text: strings.Repeat("0123456789", 100)[:768],
			}},
		},
		{
			name:      "a success that is no event ends it without a word",
			functions: functions{"b": answers(http.StatusOK, "done")},
		},
		{
			name:      "an error of the platform is a failure with its code",
			functions: functions{"a": fails(problem.New(problem.Overloaded, "1000 requests wait for a").WithRetryAfter(1500 * time.Millisecond))},
			want: []arrival{{
				Path: "/events/dead", ID: "1", Data: "in", Code: "429", Extension: "e1",
				Destination: "http://a.default.svc.cluster.local/?plan=a&sig=%2Bx",
				Text:        `{"code":"overloaded","retry_after":2,"status":429,"detail":"1000 requests wait for a"}`,
			}},
		},
		{
			name:      "a connection that broke is a bad gateway",
			functions: functions{"a": fails(breaks)},
			want: []arrival{{
				Path: "/events/dead", ID: "1", Data: "in", Code: "502", Extension: "e1",
				Destination: "http://a.default.svc.cluster.local/?plan=a&sig=%2Bx",
				Text:        `{"code":"bad_gateway","status":502,"detail":"the function's connection ended before its answer: the log has the reason"}`,
			}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var s service
			hub := open(t, test.functions, &s)
			apply(t, hub, channel.Objects{Sequences: []*flowsv1.Sequence{sequence("a", "b", "c")}})
			if status := post(t, hub.URL(channel.Sequence("rd-v1", test.from)), "in"); status != http.StatusAccepted {
				t.Errorf("the channel answered %d, and not 202 after the last step", status)
			}
			if diff := cmp.Diff(test.want, s.got()); diff != "" {
				t.Errorf("what arrived (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAReplyThatTheNextChannelRefusesIsADeadLetterOfTheChannel(t *testing.T) {
	t.Parallel()
	s := service{status: map[string]int{"/events/reply": http.StatusServiceUnavailable}}
	hub := open(t, functions{}, &s)
	apply(t, hub, channel.Objects{Sequences: []*flowsv1.Sequence{sequence("a", "b")}})
	post(t, hub.URL(channel.Sequence("rd-v1", 0)), "in")
	got := s.got()
	if len(got) != 2 || got[1].Path != "/events/dead" || got[1].ID != "1/a" || got[1].Code != "503" ||
		got[1].Destination != "http://modelserve-pipelines.default.svc.cluster.local/events/reply" || len(got[1].Text) != 768 {
		t.Errorf("got %+v", got)
	}
}

func TestATapSeesEveryEventBetweenTheSteps(t *testing.T) {
	t.Parallel()
	var s service
	hub := open(t, functions{}, &s)
	chain := sequence("a", "b")
	tap := &messagingv1.Subscription{
		ObjectMeta: metav1.ObjectMeta{Name: "rd-v1-tap", Namespace: "default"},
		Spec: messagingv1.SubscriptionSpec{
			Channel:    duckv1.KReference{APIVersion: "messaging.knative.dev/v1", Kind: "InMemoryChannel", Name: channel.Sequence("rd-v1", 1)},
			Subscriber: sink("/events/tap"),
		},
	}
	apply(t, hub, channel.Objects{Sequences: []*flowsv1.Sequence{chain}, Subscriptions: []*messagingv1.Subscription{tap}})
	post(t, hub.URL(channel.Sequence("rd-v1", 0)), "in")
	seen := map[string]string{}
	for _, a := range s.got() {
		seen[a.Path] = a.ID
	}
	if diff := cmp.Diff(map[string]string{"/events/tap": "1/a", "/events/reply": "1/a/b"}, seen); diff != "" {
		t.Errorf("what arrived (-want +got):\n%s", diff)
	}
}

// plain signs nothing.
type plain struct{}

func (plain) Address(_ string, p ticket.Plan) (string, error) { return "/?plan=" + p.Step, nil }

// TestWhatAPlanIsCompiledToRuns holds that the objects of a cluster run here: a fork of
// two chains, posted to as a Parallel and as Sequences of their own.
func TestWhatAPlanIsCompiledToRuns(t *testing.T) {
	t.Parallel()
	step := func(name string, needs ...string) definition.Step {
		return definition.Step{Name: name, Function: name, Needs: needs, Input: "input", Timeout: time.Second}
	}
	p := plan.Of(&definition.Definition{Steps: []definition.Step{step("a"), step("b", "a"), step("c", "a"), step("d", "c")}})
	functions4 := map[string]compile.Function{}
	for _, name := range []string{"a", "b", "c", "d"} {
		functions4[name] = compile.Function{Service: name}
	}
	objects, err := compile.Of(p, compile.Version{Tenant: "acme", Pipeline: "rd", Number: 1, Digest: "sha256:1"}, compile.Target{
		Namespace: "default", Functions: functions4, Service: duckv1.KReference{APIVersion: "v1", Kind: "Service", Name: "modelserve-pipelines"},
	}, plain{})
	if err != nil {
		t.Fatal(err)
	}
	var s service
	hub := open(t, functions{}, &s)
	apply(t, hub, channel.Objects{Sequences: objects.Sequences, Parallels: objects.Parallels, Subscriptions: objects.Subscriptions})
	for _, name := range []string{channel.Sequence(compile.Sequence("acme", "rd", 1, 0), 0), compile.Ingress(compile.Parallel("acme", "rd", 1, 0))} {
		if status := post(t, hub.URL(name), "in"); status != http.StatusAccepted {
			t.Errorf("%s answered %d", name, status)
		}
	}
	var got []string
	for _, a := range s.got() {
		got = append(got, a.Path+" "+a.ID)
	}
	slices.Sort(got)
	want := []string{"/events/reply 1/a", "/events/reply 1/b", "/events/reply 1/c/d", "/events/tap 1/c"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what arrived (-want +got):\n%s", diff)
	}
}

func TestLargeEvents(t *testing.T) {
	t.Parallel()
	var s service
	hub := open(t, functions{}, &s)
	apply(t, hub, channel.Objects{Sequences: []*flowsv1.Sequence{sequence("a")}})
	large := string(bytes.Repeat([]byte("x"), 8<<20))
	if status := post(t, hub.URL(channel.Sequence("rd-v1", 0)), large); status != http.StatusAccepted {
		t.Errorf("8 MiB: the channel answered %d", status)
	}
	if got := s.got(); len(got) != 1 || len(got[0].Data) < len(large) {
		t.Fatalf("%d arrivals of 8 MiB", len(got))
	}
	if status := post(t, hub.URL(channel.Sequence("rd-v1", 0)), strings.Repeat("x", 33<<20)); status < 400 {
		t.Errorf("33 MiB: the channel answered %d", status)
	}
	if got := s.got(); len(got) != 1 {
		t.Errorf("what was cut off arrived: %d arrivals", len(got))
	}
}

func TestADeadLetterHasNoSecret(t *testing.T) {
	t.Parallel()
	var s service
	hub := open(t, functions{"a": {breaks: true}}, &s)
	apply(t, hub, channel.Objects{Sequences: []*flowsv1.Sequence{sequence("a")}})
	post(t, hub.URL(channel.Sequence("rd-v1", 0)), "in")
	const to = "http://a.default.svc.cluster.local/?plan=a&sig=%2Bx"
	if got := s.got(); len(got) != 1 || got[0].Destination != to || !strings.Contains(got[0].Text, `Post "`+to+`": EOF`) {
		t.Errorf("got %+v", got)
	}
}

func TestALongAddressIsInTheDeadLetter(t *testing.T) {
	t.Parallel()
	var s service
	hub := open(t, functions{"a": answers(http.StatusBadRequest, "no")}, &s)
	chain := sequence("a")
	chain.Spec.Steps[0].URI.RawQuery = "plan=" + strings.Repeat("h", 480)
	apply(t, hub, channel.Objects{Sequences: []*flowsv1.Sequence{chain}})
	post(t, hub.URL(channel.Sequence("rd-v1", 0)), "in")
	if got := s.got(); len(got) != 1 || !strings.HasSuffix(got[0].Destination, strings.Repeat("h", 480)) {
		t.Errorf("got %+v", got)
	}
}

func TestNobodyReachesAFunctionWithoutTheSecret(t *testing.T) {
	t.Parallel()
	var s service
	hub := open(t, functions{}, &s)
	apply(t, hub, channel.Objects{Sequences: []*flowsv1.Sequence{sequence("a")}})
	first := hub.URL(channel.Sequence("rd-v1", 0))
	parts := strings.SplitN(first, "/", 5)
	for _, path := range []string{"/", "/x", "/" + parts[4], "/" + strings.ToLower(parts[3]) + "/" + parts[4], "/" + parts[3] + "/a.other.svc.cluster.local/"} {
		if status := post(t, "http://"+parts[2]+path, "in"); status != http.StatusNotFound {
			t.Errorf("%s is answered %d", strings.ReplaceAll(path, parts[3], "SECRET"), status)
		}
	}
	if got := s.got(); len(got) > 0 {
		t.Errorf("got %+v", got)
	}
}

func TestChannelsComeAndGo(t *testing.T) {
	t.Parallel()
	var s service
	hub := open(t, functions{}, &s)
	first := hub.URL(channel.Sequence("rd-v1", 0))
	if status := post(t, first, "in"); status < 500 {
		t.Errorf("before: %d", status)
	}
	for _, names := range [][]string{{"a"}, {"b"}} {
		apply(t, hub, channel.Objects{Sequences: []*flowsv1.Sequence{sequence(names...)}})
		if status := post(t, first, "in"); status != http.StatusAccepted {
			t.Errorf("%v: %d", names, status)
		}
	}
	if diff := cmp.Diff([]string{"rd-v1"}, hub.Owners()); diff != "" {
		t.Error(diff)
	}
	hub.Remove("rd-v1")
	if status := post(t, first, "in"); status < 500 {
		t.Errorf("after: %d", status)
	}
	if got := s.got(); len(got) != 2 || got[0].ID != "1/a" || got[1].ID != "1/b" {
		t.Errorf("got %+v", got)
	}
}

func TestWhatCannotBeHonouredIsRefused(t *testing.T) {
	t.Parallel()
	hub := open(t, functions{}, &service{})
	for name, change := range map[string]func(*flowsv1.Sequence){
		"expected a ref, got the uri": func(s *flowsv1.Sequence) {
			s.Spec.Steps[0].Destination = duckv1.Destination{URI: &apis.URL{Scheme: "http", Host: "elsewhere"}}
		},
		"namespace \"other\"": func(s *flowsv1.Sequence) { s.Spec.Steps[0].Ref.Namespace = "other" },
		"ref to apps/v1 Deployment": func(s *flowsv1.Sequence) {
			s.Spec.Steps[0].Ref.APIVersion, s.Spec.Steps[0].Ref.Kind = "apps/v1", "Deployment"
		},
		"missing field(s)": func(s *flowsv1.Sequence) { s.Spec.Steps = nil },
	} {
		s := sequence("a")
		change(s)
		err := hub.Apply(t.Context(), "rd-v1", channel.Objects{Sequences: []*flowsv1.Sequence{s}})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if owners := hub.Owners(); len(owners) > 0 {
		t.Errorf("%v were applied", owners)
	}
}
