package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/rights/rightstest"
	"github.com/modelserveai/modelserve/problem"
)

func TestBodiesAreReadStrictly(t *testing.T) {
	t.Parallel()
	good := `{"name":"a","scopes":["infer:iris"]}`
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for name, tc := range map[string]struct {
		body   string
		header http.Header
		code   problem.Code
		fields []string
	}{
		"good":                    {body: good},
		"with a byte order mark":  {body: "\ufeff" + good},
		"as curl -d sends it":     {body: good, header: form},
		"as JSON in UTF-8":        {body: good, header: http.Header{"Content-Type": {`application/json; charset="UTF-8"`}}},
		"as text":                 {body: good, header: http.Header{"Content-Type": {"text/plain"}}, code: problem.UnsupportedMedia},
		"in another charset":      {body: good, header: http.Header{"Content-Type": {"application/json; charset=latin1"}}, code: problem.UnsupportedMedia},
		"of two types in one":     {body: good, header: http.Header{"Content-Type": {"application/json, text/plain"}}, code: problem.UnsupportedMedia},
		"of a type of JSON":       {body: good, header: http.Header{"Content-Type": {"application/vnd.api+json"}}, code: problem.UnsupportedMedia},
		"null for what is not":    {body: `{"name":"a","scopes":["infer:iris"],"tenant":null,"roles":null,"expires_at":null,"expires_in":null}`},
		"empty":                   {code: problem.MalformedBody},
		"only white space":        {body: " \n", code: problem.MalformedBody},
		"two values":              {body: good + good, code: problem.MalformedBody},
		"something behind it":     {body: good + "x", code: problem.MalformedBody},
		"cut off":                 {body: good[:20], code: problem.MalformedBody},
		"bad UTF-8":               {body: "{\"name\":\"\xff\",\"scopes\":[\"infer:iris\"]}", code: problem.MalformedBody},
		"bare NaN":                {body: `{"name":NaN}`, code: problem.MalformedBody},
		"null":                    {body: "null", code: problem.InvalidArgument, fields: []string{"body"}},
		"a list":                  {body: "[]", code: problem.InvalidArgument, fields: []string{"body"}},
		"a text":                  {body: `"x"`, code: problem.InvalidArgument, fields: []string{"body"}},
		"an unknown name":         {body: `{"name":"a","scopes":["admin"],"admin":true}`, code: problem.InvalidArgument, fields: []string{"admin"}},
		"a name in another case":  {body: `{"Name":"a","scopes":["admin"]}`, code: problem.InvalidArgument, fields: []string{"Name", "name"}},
		"a name twice":            {body: `{"name":"a","scopes":["admin"],"name":"b"}`, code: problem.InvalidArgument, fields: []string{"name"}},
		"a wrong type":            {body: `{"name":7,"scopes":["admin"]}`, code: problem.InvalidArgument, fields: []string{"name"}},
		"a wrong type inside":     {body: `{"name":"a","scopes":["admin",{}]}`, code: problem.InvalidArgument, fields: []string{"scopes[1]"}},
		"null inside":             {body: `{"name":"a","scopes":["admin",null]}`, code: problem.InvalidArgument, fields: []string{"scopes[1]"}},
		"null for what is":        {body: `{"name":null,"scopes":["admin"]}`, code: problem.InvalidArgument, fields: []string{"name"}},
		"nothing":                 {body: `{}`, code: problem.InvalidArgument, fields: []string{"name", "scopes"}},
		"every fault at once":     {body: `{"name":"","scopes":["sudo"],"roles":["A"],"tenant":"-"}`, code: problem.InvalidArgument, fields: []string{"name", "roles[0]", "scopes[0]", "tenant"}},
		"both ends":               {body: `{"name":"a","scopes":["admin"],"expires_at":"2101-01-01T00:00:00Z","expires_in":"1h"}`, code: problem.InvalidArgument, fields: []string{"expires_in"}},
		"an end that is past":     {body: `{"name":"a","scopes":["admin"],"expires_at":"2001-01-01T00:00:00Z"}`, code: problem.InvalidArgument, fields: []string{"expires_at"}},
		"an end of year 1":        {body: `{"name":"a","scopes":["admin"],"expires_at":"0001-01-01T00:00:00Z"}`, code: problem.InvalidArgument, fields: []string{"expires_at"}},
		"an end of year 9999":     {body: `{"name":"a","scopes":["admin"],"expires_at":"9999-12-31T23:59:59Z"}`, code: problem.InvalidArgument, fields: []string{"expires_at"}},
		"over before it is used":  {body: `{"name":"a","scopes":["admin"],"expires_in":"999ms"}`, code: problem.InvalidArgument, fields: []string{"expires_in"}},
		"a second":                {body: `{"name":"a","scopes":["admin"],"expires_in":"1s"}`},
		"ten years":               {body: `{"name":"a","scopes":["admin"],"expires_in":"87600h"}`},
		"longer than ten years":   {body: `{"name":"a","scopes":["admin"],"expires_in":"87601h"}`, code: problem.InvalidArgument, fields: []string{"expires_in"}},
		"a huge number":           {body: `{"name":"a","scopes":["admin"],"expires_in":1e999}`, code: problem.InvalidArgument, fields: []string{"expires_in"}},
		"a number of many digits": {body: `{"name":"a","scopes":["admin"],"expires_in":` + strings.Repeat("9", 5000) + `}`, code: problem.InvalidArgument, fields: []string{"expires_in"}},
		"deep where a text is":    {body: `{"name":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, code: problem.InvalidArgument, fields: []string{"name", "scopes"}},
		"too deep":                {body: `{"more":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, code: problem.MalformedBody},
		"a scope twice":           {body: `{"name":"a","scopes":["infer:x","admin","infer:x"]}`, code: problem.InvalidArgument, fields: []string{"scopes"}},
		"a role twice":            {body: `{"name":"a","roles":["viewer","viewer"]}`, code: problem.InvalidArgument, fields: []string{"roles"}},
		"two unknown names":       {body: `{"name":"a","scopes":["admin"],"f0":1,"f1":1}`, code: problem.InvalidArgument, fields: []string{"f0", "f1"}},
		"huge numbers":            {body: `{"name":1e999,"scopes":[1e9999999,1e-9999999]}`, code: problem.InvalidArgument, fields: []string{"name", "scopes", "scopes[0]", "scopes[1]"}},
		"a huge number for null":  {body: `{"name":"a","scopes":["admin"],"tenant":1e999}`, code: problem.InvalidArgument, fields: []string{"tenant"}},
		"wrong types, and more":   {body: `{"name":7,"scopes":{},"roles":"x","f0":1}`, code: problem.InvalidArgument, fields: []string{"f0", "name", "roles", "scopes"}},
		"too large":               {body: `{"name":"` + strings.Repeat("a", 1<<20) + `"}`, code: problem.PayloadTooLarge},
		"a form":                  {body: "name=a&scopes=admin", header: form, code: problem.UnsupportedMedia},
		"a form of parts":         {body: good, header: http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, code: problem.UnsupportedMedia},
		"types that differ":       {body: good, header: http.Header{"Content-Type": {"application/json", "text/plain"}}, code: problem.UnsupportedMedia},
		"compressed":              {body: good, header: http.Header{"Content-Encoding": {"gzip"}}, code: problem.UnsupportedMedia},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newAPI(t).do(request{method: "POST", path: "/v1/keys", body: tc.body, header: tc.header})
			if tc.code == "" {
				if got.status != http.StatusCreated {
					t.Errorf("%d %s", got.status, got.body)
				}
				return
			}
			p := got.problem(t)
			if p.Code != tc.code || got.status != tc.code.Row().Status {
				t.Errorf("%d %s, want %s", got.status, got.body, tc.code)
			}
			if diff := cmp.Diff(tc.fields, names(p)); diff != "" {
				t.Errorf("fields (-want +got):\n%s%s", diff, got.body)
			}
		})
	}
}

