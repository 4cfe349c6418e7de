package gatewayfile_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
)

const head = "apiVersion: modelserve.dev/v1\nkind: Gateway\n"

func TestGoodFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want gatewayfile.File
	}{
		"nothing decided": {head, gatewayfile.File{Stale: 30 * time.Second}},
		"as JSON":         {`{"apiVersion": "modelserve.dev/v1", "kind": "Gateway", "stale": "1m"}`, gatewayfile.File{Stale: time.Minute}},
		"an issuer": {head + `
stale: 30s
issuers:
  - issuer: https://id.example.com
    audiences: [modelserve]
    algorithms: [RS256, ES256]
    leeway: 30s
    tenant: claims.org
    roles: claims.groups
    login: {client_id: cli, scopes: [openid]}
`, gatewayfile.File{Stale: 30 * time.Second, Issuers: []jwt.Issuer{{
			Issuer: "https://id.example.com", Audiences: []string{"modelserve"}, Algorithms: []string{"RS256", "ES256"}, Leeway: 30 * time.Second,
			Tenant: "claims.org", Roles: "claims.groups", Login: &jwt.Login{ClientID: "cli", Scopes: []string{"openid"}},
		}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := gatewayfile.Parse([]byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadFilesAreRefusedWithEveryFaultByPathAndLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"empty":         {"", []string{"the file is empty"}},
		"a comment":     {"# later\n", []string{"the file is empty"}},
		"half written":  {head + "issuers:\n  - issuer: \"https", []string{"line 4: expected YAML"}},
		"no kind":       {"apiVersion: modelserve.dev/v1\n", []string{"line 1: kind: it is missing"}},
		"another kind":  {"apiVersion: v1\nkind: List\n", []string{"line 1: apiVersion: expected modelserve.dev/v1", "line 2: kind: expected Gateway"}},
		"a list":        {"- a\n", []string{"line 1: expected object"}},
		"two documents": {head + "---\n" + head, []string{"expected one document"}},
		"twice":         {head + "stale: 1s\nstale: 2s\n", []string{"line 4: stale: it is there twice"}},
		"an alias":      {head + "stale: &a 1s\nissuers: *a\n", []string{"line 3: stale: expected no anchors", "line 4: issuers: expected no anchors"}},
		"of every line": {head + `stale: 2h
limit: []
issuers:
  - audiences: []
    issuer: 3
    algorithms: [HS256]
    secret: hunter2
    tenant: claims.org
`, []string{
			"line 3: stale: expected a duration", "line 4: limit: there is no such field", "line 6: issuers[0].audiences: expected at least 1", "line 7: issuers[0].issuer: expected string",
			"line 8: issuers[0].algorithms[0]: expected one of RS256", "line 9: issuers[0].secret: there is no such field",
		}},
		"durations": {head + "stale: 2h\nissuers:\n  - {issuer: https://a, audiences: [b], tenant: claims.c, leeway: 6m}\n", []string{
			"line 3: stale: expected a duration, 1s to 1h", "line 5: issuers[0].leeway: expected a duration, 0s to 5m",
		}},
		"an expression": {head + "issuers:\n  - issuer: https://id\n    audiences: [b]\n    tenant: claims.(\n", []string{"line 6: issuers[0].tenant: expected an expression in CEL"}},
		"a plain URL":   {head + "issuers:\n  - {issuer: 'http://id.example.com', audiences: [b], tenant: claims.o}\n", []string{"line 4: issuers[0].issuer: expected https"}},
		"deep":          {head + "stale: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), []string{"expected at most 32 levels"}},
		"too long":      {head + "#" + strings.Repeat("x", 1<<20), []string{"expected at most 1048576 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := gatewayfile.Parse([]byte(tc.text))
			var faults gatewayfile.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("error %v", err)
			}
			if len(faults) != len(tc.want) {
				t.Errorf("%d faults: %v", len(faults), faults)
			}
			for i := range min(len(faults), len(tc.want)) {
				if !strings.Contains(faults[i].String(), tc.want[i]) {
					t.Errorf("fault %q, want %q", faults[i], tc.want[i])
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a value is repeated: %v", err)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "gateway.yaml")
		write := func(text string) {
			if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1100 * time.Millisecond)
		}
		var applied []time.Duration
		var refuse error
		f, err := gatewayfile.Follow(path, func(f *gatewayfile.File) error {
			if refuse != nil {
				return refuse
			}
			applied = append(applied, f.Stale)
			return nil
		}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		go f.Run(t.Context())
		write(head + "stale: 5s\n")
		write(head + "stale: ") // half written
		if is := f.InForce(); is.Generation != 2 || is.File.Stale != 5*time.Second || !strings.Contains(is.Bad, "line 3") {
			t.Errorf("in force %+v", is)
		}
		write("")
		if is := f.InForce(); is.Generation != 2 || is.Bad == "" {
			t.Errorf("in force %+v: an empty file is a bad one", is)
		}
		refuse = errors.New("an expression does not compile")
		write(head + "stale: 7s\n")
		if is := f.InForce(); is.Generation != 2 || !strings.Contains(is.Bad, "does not compile") {
			t.Errorf("in force %+v", is)
		}
		refuse = nil
		write(head + "stale: 5s\n") // as before
		if is := f.InForce(); is.Generation != 2 || is.Bad != "" {
			t.Errorf("in force %+v", is)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond)
		if is := f.InForce(); is.Generation != 3 || is.File.Stale != 30*time.Second || is.Digest != "" {
			t.Errorf("in force %+v: a file that is gone means defaults", is)
		}
		if diff := cmp.Diff([]time.Duration{30 * time.Second, 5 * time.Second, 30 * time.Second}, applied); diff != "" {
			t.Error(diff)
		}
	})
}

func TestABadFileAtTheStartIsAnError(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(path, []byte("stale: 1s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := gatewayfile.Follow(path, func(*gatewayfile.File) error { return nil }, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "apiVersion") {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", head, head + "stale: 1s\n", head + "issuers: [{issuer: a, audiences: [b], tenant: c}]", "a: *b", "? {}\n: 1", "!!binary x", "1: 2"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := gatewayfile.Parse(data)
		if (file == nil) == (err == nil) {
			t.Errorf("file %v, error %v", file, err)
		}
	})
}

func TestDurationsAreShownAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0s": 0, "1s": time.Second, "1m30s": 90 * time.Second, "5m": 5 * time.Minute, "1h": time.Hour, "1h10m": 70 * time.Minute,
		"1h0m1s": time.Hour + time.Second, "10h": 10 * time.Hour, "20m": 20 * time.Minute, "87600h": 87600 * time.Hour, "1.5s": 1500 * time.Millisecond,
	} {
		if got := gatewayfile.Written(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
