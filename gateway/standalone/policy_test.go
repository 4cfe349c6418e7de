package standalone

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
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
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// TestChangesAreFollowed holds, over a real S3 protocol, that a push and a move
// of an alias reach callers within two seconds, that a policy nobody signed
// does not, and that asking costs the store a question a second.
func TestChangesAreFollowed(t *testing.T) {
	t.Parallel()
	backend := s3mem.New()
	if err := backend.CreateBucket("models"); err != nil {
		t.Fatal(err)
	}
	var questions, listings atomic.Int64
	fake := gofakes3.New(backend).Server()
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "_generation"):
			questions.Add(1)
		case r.URL.Query().Get("list-type") != "":
			listings.Add(1)
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(s3.Close)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.URL.Path) }))
	t.Cleanup(service.Close)
	keys := t.TempDir()
	signer, err := sign.CreateKeys(filepath.Join(keys, "key"), filepath.Join(keys, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	environment := environment(t, s3.URL, service.URL, key)
	environment["MODELSERVE_PUBLIC_KEY_FILE"] = filepath.Join(keys, "pub")
	routes := "functions:\n- {name: iris, url: '" + service.URL + "', models: [iris@1]}\n"
	if err := os.WriteFile(environment["MODELSERVE_ROUTES"], []byte(routes), 0o600); err != nil {
		t.Fatal(err)
	}
	var cfg config
	if err := env.ParseFrom(&cfg, environment); err != nil {
		t.Fatal(err)
	}
	store, err := artifact.NewStore(t.Context(), cfg.Storage)
	if err != nil {
		t.Fatal(err)
	}
	address := startGateway(t, cfg)
	ask := func(path string) (int, string) { return get(t, address, "", "/v2/models/iris"+path, key) }
	// within asks until an answer holds want, for two seconds.
	within := func(what, path, want string) {
		t.Helper()
		began := time.Now()
		for {
			status, body := ask(path)
			if strings.Contains(body, want) {
				return
			}
			if time.Since(began) > 2*time.Second {
				t.Fatalf("%s: after two seconds %d %s, want %s", what, status, body, want)
			}
		}
	}
	if _, body := ask(""); !strings.Contains(body, "model_not_found") {
		t.Fatal(body)
	}
	publish(t, store, "one")
	within("a first version", "", `"version":"1"`)
	publish(t, store, "two")
	within("a second version", "", `"version":"2"`)

	stable := func(version int) func(*model.Policy) error {
		return func(p *model.Policy) error {
			p.Aliases = map[string]int{"stable": version}
			return nil
		}
	}
	if _, err := store.ChangePolicy(t.Context(), "iris", artifact.Changing{Signer: signer}, stable(1)); err != nil {
		t.Fatal(err)
	}
	within("an alias", "", `"version":"1"`)
	within("the alias by name", "/versions/stable/config", "/v2/models/iris/versions/1/config")

	if _, err := store.ChangePolicy(t.Context(), "iris", artifact.Changing{}, stable(2)); err != nil {
		t.Fatal(err)
	}
	began, asked, listed := time.Now(), questions.Load(), listings.Load()
	calls := 0
	for time.Since(began) < 2*time.Second {
		calls++
		if _, body := ask(""); !strings.Contains(body, `"version":"1"`) {
			t.Fatalf("an unsigned policy is followed: %s", body)
		}
	}
	if q, l := questions.Load()-asked, listings.Load()-listed; q > 4 || l > 1 {
		t.Errorf("%d questions and %d listings for %d calls in two seconds", q, l, calls)
	}
}

// TestAKeyIsFollowedHoweverItIsSet holds, of the gateway's own program with the
// environment that config/base gives it, that a policy which nobody signed is
// followed only where no key is configured.
func TestAKeyIsFollowedHoweverItIsSet(t *testing.T) {
	t.Parallel()
	backend := s3mem.New()
	if err := backend.CreateBucket("models"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s3.Close)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.URL.Path) }))
	t.Cleanup(service.Close)
	dir := t.TempDir()
	if _, err := sign.CreateKeys(filepath.Join(dir, "key"), filepath.Join(dir, "pub")); err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	gateway := func(variables map[string]string) config {
		t.Helper()
		environment := environment(t, s3.URL, service.URL, key)
		maps.Copy(environment, variables)
		var cfg config
		if err := env.ParseFrom(&cfg, environment); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	open := gateway(nil)
	store, err := artifact.NewStore(t.Context(), open.Storage)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, store, "one")
	publish(t, store, "two")
	_, err = store.ChangePolicy(t.Context(), "iris", artifact.Changing{}, func(p *model.Policy) error {
		p.Aliases = map[string]int{"stable": 1}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		cfg  config
		want string
	}{
		"no key":          {open, `"version":"1"`},
		"a key":           {gateway(map[string]string{"MODELSERVE_PUBLIC_KEY": string(public)}), `"version":"2"`},
		"a key in a file": {gateway(map[string]string{"MODELSERVE_PUBLIC_KEY_FILE": filepath.Join(dir, "pub")}), `"version":"2"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, body := get(t, startGateway(t, tc.cfg), "", "/v2/models/iris", key); !strings.Contains(body, tc.want) {
				t.Errorf("%s, want %s", body, tc.want)
			}
		})
	}
	unreadable := gateway(map[string]string{"MODELSERVE_PUBLIC_KEY": string(public[:len(public)/2])})
	if err := run(t.Context(), unreadable, func(net.Addr) { t.Error("it listens with half a key") }); err == nil || !strings.Contains(err.Error(), "MODELSERVE_PUBLIC_KEY") {
		t.Errorf("with half a key: %v", err)
	}
}

// TestAnOlderPolicyIsNotFollowedByAnotherGateway holds that a signed policy which
// somebody put back in the bucket is followed by no gateway of the database in which a
// newer one is kept, also by one that never saw it.
func TestAnOlderPolicyIsNotFollowedByAnotherGateway(t *testing.T) {
	t.Parallel()
	backend := s3mem.New()
	if err := backend.CreateBucket("models"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s3.Close)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.URL.Path) }))
	t.Cleanup(service.Close)
	keys, key := t.TempDir(), newKey(t)
	signer, err := sign.CreateKeys(filepath.Join(keys, "key"), filepath.Join(keys, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	shared := environment(t, s3.URL, service.URL, key)
	shared["MODELSERVE_PUBLIC_KEY_FILE"] = filepath.Join(keys, "pub")
	gateway := func(database string) config {
		t.Helper()
		variables := maps.Clone(shared)
		variables["MODELSERVE_GATEWAY_DB"] = database
		var cfg config
		if err := env.ParseFrom(&cfg, variables); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	database, other := shared["MODELSERVE_GATEWAY_DB"], filepath.Join(t.TempDir(), "other.db")
	store, err := artifact.NewStore(t.Context(), gateway(database).Storage)
	if err != nil {
		t.Fatal(err)
	}
	answers := func(what, database, version string) {
		t.Helper()
		if _, body := get(t, startGateway(t, gateway(database)), "", "/v2/models/iris", key); !strings.Contains(body, `"version":"`+version+`"`) {
			t.Errorf("%s: %s, want version %s", what, body, version)
		}
	}
	policies := make([][]byte, 2)
	for i := range policies {
		publish(t, store, fmt.Sprint(i))
		_, err := store.ChangePolicy(t.Context(), "iris", artifact.Changing{Signer: signer}, func(p *model.Policy) error {
			p.Aliases = map[string]int{"stable": i + 1}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		object, err := backend.GetObject("models", "models/iris/policy.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		if policies[i], err = io.ReadAll(object.Contents); err != nil {
			t.Fatal(err)
		}
	}
	answers("the newest", database, "2")
	_, err = backend.PutObject("models", "models/iris/policy.json", map[string]string{}, bytes.NewReader(policies[0]), int64(len(policies[0])), nil)
	if err != nil {
		t.Fatal(err)
	}
	answers("with the same database", database, "2")
	answers("with a database in which none is kept", other, "1")
}

// startGateway runs the gateway until the test ends.
func startGateway(t *testing.T, cfg config) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	addresses, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() { done <- run(ctx, cfg, func(a net.Addr) { addresses <- a }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	select {
	case a := <-addresses:
		_, port, err := net.SplitHostPort(a.String())
		if err != nil {
			t.Fatal(err)
		}
		return "127.0.0.1:" + port
	case err := <-done:
		done <- err
		t.Fatal(err)
		return ""
	}
}

// publish publishes the next version of iris.
func publish(t *testing.T, store *artifact.Store, content string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), model.ModelFile)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := func(name string) []infer.TensorSpec {
		return []infer.TensorSpec{{Name: name, DataType: infer.FP32, Shape: []int64{1}}}
	}
	if _, err := store.Publish(t.Context(), artifact.Draft{
		Name: "iris", Signature: infer.Signature{Inputs: spec("x"), Outputs: spec("y")},
		Files: []artifact.DraftFile{{Path: model.ModelFile, Source: path}},
	}, artifact.Publishing{}); err != nil {
		t.Fatal(err)
	}
}
