package serve_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

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
