package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// digest is a definition's.
const digest = "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// newSigner makes the pipelines service's key.
func newSigner(t testing.TB) *ticket.Signer {
	t.Helper()
	dir := t.TempDir()
	key, err := sign.CreateKeys(filepath.Join(dir, "key"), filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	return ticket.NewSigner(key)
}

// form is a codec with a native payload in JSON: it repeats a text as often as the
// model makes of a number.
type form struct{}

type formAnswer struct {
	Text string `json:"text"`
	N    int    `json:"n"`
	Size int    `json:"size"` // of the source
}

func (form) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	var f struct {
		Text   string         `json:"text"`
		Times  int            `json:"times"`
		Source payload.Source `json:"source,omitzero"`
	}
	if err := payload.Decode(in, &f); err != nil {
		return nil, err
	}
	if f.Text == "panic" {
		panic("codec")
	}
	y, err := model.Run(ctx, []infer.Tensor{infer.NewTensor("x", []int64{1, 2}, []float32{float32(f.Times), 1})})
	if err != nil {
		return nil, err
	}
	values, err := infer.Values[float32](&y[0])
	if err != nil {
		return nil, err
	}
	out := formAnswer{Text: strings.Repeat(f.Text, f.Times), N: int(values[0])}
	if f.Source.Present() {
		data, err := f.Source.Bytes(ctx, in)
		if err != nil {
			return nil, err
		}
		out.Size = len(data)
	}
	return out, nil
}

// bucket is a store of values.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte // by ref
	opened  []string          // TENANT REF
	failing error
}

func newBucket() *bucket { return &bucket{objects: map[string][]byte{}} }

func (b *bucket) open(_ context.Context, tenant, field, ref string) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = append(b.opened, tenant+" "+ref)
	data, ok := b.objects[ref]
	if !ok || tenant == "" || !strings.Contains(ref, "/"+tenant+"/") {
		return nil, problem.Invalid(field, "nothing is stored there")
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (b *bucket) store(_ context.Context, key, _ string, data []byte) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failing != nil {
		return "", b.failing
	}
	b.objects["s3://bucket/"+key] = bytes.Clone(data)
	return "s3://bucket/" + key, nil
}

// put stores a value and is its claim check.
func (b *bucket) put(key, text string) *envelope.Claim {
	ref, _ := b.store(context.Background(), key, "application/json", []byte(text))
	return &envelope.Claim{Ref: ref, SHA256: envelope.Sum([]byte(text)), Size: int64(len(text)), ContentType: "application/json"}
}

// sent is a step's event before it is sent.
type sent struct {
	signer   *ticket.Signer
	ticket   ticket.Ticket
	plan     ticket.Plan
	envelope envelope.Envelope

	// What is sent in place of what follows from these.
	address    *string
	digest     string
	planText   []byte
	data       []byte
	extensions map[string]string
	structured bool
	headers    []string
}

// newSent is an event of a step of "form", with an input.
func newSent(signer *ticket.Signer, input string) *sent {
	return &sent{
		signer: signer,
		ticket: ticket.Ticket{
			Tenant: "acme", Execution: "ex1", Pipeline: digest, Segment: 1, Item: 2, Epoch: 3, Deadline: time.Now().Add(time.Minute),
		},
		plan:       ticket.Plan{Function: "form", Step: "first", Input: `{"text": input.text, "times": input.times}`},
		envelope:   envelope.Envelope{Input: envelope.Value{JSON: json.RawMessage(input)}},
		extensions: map[string]string{},
		digest:     digest,
	}
}