// TestNoNameOfACallersIsLogged holds that a name which there is none of reaches its
// caller, and not the log, and that names of ours reach both.
func TestNoNameOfACallersIsLogged(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, q := range []request{
		{path: "/v1/keys?" + secret + "=1"},
		{path: "/v1/keys?limit=0&" + secret + "=1"},
		{method: "POST", path: "/v1/keys", body: `{"name":7,"scopes":["admin"],"` + secret + `":1}`},
		{method: "POST", path: "/v1/keys", body: `{"` + secret + `":1,"` + secret + `":2}`},
		{method: "POST", path: "/v1/keys", body: `{"name[` + secret + `]":1}`},
		{method: "POST", path: "/v1/keys", body: `{"name":{"` + secret + `":1,"` + secret + `":1}}`},
	} {
		a := newAPI(t)
		got := a.do(q)
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, secret) {
			t.Errorf("%s %s %s: %d %s", q.method, q.path, q.body, got.status, got.body)
		}
		for err := a.err; err != nil; err = errors.Unwrap(err) {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s %s %s: the log has %v", q.method, q.path, q.body, err)
			}
		}
		if strings.Contains(got.body, `"name"`) && !strings.Contains(a.err.Error(), "name: ") || strings.Contains(got.body, `"limit"`) && !strings.Contains(a.err.Error(), "limit: ") {
			t.Errorf("%s %s %s: the log has only %v", q.method, q.path, q.body, a.err)
		}
	}
}

