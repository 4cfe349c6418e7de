package contentdetect

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// one is a backend of one model.
type one struct {
	serve.Repository
	serve.Runner
}

func (o one) Acquire(context.Context, string, string) (serve.Lease, error) { return lease(o), nil }

type lease struct {
	serve.Repository
	serve.Runner
}

func (lease) Release() {}

func (l lease) Run(ctx context.Context, req *infer.Request) (*infer.Response, error) {
	out, err := l.Runner.Run(ctx, req.Inputs)
	return &infer.Response{Outputs: out}, err
}

// TestAStepIsAnsweredAsACall holds that the codec answers a step of a pipeline as it
// answers a native call.
func TestAStepIsAnsweredAsACall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := sign.CreateKeys(filepath.Join(dir, "key"), filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	signer := ticket.NewSigner(key)
	models := one{Runner: codectest.Open(t, "../../../.deps/models/content-detect/model.onnx")}
	server, err := serve.New(serve.Config{Backend: models, Repository: models, Function: "content-detect", Codec: New(), Tickets: signer.Verifier()})
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile("contentdetect.go")
	if err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString(content)
	post := func(url string, body []byte, headers map[string]string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
		for name, value := range headers {
			r.Header.Set(name, value)
		}
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w
	}
	var want, got Answer
	if err := json.Unmarshal(post("/", []byte(`{"content":"`+encoded+`"}`), nil).Body.Bytes(), &want); err != nil || want.Label != "go" {
		t.Fatalf("%v %+v", err, want)
	}

	plan := ticket.Plan{Function: "content-detect", Step: "content", Input: `{"content": input.upload}`}
	text, err := plan.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	e := envelope.Envelope{
		Input: envelope.Value{JSON: json.RawMessage(`{"upload":"` + encoded + `"}`)},
		Plans: map[string]json.RawMessage{envelope.Sum(text): text},
	}
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("0", 64)
	address, err := signer.Address(digest, plan)
	if err != nil {
		t.Fatal(err)
	}
	length, sum := envelope.Stamp(data)
	w := post(address, data, map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/pipelines/p", "Ce-Type": envelope.RequestedType, "Ce-Datalength": length, "Ce-Datasha256": sum,
		"Ce-Ticket": signer.Ticket(ticket.Ticket{Tenant: "acme", Execution: "ex1", Pipeline: digest, Deadline: time.Now().Add(time.Minute)}),
	})
	answer, err := envelope.Parse(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(answer.Steps["content"].JSON, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, tolerance)); diff != "" {
		t.Error(diff)
	}
}