// request is the event as a channel sends it.
func (s *sent) request(t testing.TB, url string) *http.Request {
	t.Helper()
	text, err := s.plan.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	hash := envelope.Sum(text)
	if s.planText != nil {
		text = s.planText
	}
	e := s.envelope
	e.Plans = map[string]json.RawMessage{hash: text}
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	length, sum := envelope.Stamp(data)
	extensions := map[string]string{
		"ticket": s.signer.Ticket(s.ticket), "datalength": length, "datasha256": sum,
		"tenant": "somebody", "executionid": "other", "step": "other", "pipeline": "docs", "traceparent": "00-1", "knativeerrorcode": "500",
	}
	maps.Copy(extensions, s.extensions)
	if s.data != nil {
		data = s.data
	}
	address, err := s.signer.Address(s.digest, s.plan)
	if err != nil {
		t.Fatal(err)
	}
	if s.address != nil {
		address = *s.address
	}
	ev := event.New()
	ev.SetID("1")
	ev.SetSource("/pipelines/docs")
	ev.SetType(envelope.RequestedType)
	for name, value := range extensions {
		ev.SetExtension(name, value)
	}
	body, media := data, "application/json"
	if s.structured {
		if err := ev.SetData("application/json", json.RawMessage(data)); err != nil {
			t.Fatal(err)
		}
		if body, err = json.Marshal(ev); err != nil {
			t.Fatal(err)
		}
		media = "application/cloudevents+json"
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, url+address, bytes.NewReader(body))
	r.Header.Set("Content-Type", media)
	if !s.structured {
		r.Header.Set("Ce-Specversion", "1.0")
		r.Header.Set("Ce-Id", "1")
		r.Header.Set("Ce-Source", "/pipelines/docs")
		r.Header.Set("Ce-Type", envelope.RequestedType)
		for name, value := range extensions {
			if value != "" {
				r.Header.Set("Ce-"+name, value)
			}
		}
	}
	for i := 0; i < len(s.headers); i += 2 {
		r.Header.Set(s.headers[i], s.headers[i+1])
	}
	return r
}

// stepConfig serves form.
func stepConfig(f *fake, b *bucket, signer *ticket.Signer) serve.Config {
	return serve.Config{
		Backend: f, Repository: f, Function: "form", Model: "double", Codec: form{}, GatewaySecret: secret,
		Open: b.open, Store: b.store, Tickets: signer.Verifier(),
		Sink: func(context.Context, event.Event) error { return errors.New("the sink got the answer to a step") },
	}
}

// do answers an event.
func (s *sent) do(t testing.TB, cfg serve.Config) *httptest.ResponseRecorder {
	t.Helper()
	server, err := serve.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	w.Header().Set(problem.RequestIDHeader, "request-1")
	server.ServeHTTP(w, s.request(t, "http://form"))
	return w
}

// answered reads a good answer: the event and its envelope.
func answered(t testing.TB, w *httptest.ResponseRecorder) (event.Event, *envelope.Envelope) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	out := event.New()
	if w.Header().Get("Content-Type") == "application/cloudevents+json" {
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
	} else {
		out.SetID(w.Header().Get("Ce-Id"))
		out.SetSource(w.Header().Get("Ce-Source"))
		out.SetType(w.Header().Get("Ce-Type"))
		for name, values := range w.Header() {
			name, ok := strings.CutPrefix(strings.ToLower(name), "ce-")
			if ok && !strings.Contains(" specversion id source type time subject ", " "+name+" ") {
				out.SetExtension(name, values[0])
			}
		}
		if err := out.SetData("application/json", json.RawMessage(w.Body.Bytes())); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Validate(); err != nil {
		t.Error(err)
	}
	text := func(name string) string { s, _ := out.Extensions()[name].(string); return s }
	if err := envelope.CheckStamp(out.Data(), text("datalength"), text("datasha256")); err != nil {
		t.Error(err)
	}
	e, err := envelope.Parse(out.Data())
	if err != nil {
		t.Fatal(err)
	}
	return out, e
}

// refusedAs reads a refusal, whose first members are those that count.
func refusedAs(t testing.TB, w *httptest.ResponseRecorder, code problem.Code, step string) string {
	t.Helper()
	begins := `{"code":"` + string(code) + `","retry_after":`
	e, of, ok := problem.ParseStep(w.Body.Bytes())
	if !ok || w.Code != code.Row().Status || !strings.HasPrefix(w.Body.String(), begins) || of != step || w.Body.Len() > problem.MaxStep {
		t.Fatalf("%d %s; want %s of %q", w.Code, w.Body, code, step)
	}
	return e.Detail
}