// TestNoValueIsEchoed holds that what is wrong with a value is reported without it: it
// may be a secret in the wrong place.
func TestNoValueIsEchoed(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, q := range []request{
		{path: "/v1/keys?limit=" + secret},
		{path: "/v1/keys?cursor=" + secret},
		{path: "/v1/keys?more=" + secret},
		{path: "/v1/keys?limit=" + secret + "&limit=" + secret},
		{path: "/v1/keys?%zz=" + secret},
		{path: "/v1/keys/" + strings.Repeat(secret, 10)},
		{path: "/v1/keys/" + secret},
		{method: "DELETE", path: "/v1/keys/" + secret},
		{method: "POST", path: "/v1/keys", body: secret},
		{method: "POST", path: "/v1/keys", body: `"` + secret + `"`},
		{method: "POST", path: "/v1/keys", body: `{"name":["` + secret + `"],"scopes":[]}`},
		{method: "POST", path: "/v1/keys", body: `{"name":"` + secret + `\u202e","scopes":["` + secret + `"],"roles":["` + secret + `-"],"tenant":"` + secret + `-"}`},
		{method: "POST", path: "/v1/keys", body: `{"name":"a","scopes":["admin"],"expires_at":"` + secret + `"}`},
		{method: "POST", path: "/v1/keys", body: `{"name":"a","scopes":["admin"],"expires_in":"` + secret + `"}`},
		{method: "POST", path: "/v1/keys", body: `{"name":"a","scopes":["admin"],"more":"` + secret + `"}`},
		{method: "POST", path: "/v1/keys", body: `{"name":"` + secret + `","name":"` + secret + `"}`},
		{method: "POST", path: "/v1/keys", body: "name=" + secret, header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
	} {
		if got := newAPI(t).do(q); got.status < 400 || got.status >= 500 || strings.Contains(got.body, secret) {
			t.Errorf("%s %s %s: %d %s", q.method, q.path, q.body, got.status, got.body)
		}
	}
}

// TestALongListCostsNoMoreThanItsBytes holds that a list over its bound is refused
// without a look at each of its values, which are all wrong.
func TestALongListCostsNoMoreThanItsBytes(t *testing.T) { // not in parallel: AllocsPerRun counts everybody's
	a := newAPI(t)
	body := `{"name":"a","scopes":["x"` + strings.Repeat(`,"x"`, 250_000) + `]}`
	allocations := testing.AllocsPerRun(1, func() {
		if got := a.do(request{method: "POST", path: "/v1/keys", body: body}); !strings.Contains(got.body, "at most 100 values") {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	if perValue := allocations / 250_000; perValue > 5 {
		t.Errorf("%.1f allocations a value", perValue)
	}
}

// TestALongNameIsCut holds that an error does not repeat more of a caller's names
// than a line of it.
func TestALongNameIsCut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 100_000)
	for _, q := range []request{
		{path: "/v1/keys?" + long + "=1"},
		{method: "POST", path: "/v1/keys", body: `{"` + long + `":1}`},
	} {
		if got := newAPI(t).do(q); got.status != http.StatusBadRequest || len(got.body) > 2000 {
			t.Errorf("%d, %d bytes", got.status, len(got.body))
		}
	}
}

func TestQueryParametersAreReadStrictly(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		path   string
		fields []string
	}{
		"none":               {"/v1/keys", nil},
		"all":                {"/v1/keys?limit=200&cursor=", nil},
		"unknown":            {"/v1/keys?offset=1", []string{"offset"}},
		"unknown, of none":   {"/v1/functions?limit=1", []string{"limit"}},
		"unknown, of a key":  {"/v1/keys/a?x", []string{"x"}},
		"in another case":    {"/v1/keys?Limit=1", []string{"Limit"}},
		"repeated":           {"/v1/keys?limit=1&limit=1", []string{"limit"}},
		"repeated, encoded":  {"/v1/keys?limit=1&%6cimit=1", []string{"limit"}},
		"no number":          {"/v1/keys?limit=x", []string{"limit"}},
		"an empty number":    {"/v1/keys?limit=", []string{"limit"}},
		"a fraction":         {"/v1/keys?limit=1.5", []string{"limit"}},
		"too small":          {"/v1/keys?limit=0", []string{"limit"}},
		"too large":          {"/v1/keys?limit=201", []string{"limit"}},
		"a huge number":      {"/v1/keys?limit=" + strings.Repeat("9", 400), []string{"limit"}},
		"a bad cursor":       {"/v1/keys?cursor=%21", []string{"cursor"}},
		"a bad escape":       {"/v1/keys?limit=%zz", []string{"query"}},
		"a semicolon":        {"/v1/keys?limit=1;cursor=", []string{"query"}},
		"several at once":    {"/v1/keys?limit=0&a=1", []string{"a", "limit"}},
		"too long an id":     {"/v1/keys/" + strings.Repeat("a", 33), []string{"id"}},
		"control characters": {"/v1/keys/a%00", []string{"id"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newAPI(t).do(request{path: tc.path})
			if tc.fields == nil {
				if got.status != http.StatusOK {
					t.Errorf("%d %s", got.status, got.body)
				}
				return
			}
			p := got.problem(t)
			if diff := cmp.Diff(tc.fields, names(p)); diff != "" || got.status != http.StatusBadRequest || p.Code != problem.InvalidArgument {
				t.Errorf("%d %s\nfields (-want +got):\n%s", got.status, got.body, diff)
			}
		})
	}
}

// breaks is a body that breaks off with an error.
type breaks struct{ err error }

func (b breaks) Read([]byte) (int, error) { return 0, b.err }

// broken is a list of keys, and what is stored, without their database.
type broken struct{ err error }

func (b broken) Keys(context.Context, auth.Page) ([]*auth.Key, error) { return nil, b.err }
func (b broken) Key(context.Context, string) (*auth.Key, error)       { return nil, b.err }
func (broken) State() *access.State                                   { return access.NewState() }
func (b broken) UpdateFor(context.Context, string, func(*access.State) (*rights.Stored, error)) error {
	return b.err
}

// TestErrorsAreReturnedAsTheyAre holds that a problem of whoever reads the body,
// or of a store, comes through, and that the text of any other error does not.
func TestErrorsAreReturnedAsTheyAre(t *testing.T) {
	t.Parallel()
	slow := problem.New(problem.RequestTimeout, "the body came too slowly")
	plain := errors.New("dial tcp 10.0.0.7:5432: password hunter2")
	away := fmt.Errorf("list keys: %w: %w", rights.ErrAway, plain)
	withStore := func(err error) option {
		return func(d *control.Deps) {
			store := &rightstest.Store{}
			store.Fail(err)
			d.Keys, d.Rights, d.Audit = broken{err}, broken{err}, store
		}
	}
	good := `{"name":"a","scopes":["infer:iris"]}`
	for name, tc := range map[string]struct {
		option option
		ask    request
		want   error
		code   problem.Code
	}{
		"a slow body":         {nil, request{method: "POST", path: "/v1/keys", reader: breaks{slow}}, slow, problem.RequestTimeout},
		"a body that broke":   {nil, request{method: "POST", path: "/v1/keys", reader: io.MultiReader(strings.NewReader(`{"na`), breaks{plain})}, plain, problem.Internal},
		"a list":              {withStore(plain), request{path: "/v1/keys"}, plain, problem.Internal},
		"a key":               {withStore(plain), request{path: "/v1/keys/a"}, plain, problem.Internal},
		"a new key":           {withStore(plain), request{method: "POST", path: "/v1/keys", body: good}, plain, problem.Internal},
		"a list, away":        {withStore(away), request{path: "/v1/keys"}, away, problem.Unavailable},
		"a key, away":         {withStore(away), request{path: "/v1/keys/a"}, away, problem.Unavailable},
		"an end, away":        {withStore(away), request{method: "DELETE", path: "/v1/keys/a"}, away, problem.Unavailable},
		"a rotation, away":    {withStore(away), request{method: "POST", path: "/v1/keys/a/rotate"}, away, problem.Unavailable},
		"entries, away":       {withStore(away), request{path: "/v1/audit"}, away, problem.Unavailable},
		"chains, away":        {withStore(away), request{path: "/v1/audit/chains"}, away, problem.Unavailable},
		"a chain, away":       {withStore(away), request{path: "/v1/audit/verify"}, away, problem.Unavailable},
		"an export, away":     {withStore(away), request{path: "/v1/audit/export"}, away, problem.Unavailable},
		"a problem of theirs": {withStore(problem.New(problem.Unavailable, "later")), request{path: "/v1/keys"}, nil, problem.Unavailable},
		"a deadline":          {withStore(context.DeadlineExceeded), request{path: "/v1/keys"}, context.DeadlineExceeded, problem.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := []option{}
			if tc.option != nil {
				options = append(options, tc.option)
			}
			a := newAPI(t, options...)
			got := a.do(tc.ask)
			if got.header.Get("Retry-After") == "" && errors.Is(tc.want, rights.ErrAway) {
				t.Errorf("no time to come again: %v", got.header)
			}
			if got.problem(t).Code != tc.code || strings.Contains(got.body, "hunter2") || tc.want != nil && !errors.Is(a.err, tc.want) {
				t.Errorf("%d %s from %v", got.status, got.body, a.err)
			}
		})
	}
}

