package standalone

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/knative/knativetest"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/sign"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

// world is what the process stands on.
type world struct {
	cluster  *knativetest.Cluster
	channels *httptest.Server
	events   chan *http.Request // that came to a channel
	database *postgrestest.Server
	config   config
	gateway  string // the URL of its database
}

func newWorld(t *testing.T) *world {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("models"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s3.Close)
	w := &world{cluster: knativetest.New("models"), events: make(chan *http.Request, 1024), database: postgrestest.Start(t)}
	w.channels = httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		w.events <- r
		answer.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(w.channels.Close)
	for _, name := range []string{"content-detect", "text-detect", "text-orient", "text-recognize", "speech-detect"} {
		w.function(t, name)
	}
	keys := t.TempDir()
	if _, err := sign.CreateKeys(filepath.Join(keys, "key"), filepath.Join(keys, "pub")); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(keys, "key"))
	if err != nil {
		t.Fatal(err)
	}
	w.gateway = w.database.URL(w.database.Database(t, ""))
	environment := map[string]string{
		"MODELSERVE_GATEWAY_DB": w.gateway,
		"PORT":                  "0", "MODELSERVE_METRICS_ADDRESS": "127.0.0.1:0", "MODELSERVE_GRACE": "5s", "MODELSERVE_LOG_LEVEL": "error",
		"MODELSERVE_PIPELINES_DB": w.database.URL(w.database.Database(t, "")), "MODELSERVE_REDIS": "redis://" + miniredis.RunT(t).Addr(),
		"MODELSERVE_PIPELINES_KEY": string(key), "MODELSERVE_GATEWAY_SECRET": "secret", "MODELSERVE_PIPELINES_NAMESPACE": "models",
		"MODELSERVE_PIPELINES_CHANNELS": w.channels.URL,
		"MODELSERVE_S3_BUCKET":          "models", "MODELSERVE_S3_ENDPOINT": s3.URL, "MODELSERVE_S3_PATH_STYLE": "true",
		"MODELSERVE_S3_ACCESS_KEY_ID": "a", "MODELSERVE_S3_SECRET_ACCESS_KEY": "b",
	}
	if err := env.ParseFrom(&w.config, environment); err != nil {
		t.Fatal(err)
	}
	return w
}

// function adds a Knative Service.
func (w *world) function(t *testing.T, name string) {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": map[string]any{"name": name, "namespace": "models"},
	}}
	if _, err := w.cluster.Resource(knativetest.Resource("Service")).Namespace("models").Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// has returns which of some Sequences there is not.
func (w *world) has(t *testing.T, sequences ...string) error {
	t.Helper()
	all, err := w.cluster.Names(t.Context())
	for _, name := range sequences {
		if !slices.Contains(all, "S "+name) {
			return fmt.Errorf("there is no %s among %v, %w", name, all, err)
		}
	}
	return nil
}

// running is the process.
type running struct {
	url  string
	stop func() error
}