// TestAStepIsAnswered holds what a function makes of an event with a plan, in both
// forms: the envelope with the output and a record, in the reply, the same each time.
func TestAStepIsAnswered(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	for name, structured := range map[string]bool{"binary": false, "structured": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			s := newSent(signer, `{"text": "<é>", "times": 2, "more": [1]}`)
			s.structured = structured
			s.envelope.Steps = map[string]envelope.Value{"before": {JSON: json.RawMessage(`{"kept":"&"}`)}}
			w := s.do(t, stepConfig(f, newBucket(), signer))
			out, e := answered(t, w)
			if out.ID() != "ex1.first.2.3" || out.Source() != "/functions/form" || out.Type() != "dev.modelserve.form.answered.v1" {
				t.Errorf("%s", out)
			}
			want := map[string]any{
				"tenant": "acme", "executionid": "ex1", "attempt": "3", "step": "first", "pipeline": "docs",
				"traceparent": "00-1", "ticket": signer.Ticket(s.ticket),
			}
			got := maps.Clone(out.Extensions())
			delete(got, "datalength")
			delete(got, "datasha256")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			var output formAnswer
			if err := json.Unmarshal(e.Steps["first"].JSON, &output); err != nil || output != (formAnswer{Text: "<é><é>", N: 4}) {
				t.Errorf("%v %s", err, e.Steps["first"].JSON)
			}
			var before map[string]string
			if err := json.Unmarshal(e.Steps["before"].JSON, &before); err != nil || before["kept"] != "&" {
				t.Errorf("%v %s", err, e.Steps["before"].JSON)
			}
			record := envelope.Record{
				Step: "first", Epoch: 3, Model: "double@3;digest=sha256:abc", Device: "cpu", ComputeMS: 2, Rows: 1,
				Size: int64(len(e.Steps["first"].JSON)),
			}
			if diff := cmp.Diff([]envelope.Record{record}, e.Records, cmpopts.IgnoreFields(envelope.Record{}, "StartedAt", "FinishedAt")); diff != "" {
				t.Error(diff)
			}
			if r := e.Records[0]; r.StartedAt.After(r.FinishedAt) || time.Since(r.FinishedAt) > time.Minute {
				t.Errorf("from %v to %v", r.StartedAt, r.FinishedAt)
			}
			if tenant := f.tenant.Load(); tenant != "acme" {
				t.Errorf("the run is of %v", tenant)
			}
		})
	}
}

