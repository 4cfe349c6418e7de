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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

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
			if ok && !slices.Contains([]string{"specversion", "id", "source", "type", "time", "subject"}, name) {
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
	if !ok || w.Code != code.Row().Status || !strings.HasPrefix(w.Body.String(), begins) || of.Name != step || w.Body.Len() > problem.MaxStep {
		t.Fatalf("%d %s; want %s of %q", w.Code, w.Body, code, step)
	}
	return e.Detail
}
