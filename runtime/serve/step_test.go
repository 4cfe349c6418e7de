package serve_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// TestAStepIsAnswered holds what a function makes of an event with a plan, in both
// forms: the envelope with the output and a record, in the reply, the same each time.
func TestAStepIsAnswered(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	for name, change := range map[string]func(*sent){
		"binary":                           func(*sent) {},
		"structured":                       func(s *sent) { s.structured = true },
		"as the model of the codec's name": func(s *sent) { s.plan.Model = "form" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			s := newSent(signer, `{"text": "<é>", "times": 2, "more": [1]}`)
			change(s)
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
		"an unsigned address": {func(s *sent, _ *serve.Config) { before, _, _ := strings.Cut(goodAddress, "&sig"); s.address = &before }, problem.PermissionDenied, "", "sig"},
		"a forged address":    {func(s *sent, _ *serve.Config) { s.address = changed(forge(goodAddress)) }, problem.PermissionDenied, "", "signature wrong"},
		"of another's key":    {func(s *sent, _ *serve.Config) { s.address = addressOf(other, digest, s.plan) }, problem.PermissionDenied, "", "not trusted here"},
		"a name twice":        {func(s *sent, _ *serve.Config) { s.address = changed(goodAddress + "&plan=1") }, problem.PermissionDenied, "", "malformed"},
		"of another plan":     {func(s *sent, _ *serve.Config) { s.address = addressOf(signer, digest, otherPlan) }, problem.InvalidArgument, "", "plans"},
		"another plan's text": {func(s *sent, _ *serve.Config) {
			s.planText = []byte(`{"function":"form","input":"input","step":"first"}`)
		}, problem.PermissionDenied, "", "not the one that was signed"},
		"another function's":                   {func(s *sent, _ *serve.Config) { s.plan.Function = "other" }, problem.PermissionDenied, "", "another's"},
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

// FuzzStepInput evaluates any expression over any input, as whoever may register a
// pipeline has it: the step is answered or refused, and never our fault.
func FuzzStepInput(f *testing.F) {
	signer := newSigner(f)
	fake, b := newFake(), newBucket()
	cfg := stepConfig(fake, b, signer)
	cfg.Codec = calm{}
	server, err := serve.New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"text": input.text}`, `{"text": "a"}`)
	f.Add(`input.map(a, input.map(b, input))`, `[1, 2.5, "x", null, {"a": 1e300}]`)
	f.Add(`steps.before[index]`, `{}`)
	f.Fuzz(func(t *testing.T, expression, input string) {
		s := newSent(signer, input)
		s.plan.Input = expression
		s.envelope.Steps = map[string]envelope.Value{"before": {JSON: json.RawMessage(`[1]`)}}
		if _, err := s.plan.Canonical(); err != nil {
			return
		}
		if _, err := s.envelope.Encode(); err != nil {
			return
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, s.request(t, "http://form"))
		if w.Code >= http.StatusInternalServerError || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
	})
}