// TestPlansAreRefused holds that nothing is done for an event whose plan nothing shows
// to be the pipelines service's, for this function, now.
func TestPlansAreRefused(t *testing.T) {
	t.Parallel()
	signer, other := newSigner(t), newSigner(t)
	otherPlan := ticket.Plan{Function: "form", Step: "second", Input: "input"}
	addressOf := func(s *ticket.Signer, digest string, p ticket.Plan) *string {
		text, err := s.Address(digest, p)
		if err != nil {
			t.Fatal(err)
		}
		return &text
	}
	good := newSent(signer, `{"text": "a", "times": 1}`)
	goodAddress := *addressOf(signer, digest, good.plan)
	changed := func(text string) *string { return &text }
	for name, tc := range map[string]struct {
		change func(s *sent, cfg *serve.Config)
		code   problem.Code
		step   string
		detail string
	}{
		"no ticket":          {func(s *sent, _ *serve.Config) { s.extensions["ticket"] = "" }, problem.PermissionDenied, "", "missing"},
		"no key":             {func(_ *sent, c *serve.Config) { c.Tickets = nil }, problem.PermissionDenied, "", "MODELSERVE_PIPELINES_PUBLIC_KEY"},
		"a forged ticket":    {func(s *sent, _ *serve.Config) { s.extensions["ticket"] = forge(signer.Ticket(s.ticket)) }, problem.PermissionDenied, "", "signature wrong"},
		"a ticket cut short": {func(s *sent, _ *serve.Config) { x := signer.Ticket(s.ticket); s.extensions["ticket"] = x[:len(x)-2] }, problem.PermissionDenied, "", "malformed"},
		"of another key":     {func(s *sent, _ *serve.Config) { s.extensions["ticket"] = other.Ticket(s.ticket) }, problem.PermissionDenied, "", "not trusted here"},
		"of no tenant":       {func(s *sent, _ *serve.Config) { s.ticket.Tenant = "" }, problem.PermissionDenied, "", "malformed"},
		"expired":            {func(s *sent, _ *serve.Config) { s.ticket.Deadline = time.Now().Add(-time.Millisecond) }, problem.DeadlineExceeded, "", "deadline"},
		"another pipeline":   {func(s *sent, _ *serve.Config) { s.ticket.Pipeline = "sha256:" + strings.Repeat("0", 64) }, problem.PermissionDenied, "", "two pipelines"},
		"an address of it": {func(s *sent, _ *serve.Config) {
			s.address = addressOf(signer, "sha256:"+strings.Repeat("0", 64), s.plan)
		}, problem.PermissionDenied, "", "two pipelines"},
		"an unsigned address": {func(s *sent, _ *serve.Config) { s.address = changed(goodAddress[:strings.Index(goodAddress, "&sig")]) }, problem.PermissionDenied, "", "sig"},
		"a forged address":    {func(s *sent, _ *serve.Config) { s.address = changed(forge(goodAddress)) }, problem.PermissionDenied, "", "signature wrong"},
		"of another's key":    {func(s *sent, _ *serve.Config) { s.address = addressOf(other, digest, s.plan) }, problem.PermissionDenied, "", "not trusted here"},
		"a name twice":        {func(s *sent, _ *serve.Config) { s.address = changed(goodAddress + "&plan=1") }, problem.PermissionDenied, "", "malformed"},
		"of another plan":     {func(s *sent, _ *serve.Config) { s.address = addressOf(signer, digest, otherPlan) }, problem.InvalidArgument, "", "plans"},
		"another plan's text": {func(s *sent, _ *serve.Config) {
			s.planText = []byte(`{"function":"form","input":"input","step":"first"}`)
		}, problem.PermissionDenied, "", "not the one that was signed"},
		"another function's":                   {func(s *sent, _ *serve.Config) { s.plan.Function = "other" }, problem.PermissionDenied, "", "another's"},
		"a model's":                            {func(s *sent, _ *serve.Config) { s.plan.Model = "form" }, problem.PermissionDenied, "", "another's"},
		"a function's, at a service of models": {func(_ *sent, c *serve.Config) { c.Codec = nil }, problem.PermissionDenied, "", "models only"},
		"a shorter length":                     {func(s *sent, _ *serve.Config) { s.extensions["datalength"] = "1" }, problem.EventDamaged, "", "datalength"},
		"another sum":                          {func(s *sent, _ *serve.Config) { s.extensions["datasha256"] = strings.Repeat("0", 64) }, problem.EventDamaged, "", "datasha256"},
		"neither":                              {func(s *sent, _ *serve.Config) { s.extensions["datalength"], s.extensions["datasha256"] = "", "" }, problem.EventDamaged, "", "datalength"},
		"an error's text as data":              {func(s *sent, _ *serve.Config) { s.data = []byte("unexpected EOF") }, problem.EventDamaged, "", "datalength"},
		"data that is no envelope":             {func(s *sent, _ *serve.Config) { s.stamped([]byte(`{"image": 1}`)) }, problem.InvalidArgument, "", "image"},
		"data that is no JSON":                 {func(s *sent, _ *serve.Config) { s.stamped([]byte(`{"input": 1`)) }, problem.MalformedBody, "", "no JSON"},
		"a plan that does not compile":         {func(s *sent, _ *serve.Config) { s.plan.Input = "input +" }, problem.InvalidArgument, "first", "plan.input"},
		"that reads what is not there":         {func(s *sent, _ *serve.Config) { s.plan.Input = "steps.gone" }, problem.InvalidArgument, "first", "steps.gone"},
		"that has no value":                    {func(s *sent, _ *serve.Config) { s.plan.Input = "input.nothing" }, problem.InvalidArgument, "first", "plan.input"},
		"that costs too much": {func(s *sent, _ *serve.Config) {
			s.plan.Input = "[" + strings.Repeat("1,", 99) + "1].map(a, " + strings.Repeat("[1,2,3,4,5,6,7,8,9,10].map(b, ", 6) + "1" + strings.Repeat(")", 7)
		}, problem.PayloadTooLarge, "first", "cost"},
		"of an item outside a forEach":    {func(s *sent, _ *serve.Config) { s.plan.Input = "item" }, problem.InvalidArgument, "first", "item"},
		"an input that the codec refuses": {func(s *sent, _ *serve.Config) { s.plan.Input = "{'text': 1}" }, problem.InvalidArgument, "first", "text"},
		"a codec that panics":             {func(s *sent, _ *serve.Config) { s.plan.Input = "{'text': 'panic'}" }, problem.Internal, "first", ""},
		"a model that is not there":       {func(_ *sent, c *serve.Config) { c.Model = "gone" }, problem.ModelNotFound, "first", "gone"},
		"the local secret is missing":     {func(_ *sent, c *serve.Config) { c.Secret = "swordfish" }, problem.Unauthenticated, "", ""},
		"a batch": {func(s *sent, _ *serve.Config) {
			s.headers = []string{"Content-Type", "application/cloudevents-batch+json"}
		}, problem.UnsupportedMedia, "", ""},
		"a body that is too long": {func(s *sent, _ *serve.Config) { s.data = bytes.Repeat([]byte(" "), 400<<10) }, problem.PayloadTooLarge, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, b := newFake(), newBucket()
			cfg := stepConfig(f, b, signer)
			s := newSent(signer, `{"text": "a", "times": 1}`)
			tc.change(s, &cfg)
			if detail := refusedAs(t, s.do(t, cfg), tc.code, tc.step); !strings.Contains(detail, tc.detail) {
				t.Errorf("%q; want %q", detail, tc.detail)
			}
			if f.tenant.Load() != nil || len(b.opened) != 0 || len(b.objects) != 0 || f.leases.Load() != 0 {
				t.Error("something was done")
			}
		})
	}
}

