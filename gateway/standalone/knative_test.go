package standalone

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/modelserveai/modelserve/internal/env"
)

// apiServer answers lists and watches of one Service and its Revision, as an API
// server does that streams lists: every object, then a bookmark.
type apiServer struct {
	url  string      // of the function
	away atomic.Bool // it answers 503
	pods atomic.Int32
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.away.Load() {
		http.Error(w, "", http.StatusServiceUnavailable)
		return
	}
	kind, text := "Service", fmt.Sprintf(`{"metadata":{"name":"rec","namespace":"default","resourceVersion":"1"},"status":{
		"address":{"url":%q},"traffic":[{"revisionName":"rec-1","percent":100}],"conditions":[{"type":"Ready","status":"True"}]}}`, a.url)
	if strings.HasSuffix(r.URL.Path, "/revisions") {
		kind, text = "Revision", fmt.Sprintf(`{"metadata":{"name":"rec-1","namespace":"default","resourceVersion":"1"},
			"spec":{"containers":[{"env":[{"name":"MODELSERVE_MODELS","value":"rec@1"}]}]},
			"status":{"actualReplicas":%d,"conditions":[{"type":"Ready","status":"True"}]}}`, a.pods.Load())
	}
	if !strings.HasPrefix(r.URL.Path, "/apis/serving.knative.dev/v1/namespaces/default/") || r.URL.Query().Get("watch") != "true" {
		http.Error(w, "", http.StatusNotFound)
		return
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		panic(err)
	}
	object["apiVersion"], object["kind"] = "serving.knative.dev/v1", kind
	bookmark := map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": kind,
		"metadata": map[string]any{"resourceVersion": "1", "annotations": map[string]any{"k8s.io/initial-events-end": "true"}},
	}
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		_ = out.Encode(map[string]any{"type": "ADDED", "object": object})
		_ = out.Encode(map[string]any{"type": "BOOKMARK", "object": bookmark})
	}
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// TestGatewayOfACluster holds that the process follows the API server that
// KUBECONFIG names, waits for it before it is ready, and wakes nothing to report
// of what is at zero.
func TestGatewayOfACluster(t *testing.T) {
	t.Parallel()
	backend := s3mem.New()
	if err := backend.CreateBucket("models"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s3.Close)
	var calls atomic.Int32
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		_, _ = fmt.Fprint(w, "answered ", r.URL.Path)
	}))
	t.Cleanup(service.Close)
	api := &apiServer{url: service.URL}
	api.away.Store(true)
	server := httptest.NewServer(api)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: %q}}]\n", server.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	environment := environment(t, s3.URL, service.URL, key)
	environment["MODELSERVE_ROUTES"], environment["KUBECONFIG"], environment["K_SERVICE"] = "knative:default", kubeconfig, "gateway"
	var cfg config
	if err := env.ParseFrom(&cfg, environment); err != nil {
		t.Fatal(err)
	}
	address := startGateway(t, cfg)
	if status, body := get(t, address, "", "/readyz", ""); status != http.StatusServiceUnavailable {
		t.Errorf("before the API server answers: %d %s", status, body)
	}
	api.away.Store(false)
	deadline := time.Now().Add(30 * time.Second)
	for status := 0; status != http.StatusOK; status, _ = get(t, address, "", "/readyz", "") {
		if time.Now().After(deadline) {
			t.Fatal("it is not ready")
		}
	}
	if status, body := get(t, address, "rec.default.models.test", "/x", key); status != http.StatusOK || body != "answered /x" {
		t.Errorf("%d %s", status, body)
	}
	before := calls.Load()
	if status, body := get(t, address, "rec.default.models.test", "/v2/models/rec/stats", key); status != http.StatusOK || !strings.Contains(body, `"version":"1"`) {
		t.Errorf("statistics: %d %s", status, body)
	}
	if calls.Load() != before {
		t.Error("statistics were asked of a function at zero")
	}
}
