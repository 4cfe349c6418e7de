package route_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/route"
)

func routes(t *testing.T) *route.Routes {
	t.Helper()
	r, err := route.New("{function}.{namespace}.localhost", "{function}.models.test")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func function(name string, pins ...route.Pin) route.Function {
	return route.Function{Name: name, Namespace: "default", URL: "http://" + name + ".default.svc.cluster.local", Models: pins}
}

func TestHost(t *testing.T) {
	t.Parallel()
	r := routes(t)
	detect, text := function("text-detect"), function("detect")
	detect.Tags, text.Tags = []string{"canary"}, []string{"text", "v1"} // "text-detect" is a name and a tag's host
	pool := function("pool")
	pool.Pool = true
	if err := r.Replace([]route.Function{text, detect, pool}); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{ // the URL's host; "-" has a function's form, "" is the gateway's
		"text-detect.default.localhost":        "text-detect.default.svc.cluster.local",
		"text-detect.default.localhost:8080":   "text-detect.default.svc.cluster.local",
		"TEXT-DETECT.Default.LocalHost.":       "text-detect.default.svc.cluster.local",
		"canary-text-detect.default.localhost": "canary-text-detect.default.svc.cluster.local",
		"v1-detect.default.localhost":          "v1-detect.default.svc.cluster.local",
		"v1-detect.models.test":                "v1-detect.default.svc.cluster.local",
		"v2-detect.default.localhost":          "-",
		"pool.default.localhost":               "-",
		"x.models.test":                        "-",
		"models.test":                          "",
		"localhost":                            "",
		"localhost:8080":                       "",
		"default.localhost":                    "",
		"a.text-detect.default.localhost":      "",
		"text-detect.default.localhost.evil":   "",
		"[::1]:8080":                           "",
		"":                                     "",
		"text-detect.default.localhost:80:80":  "",
		".default.localhost":                   "-",
		"text-detect.default.localhost\x00":    "",
	} {
		bound, mine := r.Host(host)
		got := ""
		switch {
		case bound != nil:
			got = bound.URL.Host
		case mine:
			got = "-"
		}
		if got != want {
			t.Errorf("host %q leads to %q, want %q", host, got, want)
		}
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	r := routes(t)
	if err := r.Replace([]route.Function{
		function("a", route.Pin{Name: "m", Version: 1}),
		function("m", route.Pin{Name: "m", Version: 1}, route.Pin{Name: "m", Version: 2}),
		function("z", route.Pin{Name: "m", Version: 2}),
		{Name: "pool", Namespace: "default", URL: "http://pool", Pool: true},
	}); err != nil {
		t.Fatal(err)
	}
	for pin, want := range map[route.Pin]string{{Name: "m", Version: 1}: "m", {Name: "m", Version: 2}: "m", {Name: "m", Version: 3}: "pool", {Name: "n", Version: 1}: "pool"} {
		if got := r.Model(pin).Function.Name; got != want {
			t.Errorf("%v goes to %s, want %s", pin, got, want)
		}
	}
	var holders []string
	for _, b := range r.Holders("m") {
		holders = append(holders, b.Function.Name)
	}
	if diff := cmp.Diff([]string{"m", "pool"}, holders); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestReplaceIsAllOrNothing(t *testing.T) {
	t.Parallel()
	r := routes(t)
	if err := r.Replace([]route.Function{function("a")}); err != nil {
		t.Fatal(err)
	}
	bad := func(change func(*route.Function)) []route.Function {
		f := function("b")
		change(&f)
		return []route.Function{function("c"), f}
	}
	for name, functions := range map[string][]route.Function{
		"name":      bad(func(f *route.Function) { f.Name = "B_" }),
		"namespace": bad(func(f *route.Function) { f.Namespace = "../x" }),
		"tag":       bad(func(f *route.Function) { f.Tags = []string{"a.b"} }),
		"no URL":    bad(func(f *route.Function) { f.URL = "" }),
		"scheme":    bad(func(f *route.Function) { f.URL = "file:///etc" }),
		"a path":    bad(func(f *route.Function) { f.URL = "http://x/y" }),
		"a user":    bad(func(f *route.Function) { f.URL = "http://u:p@x" }),
		"version":   bad(func(f *route.Function) { f.Models = []route.Pin{{Name: "m"}} }),
		"twice":     {function("b"), function("b")},
		"two pools": {{Name: "p", Namespace: "d", URL: "http://p", Pool: true}, {Name: "q", Namespace: "d", URL: "http://q", Pool: true}},
	} {
		if err := r.Replace(functions); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if got := r.Functions(); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("the table changed: %v", got)
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"{function}.{namespace}.localhost": true, "{function}.example.com": true,
		"": false, "{function}": false, "localhost": false, "x-{function}.y": false, "{function}.{other}.z": false, "{function}.x:80": false,
	} {
		if _, err := route.New(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := route.Parse([]byte("functions:\n- name: text-detect\n  models: [text-detect@1]\n  tags: [canary]\n- {name: pool, namespace: ml, url: 'http://10.0.0.1:8080', pool: true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []route.Function{
		{
			Name: "text-detect", Namespace: "default", URL: "http://text-detect.default.svc.cluster.local",
			Models: []route.Pin{{Name: "text-detect", Version: 1}}, Tags: []string{"canary"},
		},
		{Name: "pool", Namespace: "ml", URL: "http://10.0.0.1:8080", Pool: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for name, text := range map[string]string{
		"unknown field": "functions: [{name: a, weight: 1}]", "twice": "functions: []\nfunctions: []", "a pin without a version": "functions: [{name: a, models: [a]}]",
		"version 0": "functions: [{name: a, models: [a@0]}]", "not YAML": "\t", "large": strings.Repeat("#", 2<<20),
	} {
		if _, err := route.Parse([]byte(text)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "functions: []", "functions: [{name: a, models: [a@1], tags: [b]}]", "{\"functions\":[{\"name\":\"a\",\"pool\":true}]}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		functions, err := route.Parse(data)
		if err != nil {
			return
		}
		r, err := route.New("{function}.{namespace}.localhost")
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Replace(functions) // refuses or takes; must not panic
	})
}

func TestWatch(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "routes.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := routes(t)
		var log strings.Builder
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		write("functions: [{name: a}]")
		go func() {
			defer close(done)
			r.Watch(ctx, path, time.Second, slog.New(slog.NewTextHandler(io.Writer(&log), nil)))
		}()
		names := func() string {
			var names []string
			for _, f := range r.Functions() {
				names = append(names, f.Name)
			}
			return strings.Join(names, "")
		}
		for _, step := range []struct{ text, want string }{
			{"functions: [{name: a}, {name: b}]", "ab"},
			{"functions: [{name: 'B A D'}]", "ab"},
			{"functions: [{name: c}]", "c"},
		} {
			time.Sleep(1500 * time.Millisecond)
			write(step.text)
			time.Sleep(1500 * time.Millisecond)
			if got := names(); got != step.want {
				t.Errorf("after %q: %q", step.text, got)
			}
		}
		cancel()
		<-done
		if n := strings.Count(log.String(), "left as they were"); n != 1 {
			t.Errorf("a bad file was logged %d times:\n%s", n, log.String())
		}
	})
}