// forge changes one letter within a signature, which stays well-formed.
func forge(text string) string {
	at := len(text) - 40
	other := byte('A')
	if text[at] == other {
		other = 'B'
	}
	return text[:at] + string(other) + text[at+1:]
}

// stamped has other data sent, which the extensions are of.
func (s *sent) stamped(data []byte) {
	s.data = data
	s.extensions["datalength"], s.extensions["datasha256"] = envelope.Stamp(data)
}

// TestATicketWithoutAPlanIsIgnored holds that it opens nothing: an event without a plan
// is one as any other.
func TestATicketWithoutAPlanIsIgnored(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	f, b := newFake(), newBucket()
	b.put("inputs/acme/a", "hello")
	cfg := stepConfig(f, b, signer)
	cfg.Sink = nil
	s := newSent(signer, `{}`)
	none := "/"
	s.address = &none
	s.stamped([]byte(`{"text": "a", "times": 2, "source": {"ref": "s3://bucket/inputs/acme/a"}}`))
	if w := s.do(t, cfg); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "source.ref") {
		t.Errorf("a ref was opened: %d %s", w.Code, w.Body)
	}
	s.stamped([]byte(`{"text": "a", "times": 2}`))
	w := s.do(t, cfg)
	if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"text":"aa","n":4,"size":0}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestRefsOfAStepAreItsTenants holds that a codec opens, of a step, what the ticket's
// tenant stored, whoever the headers and the event name.
func TestRefsOfAStepAreItsTenants(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	f, b := newFake(), newBucket()
	b.put("inputs/acme/a", "hello")
	b.put("inputs/somebody/a", "secret")
	for tenant, size := range map[string]int{"acme": 5, "somebody": 0} {
		s := newSent(signer, `{"ref": "s3://bucket/inputs/`+tenant+`/a"}`)
		s.plan.Input = `{"text": "a", "times": 1, "source": input}`
		s.headers = []string{infer.TenantHeader, "somebody"}
		w := s.do(t, stepConfig(f, b, signer))
		if size == 0 {
			refusedAs(t, w, problem.InvalidArgument, "first")
			continue
		}
		_, e := answered(t, w)
		var out formAnswer
		if err := json.Unmarshal(e.Steps["first"].JSON, &out); err != nil || out.Size != size {
			t.Errorf("%v %+v", err, out)
		}
	}
	for _, opened := range b.opened {
		if !strings.HasPrefix(opened, "acme ") {
			t.Errorf("opened for %s", opened)
		}
	}
}