// TestNothingIsReadOfThoseWhoMayNot holds the order: who may not is refused
// before what they sent is looked at.
func TestNothingIsReadOfThoseWhoMayNot(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.as("default", auth.InferAll)
	for _, q := range []request{
		{path: "/v1/keys?limit=x"},
		{path: "/v1/keys/" + strings.Repeat("a", 99)},
		{method: "DELETE", path: "/v1/keys/a?x=1"},
		{method: "POST", path: "/v1/keys", reader: breaks{errors.New("it was read")}},
	} {
		if got := a.do(q); got.problem(t).Code != problem.PermissionDenied {
			t.Errorf("%s %s: %d %s", q.method, q.path, got.status, got.body)
		}
	}
}

func TestAKeysAnswers(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	made := a.do(request{method: "POST", path: "/v1/keys", body: `{"name":"ci","scopes":["infer:iris"],"expires_in":"24h"}`})
	var key struct{ ID, Key, Tenant string }
	if err := json.Unmarshal([]byte(made.body), &key); err != nil {
		t.Fatal(made.body, err)
	}
	if made.status != http.StatusCreated || made.header.Get("Location") != "/v1/keys/"+key.ID || made.header.Get("Cache-Control") != "no-store" ||
		!strings.HasPrefix(key.Key, "ms_"+key.ID+"_") || key.Tenant != "default" {
		t.Errorf("%d %v %s", made.status, made.header, made.body)
	}
	shown := a.do(request{path: "/v1/keys/" + key.ID})
	if shown.status != http.StatusOK || strings.Contains(shown.body, "ms_") {
		t.Errorf("%d %s", shown.status, shown.body)
	}
	head := a.do(request{method: "HEAD", path: "/v1/keys/" + key.ID})
	if head.status != http.StatusOK || head.header.Get("Content-Length") != shown.header.Get("Content-Length") || head.header.Get("Content-Type") != "application/json" {
		t.Errorf("HEAD: %d %v", head.status, head.header)
	}
	if gone := a.do(request{method: "DELETE", path: "/v1/keys/" + key.ID}); gone.status != http.StatusNoContent || gone.body != "" || a.mirror.Key(key.ID) != nil {
		t.Errorf("%d %s", gone.status, gone.body)
	}
	if none := a.do(request{path: "/v1/keys/nobody"}); none.problem(t).Code != problem.NotFound {
		t.Errorf("%d %s", none.status, none.body)
	}
}

