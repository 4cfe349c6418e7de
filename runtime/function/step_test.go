package function

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// repeat is a codec: it answers a text twice as often as it is asked to, by the model.
type repeat struct{}

func (repeat) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	var form struct {
		Text  string `json:"text"`
		Times int    `json:"times"`
	}
	if err := payload.Decode(in, &form); err != nil {
		return nil, err
	}
	out, err := model.Run(ctx, []infer.Tensor{infer.NewTensor("x", []int64{1, 2}, []float32{float32(form.Times), 0})})
	if err != nil {
		return nil, err
	}
	y, err := infer.Values[float32](&out[0])
	if err != nil {
		return nil, err
	}
	return strings.Repeat(form.Text, int(y[0])), nil
}

// TestAFunctionAnswersSteps holds what a whole function makes of a step's event: its
// key is read, a claim check is fetched from S3, the model runs, and an output that is
// large is stored there; without the key every plan is refused.
func TestAFunctionAnswersSteps(t *testing.T) {
	t.Parallel()
	environment := storage(t)
	publish(t, environment)
	dir := t.TempDir()
	key, err := sign.CreateKeys(filepath.Join(dir, "key"), filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	var cfg config
	if err := env.ParseFrom(&cfg, environment); err != nil {
		t.Fatal(err)
	}
	store, err := artifact.NewStore(t.Context(), cfg.S3)
	if err != nil {
		t.Fatal(err)
	}
	const input = `{"text": "0123456789"}`
	ref, err := store.PutPayload(t.Context(), "payloads/acme/ex1/input.json", "application/json", []byte(input))
	if err != nil {
		t.Fatal(err)
	}
	signer, digest := ticket.NewSigner(key), "sha256:"+strings.Repeat("0", 64)
	plan := ticket.Plan{Function: "repeat", Step: "first", Input: `{"text": input.text, "times": 4000}`}
	text, err := plan.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	e := envelope.Envelope{
		Input: envelope.Value{Claim: &envelope.Claim{Ref: ref, SHA256: envelope.Sum([]byte(input)), Size: int64(len(input))}},
		Plans: map[string]json.RawMessage{envelope.Sum(text): text},
	}
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	address, err := signer.Address(digest, plan)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(p *process) (int, []byte) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+address, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		length, sum := envelope.Stamp(data)
		for name, value := range map[string]string{
			"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/pipelines/p", "Ce-Type": envelope.RequestedType,
			"Ce-Datalength": length, "Ce-Datasha256": sum,
			"Ce-Ticket": signer.Ticket(ticket.Ticket{Tenant: "acme", Execution: "ex1", Pipeline: digest, Deadline: time.Now().Add(time.Minute)}),
		} {
			req.Header.Set(name, value)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, body
	}

	p := begin(t, Spec{Name: "repeat", Codec: func(Limits) serve.Codec { return repeat{} }}, environment)
	p.waitReady()
	status, body := ask(p)
	if e, _, ok := problem.ParseStep(body); !ok || status != http.StatusForbidden || !strings.Contains(e.Detail, "MODELSERVE_PIPELINES_PUBLIC_KEY") {
		t.Errorf("without a key: %d %s", status, body)
	}
	p.stop()
	if err := <-p.done; err != nil {
		t.Error(err)
	}

	environment["MODELSERVE_PIPELINES_PUBLIC_KEY"] = string(public)
	environment["MODELSERVE_CACHE_DIR"] = t.TempDir()
	p = begin(t, Spec{Name: "repeat", Codec: func(Limits) serve.Codec { return repeat{} }}, environment)
	p.waitReady()
	status, body = ask(p)
	answer, err := envelope.Parse(body)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%d %v %.300s", status, err, body)
	}
	claim := answer.Steps["first"].Claim
	if claim == nil || len(answer.Records) != 1 || !strings.HasPrefix(answer.Records[0].Model, "double@1;digest=sha256:") {
		t.Fatalf("%.300s", body)
	}
	stored, err := store.OpenInput(t.Context(), artifact.Asked{Field: "first", Ref: claim.Ref, Tenant: "acme", Most: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	got, err := io.ReadAll(stored)
	if err != nil || string(got) != `"`+strings.Repeat("0123456789", 8000)+`"` || envelope.Sum(got) != claim.SHA256 {
		t.Errorf("%v: %d bytes %.20s", err, len(got), got)
	}
	p.stop()
	if err := <-p.done; err != nil {
		t.Error(err)
	}
}