// TestClaimChecks holds that only what a plan reads is fetched, of the ticket's
// execution and tenant, and is what the claim check says.
func TestClaimChecks(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	const value = `{"text": "abc", "times": 2}`
	for name, tc := range map[string]struct {
		change func(b *bucket, c *envelope.Claim)
		code   problem.Code
		opened int
		detail string
	}{
		"good":                          {opened: 1},
		"of the tenant's input":         {change: func(b *bucket, c *envelope.Claim) { *c = *b.put("inputs/acme/x", value) }, opened: 1},
		"of another tenant":             {change: func(b *bucket, c *envelope.Claim) { *c = *b.put("payloads/somebody/ex1/x", value) }, code: problem.PermissionDenied},
		"of another execution":          {change: func(b *bucket, c *envelope.Claim) { *c = *b.put("payloads/acme/ex2/x", value) }, code: problem.PermissionDenied},
		"of nearly the same":            {change: func(b *bucket, c *envelope.Claim) { *c = *b.put("payloads/acme/ex11/x", value) }, code: problem.PermissionDenied},
		"of a model":                    {change: func(b *bucket, c *envelope.Claim) { *c = *b.put("models/acme/1/model.json", value) }, code: problem.PermissionDenied},
		"not there":                     {change: func(_ *bucket, c *envelope.Claim) { c.Ref += "x" }, code: problem.InvalidArgument, opened: 1, detail: "steps.before"},
		"changed":                       {change: func(b *bucket, c *envelope.Claim) { b.objects[c.Ref][2] = 'T' }, code: problem.EventDamaged, opened: 1, detail: "steps.before"},
		"shorter":                       {change: func(b *bucket, c *envelope.Claim) { b.objects[c.Ref] = b.objects[c.Ref][1:] }, code: problem.EventDamaged, opened: 1, detail: "steps.before"},
		"longer":                        {change: func(b *bucket, c *envelope.Claim) { b.objects[c.Ref] = append(b.objects[c.Ref], ' ') }, code: problem.EventDamaged, opened: 1, detail: "steps.before"},
		"empty":                         {change: func(b *bucket, c *envelope.Claim) { b.objects[c.Ref] = nil }, code: problem.EventDamaged, opened: 1, detail: "steps.before"},
		"no JSON":                       {change: func(b *bucket, c *envelope.Claim) { *c = *b.put("payloads/acme/ex1/x", "hello") }, code: problem.InvalidArgument, opened: 1, detail: "plan.input"},
		"too large":                     {change: func(_ *bucket, c *envelope.Claim) { c.Size = 33 << 20 }, code: problem.PayloadTooLarge, detail: "steps.before"},
		"more than its tenant may hold": {change: func(_ *bucket, c *envelope.Claim) { c.Size = 31 << 20 }, code: problem.PayloadTooLarge, detail: "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, b := newFake(), newBucket()
			claim := b.put("payloads/acme/ex1/before.0.1.json", value)
			if tc.change != nil {
				tc.change(b, claim)
			}
			s := newSent(signer, `{}`)
			s.envelope.Input = envelope.Value{Claim: &envelope.Claim{Ref: "s3://bucket/payloads/acme/ex1/input.json", SHA256: strings.Repeat("0", 64), Size: 1}}
			s.envelope.Steps = map[string]envelope.Value{"before": {Claim: claim}}
			s.plan.Input = "steps.before"
			cfg := stepConfig(f, b, signer)
			cfg.Limits = serve.Limits{MaxBody: 32 << 20, Inflight: 384 << 20}
			if name == "more than its tenant may hold" {
				cfg.Limits = serve.Limits{MaxBody: 4 << 20, Inflight: 48 << 20}
				cfg.Limits.MaxBody, claim.Size = 4<<20, 4<<20
				b.objects[claim.Ref] = []byte(`[` + strings.Repeat(`1,`, (4<<20-2)/2-1) + `12]`)
				claim.Size, claim.SHA256 = int64(len(b.objects[claim.Ref])), envelope.Sum(b.objects[claim.Ref])
			}
			w := s.do(t, cfg)
			if len(b.opened) != tc.opened && name != "more than its tenant may hold" {
				t.Errorf("opened %v", b.opened)
			}
			if tc.code != "" {
				if detail := refusedAs(t, w, tc.code, "first"); !strings.Contains(detail, tc.detail) {
					t.Errorf("%q; want %q", detail, tc.detail)
				}
				return
			}
			_, e := answered(t, w)
			if !bytes.Contains(e.Steps["first"].JSON, []byte(`"abcabc"`)) || e.Steps["before"].Claim == nil || e.Input.Claim == nil {
				t.Errorf("%s", w.Body)
			}
		})
	}
}

// TestWhatAStepReads holds that a plan has the execution's input, the event, outputs,
// the item and its index.
func TestWhatAStepReads(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	f, b := newFake(), newBucket()
	s := newSent(signer, `{"a": "in"}`)
	s.envelope.Event = json.RawMessage(`{"type":"t"}`)
	s.envelope.Item, s.envelope.Index = &envelope.Value{JSON: json.RawMessage(`"it"`)}, 7
	s.envelope.Steps = map[string]envelope.Value{"one": {JSON: json.RawMessage(`["out"]`)}, "two": {JSON: json.RawMessage(`null`)}}
	s.plan.Input = `{"text": input.a + event.type + steps.one[0] + item + string(index) + (steps.two == null ? "0" : "1"), "times": 1}`
	_, e := answered(t, s.do(t, stepConfig(f, b, signer)))
	var out formAnswer
	if err := json.Unmarshal(e.Steps["first"].JSON, &out); err != nil || out.Text != "intoutit70" {
		t.Errorf("%v %+v", err, out)
	}
	if e.Item == nil || e.Index != 7 || string(e.Event) != `{"type":"t"}` {
		t.Errorf("%+v", e)
	}
}

