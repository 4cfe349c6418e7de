package gatewayfile_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/gateway/limit"
)

const head = "apiVersion: modelserve.dev/v1\nkind: Gateway\n"

func TestGoodFiles(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want gatewayfile.File
	}{
		"nothing decided": {head, gatewayfile.File{Down: limit.Closed, Stale: 30 * time.Second}},
		"as JSON":         {`{"apiVersion": "modelserve.dev/v1", "kind": "Gateway", "stale": "1m"}`, gatewayfile.File{Down: limit.Closed, Stale: time.Minute}},
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
`, gatewayfile.File{Down: limit.Closed, Stale: 30 * time.Second, Issuers: []jwt.Issuer{{
			Issuer: "https://id.example.com", Audiences: []string{"modelserve"}, Algorithms: []string{"RS256", "ES256"}, Leeway: 30 * time.Second,
			Tenant: "claims.org", Roles: "claims.groups", Login: &jwt.Login{ClientID: "cli", Scopes: []string{"openid"}},
		}}}},
		"what is said of nothing is spelled out": {head + "issuers: [{issuer: https://a.b, audiences: [c], tenant: claims.o}]\n", gatewayfile.File{
			Down: limit.Closed, Stale: 30 * time.Second, Issuers: []jwt.Issuer{{
				Issuer: "https://a.b", Audiences: []string{"c"}, Algorithms: []string{"RS256", "ES256"}, Leeway: 30 * time.Second, Tenant: "claims.o",
			}},
		}},
		"no leeway": {head + "issuers: [{issuer: https://a.b, audiences: [c], tenant: claims.o, leeway: 0s}]\n", gatewayfile.File{
			Down: limit.Closed, Stale: 30 * time.Second, Issuers: []jwt.Issuer{{
				Issuer: "https://a.b", Audiences: []string{"c"}, Algorithms: []string{"RS256", "ES256"}, Tenant: "claims.o",
			}},
		}},
		"limits": {head + `
redis_down: open
limits:
  - name: per-tenant
    match: {tenant: "*", route: "*", model: "text-*", path: "/v2/*"}
    per: [tenant]
    rate: 100/s
    burst: 200
    cost: requests
  - {name: slow, rate: 6/m}
  - name: monthly
    per: [tenant]
    quota: 1000000/month
    cost: rows
    at_quota: report
  - {name: at-once, per: [tenant, model], concurrency: 32}
`, gatewayfile.File{Down: limit.Open, Stale: 30 * time.Second, Limits: []limit.Rule{
			{
				Name: "per-tenant", Match: limit.Match{Tenant: "*", Route: "*", Model: "text-*", Path: "/v2/*"},
				Per: []limit.By{limit.ByTenant}, Rate: 100, Burst: 200, Cost: limit.Requests,
			},
			{Name: "slow", Rate: 0.1, Burst: 6, Cost: limit.Requests},
			{Name: "monthly", Per: []limit.By{limit.ByTenant}, Quota: 1_000_000, Period: limit.Month, Report: true, Cost: limit.Rows},
			{Name: "at-once", Per: []limit.By{limit.ByTenant, limit.ByModel}, Concurrency: 32, Cost: limit.Requests},
		}}},
		"limits of each field": {head + `
limits:
  - {name: a, rate: 1/s, match: {tenant: acme, key: i3rjhvnjgvdx, route: /, model: "text-*", path: "*"}}
  - {name: b, rate: 1/s, match: {tenant: "a-*", key: "https://id.example.com jane", route: "/v2/models*", path: /v2/models/a/infer}, per: [model]}
  - {name: c, rate: 1/s, match: {tenant: "*", key: "i3*", route: none}}
`, gatewayfile.File{Down: limit.Closed, Stale: 30 * time.Second, Limits: []limit.Rule{
			{Name: "a", Match: limit.Match{Tenant: "acme", Key: "i3rjhvnjgvdx", Route: "/", Model: "text-*", Path: "*"}, Rate: 1, Burst: 1, Cost: limit.Requests},
			{
				Name: "b", Match: limit.Match{Tenant: "a-*", Key: "https://id.example.com jane", Route: "/v2/models*", Path: "/v2/models/a/infer"},
				Per: []limit.By{limit.ByModel}, Rate: 1, Burst: 1, Cost: limit.Requests,
			},
			{Name: "c", Match: limit.Match{Tenant: "*", Key: "i3*", Route: "none"}, Rate: 1, Burst: 1, Cost: limit.Requests},
		}}},
		"lines that end as on Windows": {"apiVersion: modelserve.dev/v1\r\nkind: Gateway\r\n", gatewayfile.File{Down: limit.Closed, Stale: 30 * time.Second}},
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
		"limits": {head + `
limits:
  - {name: a, rate: 1/s}
  - {name: a, quota: 1/day}
  - {name: b}
  - {name: c, rate: 1/s, quota: 1/day}
  - {name: d, rate: 0/s}
  - {name: e, rate: 9999999999/h}
  - {name: f, quota: 1000000000000000/month}
  - {name: g, concurrency: 1, cost: rows}
  - {name: h, rate: 1/s, at_quota: report}
  - {name: i, quota: 1/day, burst: 3}
  - {name: j, quota: 1/day, per: [address]}
`, []string{
			"line 6: limits[1].name: expected a name that no other", "line 7: limits[2]: expected one of rate", "line 8: limits[3]: expected one of rate",
			"line 9: limits[4].rate: expected 1 to", "line 10: limits[5].rate", "line 11: limits[6].quota: expected 1 to", "line 12: limits[7].cost: expected requests",
			"line 13: limits[8].at_quota: expected none", "line 14: limits[9].burst: expected none", "line 15: limits[10].per: expected no address",
		}},
		"limits of no call": {head + `
limits:
  - name: a
    rate: 1/s
    match: {route: /V2/x}
  - {name: b, rate: 1/s, match: {model: Relu}}
  - {name: c, rate: 1/s, match: {path: v2}}
  - {name: d, rate: 1/s, match: {tenant: "a_*"}}
  - {name: e, rate: 1/s, match: {key: ms_abc}}
  - {name: f, rate: 1/s, match: {route: "/v2/models/{model}/versions/{version}/infer"}}
  - {name: g, rate: 1/s, match: {route: "/v3/*"}}
  - {name: h, rate: 1/s, match: {route: "/v1/*", model: a}}
  - {name: i, rate: 1/s, match: {route: /v2}, per: [model]}
  - {name: j, rate: 1/s, match: {model: -a}}
  - {name: k, rate: 1/s, match: {model: a-}}
  - {name: l, rate: 1/s, match: {path: "x*"}}
`, []string{
			"line 7: limits[0].match.route: expected the pattern of a URL", "line 8: limits[1].match.model: expected a DNS label", "line 9: limits[2].match.path: expected a path that begins with /",
			"line 10: limits[3].match.tenant: expected a DNS label", "line 11: limits[4].match.key: expected the id of a key", "line 12: limits[5].match.route", "line 13: limits[6].match.route",
			"line 14: limits[7].match.route: expected a route with {model}", "line 15: limits[8].match.route: expected a route with {model}", "line 16: limits[9].match.model", "line 17: limits[10].match.model",
			"line 18: limits[11].match.path",
		}},
		"forms of limits": {head + `
redis_down: maybe
limits:
  - {name: A, rate: 1/s}
  - {rate: 1/s}
  - {name: b, rate: 1/week}
  - {name: c, rate: 1/s, match: {model: "a*b"}}
  - {name: f, rate: 1/s, match: {host: x}}
  - {name: d, rate: 1/s, per: [tenant, tenant]}
  - {name: e, rate: 1/s, burst: 0}
  - {name: g, rate: 1/s, cost: tokens}
`, []string{
			"line 4: redis_down: expected one of closed, open", "line 6: limits[0].name", "line 7: limits[1].name: it is missing", "line 8: limits[2].rate",
			"line 9: limits[3].match.model: expected a name, or the beginning", "line 10: limits[4].match.host: there is no such field", "line 11: limits[5].per",
			"line 12: limits[6].burst: expected at least 1", "line 13: limits[7].cost: expected one of requests",
		}},
		"no number":  {head + "stale: .nan\nissuers: -.inf\n", []string{"line 3: stale: expected a number", "line 4: issuers: expected a number"}},
		"no newline": {head + "stale: 1m", []string{"line 3: the file may be half written"}},
		"no newline, and more": {head + "stale: 1m\nissuers:\n  - {issuer: 'http://a.b', audiences: [c], tenant: claims.o}", []string{
			"line 5: issuers[0].issuer: expected https", "line 5: the file may be half written",
		}},
		"a brace at the end":            {"apiVersion: modelserve.dev/v1\nkind: Gateway\nissuers:\n  - {issuer: https://a.b, audiences: [c], tenant: claims.o}", []string{"half written"}},
		"an expression that cannot run": {head + "issuers:\n  - issuer: https://id\n    audiences: [b]\n    tenant: claims.a.matches('(')?'a':'b'\n", []string{"line 6: issuers[0].tenant: expected an expression in CEL"}},
		"an expression":                 {head + "issuers:\n  - issuer: https://id\n    audiences: [b]\n    tenant: claims.(\n", []string{"line 6: issuers[0].tenant: expected an expression in CEL"}},
		"a plain URL":                   {head + "issuers:\n  - {issuer: 'http://id.example.com', audiences: [b], tenant: claims.o}\n", []string{"line 4: issuers[0].issuer: expected https"}},
		"deep":                          {head + "stale: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "\n", []string{"expected at most 32 levels"}},
		"too long":                      {head + "#" + strings.Repeat("x", 1<<20), []string{"expected at most 1048576 bytes"}},
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

// TestACutFileIsABadOne holds every beginning of a file, other than of whole lines, to
// be a bad one: `tenant: claims.org_id` that is cut names other tenants.
func TestACutFileIsABadOne(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"YAML": head + `
stale: 30s
issuers:
  - issuer: https://id.example.com
    audiences: [modelserve, other]
    leeway: 30s
    tenant: claims.org_id
    roles: claims.groups
    login: {client_id: cli, scopes: [openid]}
`,
		"YAML in braces": "{apiVersion: modelserve.dev/v1, kind: Gateway, issuers: [{issuer: https://id.example.com, audiences: [a], tenant: claims.org_id}]}\n",
		"JSON":           `{"apiVersion": "modelserve.dev/v1", "kind": "Gateway", "issuers": [{"issuer": "https://id.example.com", "audiences": ["a"], "tenant": "claims.org_id"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := gatewayfile.Parse([]byte(text)); err != nil {
				t.Errorf("whole: %v", err)
			}
			for n := range text {
				if n > 0 && text[n-1] == '\n' {
					continue
				}
				if _, err := gatewayfile.Parse([]byte(text[:n])); err == nil {
					t.Errorf("taken: %q", text[:n])
				}
			}
		})
	}
}

// TestFaultsAreAsManyAsPeopleRead holds the length of what is said of a bad file, and
// that it does nothing to a terminal.
func TestFaultsAreAsManyAsPeopleRead(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	many.WriteString(head)
	for n := range 30_000 {
		fmt.Fprintf(&many, "field%d: 1\n", n)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"many fields":            {many.String(), "and 29980 more"},
		"a long name":            {head + strings.Repeat("x", 1000) + "y: 1\n", "xxx…: there is no such field"},
		"a name that is written": {head + `"a\e[31m\u202eb": 1` + "\n", "a\ufffd[31m\ufffdb: there is no such field"},
		"a long expression":      {head + "issuers: [{issuer: https://a.b, audiences: [c], tenant: '" + strings.Repeat("x.", 1500) + "'}]\n", "…"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := gatewayfile.Parse([]byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(err.Error()) > 25_000 {
				t.Errorf("error %.2000v", err)
			}
		})
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
