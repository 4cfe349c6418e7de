package route_test

import (
	"context"
	"errors"
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
	"github.com/modelserveai/modelserve/runtime/model"
)

func routes(t *testing.T) *route.Routes {
	t.Helper()
	r, err := route.New("{function}.{namespace}.localhost", "{function}.models.test")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func function(name string, pins ...model.Ref) route.Function {
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
		function("a", model.Ref{Name: "m", Version: 1}),
		function("m", model.Ref{Name: "m", Version: 1}, model.Ref{Name: "m", Version: 2}),
		function("z", model.Ref{Name: "m", Version: 2}),
		{Name: "pool", Namespace: "default", URL: "http://pool", Pool: true},
	}); err != nil {
		t.Fatal(err)
	}
	for pin, want := range map[model.Ref]string{{Name: "m", Version: 1}: "m", {Name: "m", Version: 2}: "m", {Name: "m", Version: 3}: "pool", {Name: "n", Version: 1}: "pool"} {
		if got := r.Model(pin).Function.Name; got != want {
			t.Errorf("%v goes to %s, want %s", pin, got, want)
		}
	}
	var holders []string
	for _, b := range r.Holders("m") {
		holders = append(holders, b.Function.Name)
	}
	if diff := cmp.Diff([]string{"a", "m", "z", "pool"}, holders); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestAWrongFunctionIsLeftOutAlone holds that one function keeps no other from
// being in force, and that what was there before gives nothing up.
func TestAWrongFunctionIsLeftOutAlone(t *testing.T) {
	t.Parallel()
	changed := func(change func(*route.Function)) []route.Function {
		f := function("b")
		change(&f)
		return []route.Function{f}
	}
	elsewhere := function("good", model.Ref{Name: "good", Version: 1})
	elsewhere.Namespace = "a" // its host by the template without a namespace is taken
	for name, wrong := range map[string][]route.Function{
		"name":      changed(func(f *route.Function) { f.Name = "B_" }),
		"namespace": changed(func(f *route.Function) { f.Namespace = "../x" }),
		"tag":       changed(func(f *route.Function) { f.Tags = []string{"a.b"} }),
		"no URL":    changed(func(f *route.Function) { f.URL = "" }),
		"scheme":    changed(func(f *route.Function) { f.URL = "file:///etc" }),
		"a path":    changed(func(f *route.Function) { f.URL = "http://x/y" }),
		"a user":    changed(func(f *route.Function) { f.URL = "http://u:p@x" }),
		"version":   changed(func(f *route.Function) { f.Models = []model.Ref{{Name: "m"}} }),
		"mixed":     changed(func(f *route.Function) { f.Mixed = []model.Ref{{Name: "m"}} }),
		"twice":     {function("good")},
		"its host":  {elsewhere},
		"two pools": {{Name: "q", Namespace: "d", URL: "http://q", Pool: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := routes(t)
			pool := function("pool")
			pool.Pool = true
			all := append([]route.Function{function("good", model.Ref{Name: "good", Version: 1}), pool}, wrong...)
			err := r.Replace(append(all, function("z")))
			var faults route.Faults
			if !errors.As(err, &faults) || len(faults) != 1 || !strings.Contains(err.Error(), wrong[0].Namespace+"/"+wrong[0].Name) {
				t.Errorf("faults: %v", err)
			}
			var names []string
			for _, f := range r.Functions() {
				names = append(names, f.Namespace+"/"+f.Name)
			}
			if diff := cmp.Diff([]string{"default/good", "default/pool", "default/z"}, names); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			at := r.Model(model.Ref{Name: "good", Version: 1})
			if bound, _ := r.Host("good.models.test"); bound == nil || bound != at || bound.Function.Namespace != "default" {
				t.Errorf("host and path lead to %v and %v", bound, at)
			}
		})
	}
}

// TestAFileIsFollowedAsAWhole holds that a file with one wrong function changes
// nothing.
func TestAFileIsFollowedAsAWhole(t *testing.T) {
	t.Parallel()
	r := routes(t)
	if err := r.Replace([]route.Function{function("a")}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(path, []byte("functions: [{name: b}, {name: b}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Load(path); err == nil {
		t.Error("it was taken")
	}
	if got := r.Functions(); len(got) != 1 || got[0].Name != "a" {
		t.Errorf("the table changed: %v", got)
	}
}

// TestCanary holds what a function whose revisions differ answers for: by its
// host all that some of them serve, by path what all of them do.
func TestCanary(t *testing.T) {
	t.Parallel()
	r := routes(t)
	pin := func(version int) model.Ref { return model.Ref{Name: "rec", Version: version} }
	f := function("rec", pin(1))
	f.Mixed, f.Tags = []model.Ref{pin(3), pin(2)}, []string{"canary", "old", "unknown"}
	f.Tagged = map[string][]model.Ref{"canary": {pin(1), pin(3)}, "old": {pin(7)}}
	pool := function("pool")
	pool.Pool = true
	if err := r.Replace([]route.Function{f, pool}); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[int]string{1: "rec", 2: "pool", 3: "pool"} {
		if got := r.Model(pin(version)).Function.Name; got != want {
			t.Errorf("by path, version %d goes to %s, want %s", version, got, want)
		}
	}
	for host, want := range map[string][]int{
		"rec.models.test": {3, 2, 1}, "canary-rec.models.test": {3, 1}, "old-rec.models.test": {7}, "unknown-rec.models.test": {3, 2, 1},
	} {
		bound, _ := r.Host(host)
		if diff := cmp.Diff(want, bound.Versions("rec")); diff != "" {
			t.Errorf("%s: -want +got:\n%s", host, diff)
		}
	}
	bound, _ := r.Host("rec.models.test")
	for version, want := range map[int]string{1: "rec.", 2: "rec.", 3: "canary-rec.", 7: "old-rec.", 9: "rec."} {
		if got := bound.Holding(pin(version)).URL.Host; got != want+"default.svc.cluster.local" {
			t.Errorf("a call for version %d goes to %s", version, got)
		}
	}
	if holders := r.Holders("rec"); len(holders) != 2 || holders[0] != bound {
		t.Errorf("held by %v", holders)
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

// TestTheFirstOfTwoNamespacesIsCalledByPath holds that a function takes no calls
// from one of its own name that is there before it.
func TestTheFirstOfTwoNamespacesIsCalledByPath(t *testing.T) {
	t.Parallel()
	r, err := route.New("{function}.{namespace}.models.test")
	if err != nil {
		t.Fatal(err)
	}
	pin := model.Ref{Name: "rec", Version: 1}
	first, second := function("rec", pin), function("rec", pin)
	second.Namespace = "a-tenant"
	if err := r.Replace([]route.Function{function("x", pin), first, second}); err != nil {
		t.Fatal(err)
	}
	if got := r.Model(pin).Function; got.Namespace != "default" || got.Name != "rec" {
		t.Errorf("it goes to %s/%s", got.Namespace, got.Name)
	}
	if bound, _ := r.Host("rec.a-tenant.models.test"); bound == nil || bound.Function.Namespace != "a-tenant" {
		t.Errorf("the second one's host leads to %v", bound)
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
			Models: []model.Ref{{Name: "text-detect", Version: 1}}, Tags: []string{"canary"},
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
		if n := strings.Count(log.String(), "cannot load the routes"); n != 1 {
			t.Errorf("a bad file was logged %d times:\n%s", n, log.String())
		}
	})
}