// TestLargeOutputs holds that an output which an envelope has no room for is stored, as
// the same object each time, and that the envelope's bound holds.
func TestLargeOutputs(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	inline := func(bytes int) envelope.Value {
		return envelope.Value{JSON: json.RawMessage(`"` + strings.Repeat("x", bytes-2) + `"`)}
	}
	full := map[string]envelope.Value{"a": inline(60 << 10), "b": inline(59 << 10), "c": inline(58 << 10), "d": inline(50 << 10)}
	for name, tc := range map[string]struct {
		steps   map[string]envelope.Value
		times   int // bytes of the output, nearly
		claims  []string
		noStore bool
		failing error
		code    problem.Code
	}{
		"small":                       {times: 100},
		"nearly too large":            {times: 65_000},
		"too large":                   {times: 66_000, claims: []string{"first"}},
		"nowhere to store":            {times: 66_000, noStore: true, code: problem.PayloadTooLarge},
		"the store does not answer":   {times: 66_000, failing: problem.New(problem.Unavailable, "S3 is away"), code: problem.Unavailable},
		"a full envelope":             {steps: full, times: 40_000, claims: []string{"a"}},
		"a full envelope, nowhere":    {steps: full, times: 40_000, noStore: true, code: problem.PayloadTooLarge},
		"a full envelope, both large": {steps: full, times: 64_000, claims: []string{"first"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, b := newFake(), newBucket()
			b.failing = tc.failing
			cfg := stepConfig(f, b, signer)
			if tc.noStore {
				cfg.Store = nil
			}
			s := newSent(signer, `{"text": "y", "times": `+strconv.Itoa(tc.times)+`}`)
			s.envelope.Steps = tc.steps
			w := s.do(t, cfg)
			if tc.code != "" {
				refusedAs(t, w, tc.code, "first")
				return
			}
			_, e := answered(t, w)
			var claims []string
			for name, v := range e.Steps {
				if v.Claim == nil {
					continue
				}
				claims = append(claims, name)
				data := b.objects[v.Claim.Ref]
				if !strings.HasPrefix(v.Claim.Ref, "s3://bucket/payloads/acme/ex1/"+name+".2.3-") || envelope.Sum(data) != v.Claim.SHA256 || int64(len(data)) != v.Claim.Size {
					t.Errorf("%+v of %d bytes", v.Claim, len(data))
				}
			}
			if diff := cmp.Diff(tc.claims, claims); diff != "" {
				t.Error(diff)
			}
			stored := len(b.objects)
			answered(t, s.do(t, cfg)) // delivered twice
			if len(b.objects) != stored {
				t.Errorf("%d objects, and then %d", stored, len(b.objects))
			}
		})
	}
}

