package cli

import (
	"net/http"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

func TestUsageOfTenants(t *testing.T) {
	t.Parallel()
	const (
		iris  = `{"tenant":"acme","model":"iris","day":"2026-01-31","requests":1234,"errors":5,"rows":9876,"compute_ms":12345.678,"bytes_in":123456789,"bytes_out":1024}`
		none  = `{"tenant":"acme","model":"","day":"2026-01-31","requests":1,"errors":0,"rows":0,"compute_ms":0,"bytes_in":0,"bytes_out":20}`
		ended = `{"model":"iris\u202e","requests":9223372036854775807,"errors":0,"rows":0,"compute_ms":1.5,"bytes_in":0,"bytes_out":0}`
	)
	s, all := standIn(t, map[string]string{"GET /v1/usage": `{"usage":[` + iris + `,` + none + `]}`})
	s.wants(`DAY         TENANT  MODEL  REQUESTS  ERRORS  ROWS  COMPUTE   IN         OUT
2026-01-31  acme    iris   1234      5       9876  12.346 s  117.7 MiB  1.0 KiB
2026-01-31  acme    -      1         0       0     0.000 s   0 B        20 B
`, "usage")
	s.wants(`{
  "usage": [
    {
      "tenant": "acme",
      "model": "iris",
      "day": "2026-01-31",
      "requests": 1234,
      "errors": 5,
      "rows": 9876,
      "compute_ms": 12345.678,
      "bytes_in": 123456789,
      "bytes_out": 1024
    },
    {
      "tenant": "acme",
      "model": "",
      "day": "2026-01-31",
      "requests": 1,
      "errors": 0,
      "rows": 0,
      "compute_ms": 0,
      "bytes_in": 0,
      "bytes_out": 20
    }
  ]
}
`, "usage", "-o", "json", "--from", "2026-01-01", "--to", "2026-02-01T00:00:00+01:00", "--tenant", "acme")
	wantsAsked(t, all,
		asked{"GET /v1/usage?by=tenant,model,day&limit=200", ""},
		asked{"GET /v1/usage?by=tenant,model,day&from=2026-01-01&limit=200&tenant=acme&to=2026-02-01T00:00:00+01:00", ""})

	s, all = standIn(t, map[string]string{"GET /v1/usage": `{"usage":[` + ended + `]}`})
	s.wants("MODEL  REQUESTS             ERRORS  ROWS  COMPUTE  IN   OUT\n"+
		"iris\ufffd  9223372036854775807  0       0     0.002 s  0 B  0 B\n", "usage", "--by", "model")
	s.wants("usage:\n- bytes_in: 0\n  bytes_out: 0\n  compute_ms: 1.5\n  errors: 0\n  model: iris\u202e\n  requests: 9223372036854775807\n  rows: 0\n",
		"usage", "--by", "model", "--output", "yaml")
	wantsAsked(t, all, asked{"GET /v1/usage?by=model&limit=200", ""}, asked{"GET /v1/usage?by=model&limit=200", ""})

	s, all = standIn(t, map[string]string{"GET /v1/usage": `{"usage":[]}`})
	s.wants("DAY  TENANT  REQUESTS  ERRORS  ROWS  COMPUTE  IN  OUT\n", "usage", "--by", "day", "--by", "tenant")
	wantsAsked(t, all, asked{"GET /v1/usage?by=day,tenant&limit=200", ""})
	for _, bad := range [][]string{
		{"--by", "key"}, {"--by", ""}, {"--by", "day,day"}, {"--by", "day, model"}, {"--from", "yesterday"}, {"--to", "2026-02-30"}, {"--from", "2026-01-01T00:00"},
	} {
		s.fails(exitUsage, bad[0]+": expected", append([]string{"usage"}, bad...)...)
	}
	s.fails(exitUsage, "usage: modelserve usage", "usage", "acme")
	wantsAsked(t, all)
}

func TestUsageThatMayNotBeSeen(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){"GET /v1/usage": func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.New(problem.PermissionDenied, "this credential may not read the usage: it needs the permission usage:read"))
	}})
	s.vars = map[string]string{"MODELSERVE_SERVER": server.URL, "MODELSERVE_KEY": "ms_test_key"}
	s.fails(exitFailed, "it needs the permission usage:read", "usage")
}
