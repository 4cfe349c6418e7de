package standalone

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/internal/env"
)

// environment is a whole configuration, as a cluster gives it.
func environment(t *testing.T, s3, function, key string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	routes := filepath.Join(dir, "routes.yaml")
	text := "functions:\n- {name: text-detect, url: '" + function + "', models: [text-detect@1]}\n- {name: pool, pool: true}\n"
	if err := os.WriteFile(routes, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"PORT": "0", "MODELSERVE_METRICS_ADDRESS": "127.0.0.1:0",
		"MODELSERVE_GATEWAY_DB": filepath.Join(dir, "gateway.db"), "MODELSERVE_ROUTES": routes, "MODELSERVE_ADMIN_KEY": key, "MODELSERVE_HASH_KEYS": hashKey().String(),
		"MODELSERVE_S3_BUCKET": "models", "MODELSERVE_S3_ENDPOINT": s3, "MODELSERVE_S3_PATH_STYLE": "true",
		"MODELSERVE_S3_ACCESS_KEY_ID": "a", "MODELSERVE_S3_SECRET_ACCESS_KEY": "b",
	}
}

// hashKey is what the tests' keys are hashed with.
func hashKey() auth.HashKey { return auth.HashKey{ID: "test", Key: [32]byte{1}} }

// newKey is the text of an operator's key.
func newKey(t *testing.T) string {
	t.Helper()
	hasher, err := auth.NewHasher(hashKey())
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := hasher.NewKey(auth.KeySpec{Name: "n", Tenant: "t", Scopes: []auth.Permission{auth.Admin}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestGateway(t *testing.T) {
	t.Parallel()
	backend := s3mem.New()
	if err := backend.CreateBucket("models"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s3.Close)
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "tenant "+r.Header.Get("Modelserve-Tenant"))
	}))
	t.Cleanup(function.Close)
	key := newKey(t)
	var cfg config
	if err := env.ParseFrom(&cfg, environment(t, s3.URL, function.URL, key)); err != nil {
		t.Fatal(err)
	}

	for _, fresh := range []bool{true, false, true} { // the second finds its key there, the third an empty disk
		if fresh {
			for _, suffix := range []string{"", "-wal", "-shm"} {
				if err := os.Remove(cfg.Database + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		addresses, done := make(chan net.Addr, 1), make(chan error, 1)
		go func() { done <- run(ctx, cfg, func(a net.Addr) { addresses <- a }) }()
		var address string
		select {
		case a := <-addresses:
			_, port, err := net.SplitHostPort(a.String())
			if err != nil {
				t.Fatal(err)
			}
			address = "127.0.0.1:" + port
		case err := <-done:
			t.Fatal(err)
		}
		for _, tc := range []struct {
			host, path, key string
			status          int
			body            string
		}{
			{"", "/readyz", "", 200, "ready"},
			{"", "/metrics", key, 404, "not_found"},
			{"text-detect.default.models.test", "/", key, 200, "tenant default"},
			{"text-detect.default.models.test", "/", "", 401, "unauthenticated"},
			{"", "/v2/repository/index", key, 200, "[]"},
			{"", "/v2/models/nope", key, 404, "model_not_found"},
		} {
			status, body := get(t, address, tc.host, tc.path, tc.key)
			if status != tc.status || !strings.Contains(body, tc.body) {
				t.Errorf("%s%s: %d %s, want %d with %q", tc.host, tc.path, status, body, tc.status, tc.body)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping: %v", err)
		}
	}
}

func get(t *testing.T, address, host, path, key string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if key != "" {
		req.Header.Set("X-API-Key", key)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestABadEnvironmentIsReportedWhole(t *testing.T) {
	t.Parallel()
	err := env.ParseFrom(new(config), map[string]string{
		"PORT": "-1", "MODELSERVE_HOST_TEMPLATES": "x", "MODELSERVE_ADMIN_KEY": "ms_hush", "MODELSERVE_MAX_BODY": "2GiB",
		"MODELSERVE_ROUTES": "knative:", "MODELSERVE_TRUSTED_PROXIES": "10.0.0.0/33", "MODELSERVE_STREAM_IDLE": "-1s", "MODELSERVE_GRACE": "-1s",
		"MODELSERVE_PUBLIC_KEY": "", "MODELSERVE_REDIS": "redis://:hush@",
	})
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, want := range []string{
		"PORT: ", "MODELSERVE_ROUTES: ", "MODELSERVE_HOST_TEMPLATES: ", "MODELSERVE_ADMIN_KEY: ", "MODELSERVE_MAX_BODY: ", "MODELSERVE_TRUSTED_PROXIES: ",
		"MODELSERVE_STREAM_IDLE: ", "MODELSERVE_S3_BUCKET: ", "MODELSERVE_GRACE: ", "MODELSERVE_PUBLIC_KEY: ", "MODELSERVE_REDIS: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Errorf("a secret is in the error: %v", err)
	}
}