// TestStepsOfModels holds that a service of models answers a published model's plan
// with V2 JSON.
func TestStepsOfModels(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	for name, tc := range map[string]struct {
		model, input string
		code         problem.Code
	}{
		"good":            {model: "double", input: `{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [input.a, 2.5]}]}`},
		"never in binary": {model: "double", input: `{"parameters": {"binary_data_output": true}, "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [input.a, 2.5]}], "outputs": [{"name": "y", "parameters": {"binary_data": true}}]}`},
		"no V2":           {model: "double", input: `input`, code: problem.InvalidArgument},
		"not there":       {model: "gone", input: `{"inputs": []}`, code: problem.ModelNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, b := newFake(), newBucket()
			cfg := stepConfig(f, b, signer)
			cfg.Codec, cfg.Function = nil, "onnx"
			s := newSent(signer, `{"a": 1}`)
			s.plan = ticket.Plan{Function: tc.model, Model: tc.model, Step: "first", Input: tc.input}
			w := s.do(t, cfg)
			if tc.code != "" {
				refusedAs(t, w, tc.code, "first")
				return
			}
			out, e := answered(t, w)
			const want = `{"model_name":"double","model_version":"3","outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[2,5]}]}`
			if got := string(e.Steps["first"].JSON); got != want || out.Type() != "dev.modelserve.double.answered.v1" {
				t.Errorf("%s %s", out.Type(), got)
			}
			if r := e.Records[0]; r.Rows != 1 || r.Model != "double@3;digest=sha256:abc" || f.tenant.Load() != "acme" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestAStepEndsByItsDeadline holds that a step ends at the earlier of its plan's and
// its ticket's time, and gives everything back.
func TestAStepEndsByItsDeadline(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	for name, tc := range map[string]struct {
		ticket time.Duration
		plan   time.Duration
		want   time.Duration
	}{
		"the ticket's":           {ticket: 10 * time.Second, want: 10 * time.Second},
		"the plan's":             {ticket: time.Minute, plan: 3 * time.Second, want: 3 * time.Second},
		"the ticket's, though":   {ticket: 2 * time.Second, plan: 3 * time.Second, want: 2 * time.Second},
		"what is left of it all": {ticket: time.Hour, plan: time.Hour, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				cfg := stepConfig(f, newBucket(), signer)
				cfg.Model = "slow"
				s := newSent(signer, `{"text": "a", "times": 1}`)
				s.ticket.Deadline = time.Now().Add(tc.ticket)
				s.plan.TimeoutMS = tc.plan.Milliseconds()
				if name == "what is left of it all" {
					s.headers = []string{infer.TimeoutHeader, "1000"}
				}
				began := time.Now()
				refusedAs(t, s.do(t, cfg), problem.DeadlineExceeded, "first")
				if took := time.Since(began); took != tc.want {
					t.Errorf("took %v, want %v", took, tc.want)
				}
				if f.leases.Load() != 0 {
					t.Error("a lease is held")
				}
			})
		})
	}
}

// TestStepsAtOnce holds that steps of several tenants run at once, and that each gets
// its own answer and all memory is given back.
func TestStepsAtOnce(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	f, b := newFake(), newBucket()
	server, err := serve.New(stepConfig(f, b, signer))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			text := strconv.Itoa(i) + "."
			s := newSent(signer, `{"text": "`+text+`", "times": 2}`)
			s.ticket.Tenant, s.ticket.Execution, s.structured = "t"+strconv.Itoa(i%5), "ex"+strconv.Itoa(i), i%2 == 0
			w := httptest.NewRecorder()
			server.ServeHTTP(w, s.request(t, "http://form"))
			if e, err := envelope.Parse(dataOf(w)); err != nil || !bytes.Contains(e.Steps["first"].JSON, []byte(`"`+text+text+`"`)) {
				t.Errorf("%d %v: %s", i, err, w.Body)
			}
		})
	}
	all.Wait()
	if f.leases.Load() != 0 || f.released.Load() != 64 {
		t.Errorf("%d leases, %d released", f.leases.Load(), f.released.Load())
	}
}

// dataOf is an answer's data, in either form.
func dataOf(w *httptest.ResponseRecorder) []byte {
	var structured struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(w.Body.Bytes(), &structured) == nil && structured.Data != nil {
		return structured.Data
	}
	return w.Body.Bytes()
}

// FuzzStep sends anything with a good ticket: it is answered or refused, shortly, and
// never our fault.
func FuzzStep(f *testing.F) {
	signer := newSigner(f)
	fake, b := newFake(), newBucket()
	server, err := serve.New(stepConfig(fake, b, signer))
	if err != nil {
		f.Fatal(err)
	}
	s := newSent(signer, `{"text": "a", "times": 1}`)
	for _, structured := range []bool{false, true} {
		s.structured = structured
		r := s.request(f, "http://form")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, r.Header.Get("Content-Type"), r.URL.RawQuery)
	}
	f.Add([]byte(`{"input":{"ref":"s3://a/b","sha256":"0","size":1,"content_type":""},"claims":["input"]}`), "application/json", "plan=1")
	f.Fuzz(func(t *testing.T, body []byte, media, query string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", media)
		length, sum := envelope.Stamp(body)
		for name, value := range map[string]string{
			"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "ticket": signer.Ticket(s.ticket), "datalength": length, "datasha256": sum,
		} {
			r.Header.Set("Ce-"+name, value)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		damaged := w.Code == http.StatusBadGateway
		if w.Code >= http.StatusInternalServerError && !damaged || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
	})
}
