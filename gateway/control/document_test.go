package control_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// document is what the API describes itself by.
func document(t testing.TB) []byte {
	t.Helper()
	data, err := control.Describe()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// schemaOf compiles a part of the document, by its JSON pointer.
func schemaOf(t *testing.T, pointer string) *jsonschema.Schema {
	t.Helper()
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(document(t)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("openapi.json#" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestTheDocumentHasErrorsAsTheyAre holds what both writers of errors write to what the
// document says of them.
func TestTheDocumentHasErrorsAsTheyAre(t *testing.T) {
	t.Parallel()
	limited := problem.New(problem.RateLimited, "the limit allows one")
	limited.Limit = "per-tenant"
	for schema, write := range map[string]func(http.ResponseWriter, error){"Problem": problem.Write, "V2Error": problem.WriteV2} {
		of := schemaOf(t, "/components/schemas/"+schema)
		for _, err := range []error{
			problem.New(problem.Unauthenticated, "expected a key"), problem.Invalid("inputs[0].shape", "expected a list"), limited,
		} {
			w := httptest.NewRecorder()
			w.Header().Set(problem.RequestIDHeader, "r1")
			write(w, err)
			body, bad := jsonschema.UnmarshalJSON(w.Body)
			if bad != nil {
				t.Fatal(bad)
			}
			if fault := of.Validate(body); fault != nil {
				t.Errorf("%s: %v", schema, fault)
			}
		}
	}
}

// TestTheDocumentRefusesWhatTheServerRefuses holds the bodies of the document to the code
// that reads them: what one refuses the other does.
func TestTheDocumentRefusesWhatTheServerRefuses(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	newKeyOf := func(body string) error {
		if got := api.do(request{method: "POST", path: "/v1/keys", body: body}); got.status != http.StatusCreated {
			return errors.New(got.body)
		}
		return nil
	}
	infers := func(body string) error {
		_, err := infer.DecodeRequest([]byte(body), infer.NoHeader, infer.Limits{})
		return err
	}
	indexes := func(body string) error { _, err := infer.DecodeIndexRequest([]byte(body)); return err }
	loads := func(body string) error { return infer.DecodeLoadRequest([]byte(body)) }
	unloads := func(body string) error { return infer.DecodeUnloadRequest([]byte(body)) }
	tensor := func(change string) string {
		return `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]` + change + `}]}`
	}
	typed := func(datatype, data string) string {
		return `{"inputs":[{"name":"x","datatype":"` + datatype + `","shape":[1],"data":` + data + `}]}`
	}
	soon := strconv.Itoa(time.Now().Year() + 2) // whose first day is ahead in every zone
	for _, tc := range []struct {
		schema    string
		read      func(string) error
		good, bad []string
	}{
		{
			"/components/schemas/NewKey", newKeyOf,
			[]string{
				`{"name":"ci","scopes":["infer:*"]}`, `{"name":"ci","scopes":["infer:iris","models:read","models:write","keys:admin","admin"],"roles":["viewer"],"tenant":"a-b"}`,
				`{"name":"ci","scopes":["admin"],"expires_in":"1h30m"}`, `{"name":"ci","scopes":["admin"],"expires_in":"1.5h"}`, `{"name":"ci","scopes":["admin"],"expires_at":"` + soon + `-01-01T00:00:00Z"}`,
				`{"name":"ci","scopes":["admin"],"tenant":null,"roles":null,"expires_at":null,"expires_in":null}`, `{"name":"ci","scopes":["admin"],"tenant":"","roles":[],"expires_in":""}`,
				`{"name":"ci","scopes":["admin"],"expires_at":null,"expires_in":"1h"}`, `{"name":"ci","scopes":["admin"],"expires_at":"` + soon + `-01-01T00:00:00.5+02:00","expires_in":null}`,
				`{"name":"ci","scopes":["admin"],"expires_at":"` + soon + `-01-01T00:00:00Z","expires_in":""}`, `{"name":"\u00a0a","scopes":["admin"]}`, `{"name":"\ud83d\ude00","scopes":["admin"]}`,
			},
			[]string{
				`[]`, `{}`, `null`, `{"name":null,"scopes":["admin"]}`, `{"name":"a","scopes":null}`, `{"name":"\u00a0","scopes":["admin"]}`, `{"name":"\u200b","scopes":["admin"]}`, `{"name":"a\u202eb","scopes":["admin"]}`,
				`{"name":"\u2800","scopes":["admin"]}`, `{"name":"\u3164\uffa0","scopes":["admin"]}`, `{"name":"\u0378","scopes":["admin"]}`, `{"name":" \u0301","scopes":["admin"]}`,
				`{"name":"a\u2028b","scopes":["admin"]}`, `{"name":"a","description":"a\u2029b","scopes":["admin"]}`, `{"name":"\ue000","scopes":["admin"]}`,
				`{"name":" \u3000","scopes":["admin"]}`, `{"name":"a\tb","scopes":["admin"]}`, `{"name":"a\udb40\udc41","scopes":["admin"]}`, `{"name":"a","scopes":["admin"],"expires_at":""}`,
				`{"name":"a","scopes":["admin"],"expires_at":"2101-01-01t00:00:00z"}`, `{"name":"a","scopes":["admin"],"expires_at":"2101-06-30T23:59:60Z"}`, `{"name":"a","scopes":["admin"],"expires_at":"2101-01-01 00:00:00Z"}`,
				`{"name":"a","scopes":["admin"],"expires_at":5}`, `{"name":"a","scopes":["admin"],"expires_in":3600}`, `{"name":"a","scopes":["admin"],"roles":[null]}`, `{"name":"a","scopes":["admin"],"tenant":"a-"}`,
				`{"name":"","scopes":["admin"]}`, `{"name":"  ","scopes":["admin"]}`, `{"name":"` + strings.Repeat("a", 101) + `","scopes":["admin"]}`,
				`{"name":"a","scopes":[]}`, `{"name":"a","scopes":["sudo"]}`, `{"name":"a","scopes":["infer:"]}`, `{"name":"a","scopes":["infer:A_B"]}`, `{"name":"a","scopes":"admin"}`,
				`{"name":"a","scopes":["admin","admin"]}`, `{"name":"a","roles":["viewer","viewer"]}`,
				`{"name":"a","scopes":["admin"],"roles":["Boss"]}`, `{"name":"a","scopes":["admin"],"tenant":"a b"}`, `{"name":"a","scopes":["admin"],"more":1}`,
				`{"name":"a","scopes":["admin"],"expires_in":"1 day"}`, `{"name":"a","scopes":["admin"],"expires_in":"-1h"}`, `{"name":"a","scopes":["admin"],"expires_at":"tomorrow"}`,
				`{"name":"a","scopes":["admin"],"expires_in":"1h","expires_at":"2101-01-01T00:00:00Z"}`,
			},
		},
		{
			"/components/schemas/InferenceRequest", infers,
			[]string{
				tensor(""), tensor(`,"parameters":null,"more":{}`), `{"id":null,"parameters":null,"outputs":null,"inputs":[]}`,
				`{"id":"1","parameters":{"timeout":5,"priority":0,"binary_data_output":true,"a":"b","c":null,"d":1.5},"inputs":[],"outputs":[{"name":"y","parameters":{"binary_data":false}}]}`,
				`{"inputs":[{"name":"x","datatype":"BYTES","shape":[0],"data":[]}]}`,
				`{"inputs":[{"name":"x","datatype":"FP32","shape":[1.0,2e0],"data":[[1,"NaN"]]}],"parameters":{"timeout":-0.0,"priority":9223372036854775807}}`,
				typed("BOOL", `[true]`), typed("BYTES", `["NaN"]`), typed("INT8", `[-1]`), typed("UINT64", `[18446744073709551615]`), typed("FP16", `["-Infinity"]`), typed("BF16", `[1e1]`), typed("FP64", `[-0.0]`),
				`{"parameters":{"a":9223372036854775808,"b":-18446744073709551616,"c":1.7976931348623157e308,"d":-0,"e":"","f":1e30}}`, tensor(`,"parameters":{"binary_data_size":null,"shared_memory_region":null}`),
				`{"outputs":[{"name":"y","parameters":{"classification":0,"shared_memory_region":null}}]}`, `{"inputs":[{"name":"x","datatype":"FP32","shape":[0,9223372036854775807],"data":[]}]}`,
			},
			[]string{
				`[]`, `{"inputs":null}`, `{"inputs":{}}`, `{"id":7}`, `{"parameters":[]}`, `{"parameters":{"timeout":-1}}`, `{"parameters":{"timeout":"1"}}`, `{"parameters":{"a":{}}}`,
				`{"inputs":[{"datatype":"FP32","shape":[0],"data":[]}]}`, `{"inputs":[{"name":"x","datatype":"FLOAT","shape":[0],"data":[]}]}`, `{"inputs":[{"name":"x","datatype":"FP32","shape":[-1],"data":[]}]}`,
				`{"inputs":[{"name":"x","datatype":"FP32","shape":"1","data":[]}]}`, `{"inputs":[{"name":"x","datatype":"FP32","shape":[1.5],"data":[]}]}`, `{"inputs":[{"name":"","datatype":"FP32","shape":[0],"data":[]}]}`,
				typed("BOOL", `[1]`), typed("BOOL", `["true"]`), typed("BYTES", `[1]`), typed("INT8", `[true]`), typed("INT8", `["NaN"]`), typed("FP32", `["1"]`), typed("FP32", `["nan"]`), typed("FP64", `[[false]]`), typed("FP64", `{}`),
				`{"parameters":{"timeout":9223372036854775808}}`, `{"parameters":{"priority":18446744073709551616}}`, `{"parameters":{"timeout":1.5}}`, `{"parameters":{"a":1e309}}`, `{"parameters":{"a":-1e400}}`,
				`{"inputs":[{"name":"x","datatype":"FP32","shape":[0,9223372036854775808],"data":[]}]}`, `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[{}]}]}`, `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[{"a":1}]}]}`,
				`{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[null]}]}`, `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[[{}]]}]}`, `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":null}]}`,
				`{"inputs":[{"name":"x","datatype":"FP32","shape":[1]}]}`, tensor(`,"parameters":{"binary_data_size":4}`), tensor(`,"parameters":{"shared_memory_region":"r"}`), `{"outputs":[{"name":"y","parameters":{"classification":3}}]}`,
				tensor(`,"parameters":{"a":[]}`), tensor(`,"parameters":{"binary_data_size":-1}`), `{"outputs":[{}]}`, `{"outputs":[{"name":"y","parameters":{"binary_data":"yes"}}]}`,
			},
		},
		{
			"/paths/~1v2~1repository~1index/post/requestBody/content/application~1json/schema", indexes,
			[]string{`{}`, `null`, `{"ready":true}`, `{"ready":null}`},
			[]string{`{"ready":"yes"}`, `{"ready":1}`, `{"state":"READY"}`, `[]`, `"x"`, `true`},
		},
		{
			"/paths/~1v2~1repository~1models~1{model}~1load/post/requestBody/content/application~1json/schema", loads,
			[]string{`{}`, `null`, `{"parameters":null}`, `{"parameters":{}}`, `{"parameters":{"config":null}}`},
			[]string{`[]`, `"x"`, `5`, `{"parameters":5}`, `{"parameters":[]}`, `{"parameters":{"config":"{}"}}`, `{"parameters":{"config":{}}}`, `{"ready":true}`},
		},
		{
			"/paths/~1v2~1repository~1models~1{model}~1unload/post/requestBody/content/application~1json/schema", unloads,
			[]string{`{}`, `null`, `{"parameters":null}`, `{"parameters":{"unload_dependents":true}}`, `{"parameters":{"unload_dependents":null,"a":null,"b":1.5,"c":"d"}}`},
			[]string{`[]`, `"x"`, `5`, `{"parameters":5}`, `{"parameters":{"unload_dependents":1}}`, `{"parameters":{"a":{}}}`, `{"parameters":{"a":1e400}}`, `{"ready":true}`},
		},
	} {
		schema := schemaOf(t, tc.schema)
		for want, bodies := range map[bool][]string{true: tc.good, false: tc.bad} {
			for _, body := range bodies {
				value, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
				if err != nil {
					t.Fatal(body, err)
				}
				documented, read := schema.Validate(value), tc.read(body)
				if (documented == nil) != want || (read == nil) != want {
					t.Errorf("%s: good is %v; the document says %v, the server %v", body, want, documented, read)
				}
			}
		}
	}
}

// TestTheDocumentHasTheNamesOfKeys holds a key's name in the document to the code, for every
// character that there is.
func TestTheDocumentHasTheNamesOfKeys(t *testing.T) {
	t.Parallel()
	var described struct {
		Components struct {
			Schemas struct {
				NewKey struct {
					Properties struct {
						Name struct {
							Pattern string `json:"pattern"`
							Not     struct {
								Pattern string `json:"pattern"`
							} `json:"not"`
						} `json:"name"`
					} `json:"properties"`
				} `json:"NewKey"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document(t), &described); err != nil {
		t.Fatal(err)
	}
	name := described.Components.Schemas.NewKey.Properties.Name
	var every strings.Builder
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if utf8.ValidRune(r) {
			every.WriteRune(r)
		}
	}
	matching := func(pattern string) map[string]bool { // each of them is one character
		found := map[string]bool{}
		for _, match := range regexp.MustCompile(pattern).FindAllString(every.String(), -1) {
			found[match] = true
		}
		return found
	}
	some, none := matching(name.Pattern), matching(name.Not.Pattern)
	for _, r := range every.String() {
		alone := auth.KeySpec{Name: string(r), Tenant: "a", Scopes: []auth.Permission{auth.Admin}}
		inside := alone
		inside.Name = "a" + string(r) + "b"
		if good := some[string(r)] && !none[string(r)]; good != (alone.Check(time.Time{}) == nil) {
			t.Fatalf("%q: the document says %v, the server %v", alone.Name, good, alone.Check(time.Time{}))
		}
		if good := !none[string(r)]; good != (inside.Check(time.Time{}) == nil) {
			t.Fatalf("%q: the document says %v, the server %v", inside.Name, good, inside.Check(time.Time{}))
		}
	}
}

// TestTheDocumentHasTheVersions holds the document to what is taken for a version, and to
// the headers of an inference.
func TestTheDocumentHasTheVersions(t *testing.T) {
	t.Parallel()
	var described struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Ref string `json:"$ref"`
			} `json:"parameters"`
			Responses map[string]struct {
				Headers map[string]json.RawMessage `json:"headers"`
			} `json:"responses"`
		} `json:"paths"`
		Components struct {
			Parameters map[string]struct {
				Name   string `json:"name"`
				Schema struct {
					Pattern string `json:"pattern"`
				} `json:"schema"`
			} `json:"parameters"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document(t), &described); err != nil {
		t.Fatal(err)
	}
	for _, parameter := range []string{"version", "modelVersion"} {
		pattern := regexp.MustCompile(described.Components.Parameters[parameter].Schema.Pattern)
		for _, good := range []string{"1", "42", "2147483647", "2099999999", "999999999", "stable", "latest", "blue-2", "4x", "1-2", "0x", "0-0", "a"} {
			if infer.CheckVersion("v", good) != nil || !pattern.MatchString(good) {
				t.Errorf("%s: %q is one", parameter, good)
			}
		}
		for _, bad := range []string{"Stable", "a_b", "-1", "1-", "a/b", "", "0", "007", "2147483648", "3000000000", "99999999999"} {
			if infer.CheckVersion("v", bad) == nil || pattern.MatchString(bad) {
				t.Errorf("%s: %q is none", parameter, bad)
			}
		}
	}
	if got := described.Components.Parameters["modelVersion"].Name; got != infer.VersionHeader {
		t.Errorf("the header is %q", got)
	}
	for path, operations := range described.Paths {
		if !strings.HasSuffix(path, "/infer") {
			continue
		}
		o := operations["post"]
		if _, ok := o.Responses["200"].Headers["Modelserve-Alias"]; !ok {
			t.Errorf("%s has no Modelserve-Alias", path)
		}
		if !slices.ContainsFunc(o.Parameters, func(p struct {
			Ref string `json:"$ref"`
		},
		) bool {
			return p.Ref == "#/components/parameters/modelVersion"
		}) {
			t.Errorf("%s does not have %s", path, infer.VersionHeader)
		}
	}
}