// TestEmptyListsAreLists holds that what there is none of is [], and not null.
func TestEmptyListsAreLists(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.as("default", auth.KeysAdmin, auth.RolesAdmin, auth.AuditRead)
	for path, want := range map[string]string{"/v1/grants": `{"grants":[]}`, "/v1/functions": `{"functions":[]}`, "/v1/audit": `{"entries":[]}`} {
		if got := a.do(request{path: path}); strings.TrimSpace(got.body) != want {
			t.Errorf("%s: %s, want %s", path, got.body, want)
		}
	}
	if got := a.do(request{path: "/v1/keys"}); !strings.Contains(got.body, `"roles":[]`) {
		t.Error(got.body)
	}
}

func TestFunctionsAreListedForThoseWhoMayCallThem(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	want := `{"name":"ocr","namespace":"default","url":"http://ocr.default.localhost:8080/","state":"idle",` +
		`"models":["text-recognize@2"],"mixed":["text-recognize@3"],"tags":["canary"]}`
	pool := `{"name":"pool","namespace":"default","pool":true,"models":[],"tags":[]}`
	if got := a.do(request{path: "http://localhost:8080/v1/functions"}); strings.TrimSpace(got.body) != `{"functions":[`+want+`,`+pool+`]}` {
		t.Error(got.body)
	}
	a.as("default", auth.Infer("ocr"))
	if got := a.do(request{path: "http://localhost:8080/v1/functions"}); strings.TrimSpace(got.body) != `{"functions":[`+want+`]}` {
		t.Error(got.body)
	}
}