func (w *world) run(t *testing.T) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	addresses, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		done <- run(ctx, w.config, &around{listening: func(a net.Addr) { addresses <- a }, cluster: w.cluster})
	}()
	select {
	case a := <-addresses:
		_, port, _ := net.SplitHostPort(a.String())
		r := &running{"http://127.0.0.1:" + port, func() error { cancel(); return <-done }}
		eventually(t, "it is ready", func() error {
			if status, body := r.ask(t, http.MethodGet, "/readyz", "", nil); status != http.StatusOK {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
		return r
	case err := <-done:
		cancel()
		t.Fatal(err)
		return nil
	}
}

// ask asks as the gateway does, for a tenant; "" as somebody else.
func (r *running) ask(t *testing.T, method, path, tenant string, body []byte) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	if tenant != "" {
		req.Header.Set(infer.SecretHeader, "secret")
		req.Header.Set(infer.TenantHeader, tenant)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in half a minute: %s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

const twoSteps = `{"apiVersion": "modelserve.dev/v1", "kind": "Pipeline", "metadata": {"name": "two"}, "spec": {"steps": [
	{"name": "a", "function": "content-detect", "input": "input"}, {"name": "b", "function": "content-detect", "input": "steps.a"}]}}`

// TestTheServiceInACluster holds that what is registered becomes objects, that an
// execution's event goes to its channel, and that nothing is lost between two processes.
func TestTheServiceInACluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.run(t)
	names := func(want ...string) func() error { return func() error { return w.has(t, want...) } }
	eventually(t, "the shipped pipelines have their objects", names(compile.Sequence("", "read-document", 1, 0), compile.Sequence("", "triage", 1, 0)))

	for _, path := range []string{contract.PipelinesPath, contract.ExecutionsPath} {
		if status, body := r.ask(t, http.MethodGet, path, "", nil); status != http.StatusUnauthorized {
			t.Errorf("%s of somebody else: %d %s", path, status, body)
		}
	}
	if status, body := r.ask(t, http.MethodPost, compile.ReplyPath, "", []byte("{}")); status < 400 || status > 499 {
		t.Errorf("an event without a ticket: %d %s", status, body)
	}
	if status, body := r.ask(t, http.MethodPost, contract.PipelinesPath, "acme", []byte(twoSteps)); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	status, body := r.ask(t, http.MethodPost, contract.PathOf(contract.StartPath, "two"), "acme", []byte(`{"content": "aGk="}`))
	var x contract.Execution
	if err := json.Unmarshal([]byte(body), &x); err != nil || status != http.StatusAccepted {
		t.Fatalf("%d %s %v", status, body, err)
	}
	sequence := compile.Sequence("acme", "two", 1, 0)
	eventually(t, "its objects are there", names(sequence))
	if len(w.events) != 0 {
		t.Error("an event was sent before its channel is ready")
	}
	if err := w.cluster.Report(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	select {
	case event := <-w.events:
		if want := compile.Host(compile.Channel(sequence, 0), "models", "cluster.local"); event.Host != want {
			t.Errorf("it went to %s, want %s", event.Host, want)
		}
		if event.Header.Get("Ce-Executionid") != x.ID || event.Header.Get("Ce-Ticket") == "" || event.Header.Get("Ce-Tenant") != "acme" {
			t.Errorf("the event has %v", event.Header)
		}
	case <-time.After(10 * time.Minute):
		t.Fatal("no event was sent")
	}
	w.charges(t, r)
	if err := r.stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}

	r = w.run(t)
	if status, body := r.ask(t, http.MethodPost, contract.PathOf(contract.CancelPath, x.ID), "other", nil); status != http.StatusNotFound {
		t.Errorf("another tenant cancels it: %d %s", status, body)
	}
	if status, body := r.ask(t, http.MethodPost, contract.PathOf(contract.CancelPath, x.ID), "acme", nil); status >= 300 || !strings.Contains(body, `"cancelled"`) {
		t.Errorf("%d %s", status, body)
	}
	if err := r.stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestABadEnvironmentIsReportedWhole(t *testing.T) {
	t.Parallel()
	err := env.ParseFrom(new(config), map[string]string{
		"PORT": "-1", "MODELSERVE_PIPELINES_DB": "mysql://hush", "MODELSERVE_REDIS": "redis://:hush@", "MODELSERVE_PIPELINES_KEY": "hush",
		"MODELSERVE_PIPELINES_CHANNELS": "ftp://x", "MODELSERVE_PIPELINES_POSTS": "0", "MODELSERVE_PIPELINES_RUNNING": "-1",
		"MODELSERVE_PIPELINES_COLD_START": "-1s", "MODELSERVE_GRACE": "-1s", "MODELSERVE_PIPELINES_NETWORKS": "10.0.0.0/8",
	})
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, want := range []string{
		"PORT: ", "MODELSERVE_PIPELINES_DB: ", "MODELSERVE_REDIS: ", "MODELSERVE_PIPELINES_KEY: ", "MODELSERVE_PIPELINES_CHANNELS: ", "MODELSERVE_PIPELINES_POSTS: ",
		"MODELSERVE_PIPELINES_RUNNING: ", "MODELSERVE_PIPELINES_COLD_START: ", "MODELSERVE_GRACE: ", "MODELSERVE_PIPELINES_SECRET: ", "MODELSERVE_S3_BUCKET: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Errorf("a secret is in the error: %v", err)
	}
}