// TestTheDocumentIsStable holds that it is the same bytes each time, served as it
// is.
func TestTheDocumentIsStable(t *testing.T) {
	t.Parallel()
	want := document(t)
	for range 5 {
		if !bytes.Equal(want, document(t)) {
			t.Fatal("it differs")
		}
	}
	a := newAPI(t)
	if got := a.do(request{path: "/openapi.json"}); got.body != string(want) || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", got.status, got.header)
	}
}

// TestEveryChangeIsAudited holds that each operation which is not GET says how the
// audit log names it.
func TestEveryChangeIsAudited(t *testing.T) {
	t.Parallel()
	var described struct {
		Paths map[string]map[string]struct {
			Audit string `json:"x-audit-action"`
		}
	}
	if err := json.Unmarshal(document(t), &described); err != nil {
		t.Fatal(err)
	}
	for path, operations := range described.Paths {
		if strings.HasSuffix(path, "/executions") {
			continue // one that is started is its own record
		}
		for method, o := range operations {
			if strings.HasPrefix(path, "/v1/") && (method == "get") != (o.Audit == "") {
				t.Errorf("%s %s: audit action %q", method, path, o.Audit)
			}
		}
	}
}

func TestMissingPartsAreRefused(t *testing.T) {
	t.Parallel()
	if _, err := control.New(control.Deps{}); err == nil {
		t.Error("made without a store of keys")
	}
}
