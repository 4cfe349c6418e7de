package infer_test

import (
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestControlRequests holds what the repository extension's requests may be.
func TestControlRequests(t *testing.T) {
	t.Parallel()
	index := func(body []byte) error { _, err := infer.DecodeIndexRequest(body); return err }
	for _, tc := range []struct {
		name, body                       string
		indexError, loadError, freeError string // what errors begin with; "" is a good one
	}{
		{name: "nothing", body: ``},
		{name: "null", body: ` null `},
		{name: "an empty object", body: "\ufeff{ }"},
		{name: "null parameters", body: `{"parameters":null}`, indexError: "parameters: there is no such member; expected ready"},
		{name: "no parameters", body: `{"parameters":{}}`, indexError: "parameters: there"},
		{name: "a null parameter", body: `{"parameters":{"config":null,"unload_dependents":null}}`, indexError: "parameters: there"},
		{name: "a parameter", body: `{"parameters":{"config":"{}"}}`, indexError: "parameters: there", loadError: "parameters.config: a published version is loaded as it is"},
		{name: "dependents", body: `{"parameters":{"unload_dependents":true}}`, indexError: "parameters: there", loadError: "parameters.unload_dependents: a published"},
		{name: "dependents of another kind", body: `{"parameters":{"unload_dependents":1}}`, indexError: "parameters: there", loadError: "parameters.unload_dependents: a published", freeError: "parameters.unload_dependents: expected true or false; got 1"},
		{name: "an object as parameter", body: `{"parameters":{"config":{"a":1}}}`, indexError: "parameters: there", loadError: "parameters.config: expected a boolean, number or string; got an object", freeError: "parameters.config: expected"},
		{name: "a number for parameters", body: `{"parameters":5}`, indexError: "parameters: there", loadError: "parameters: expected an object; got 5", freeError: "parameters: expected an object"},
		{name: "ready", body: `{"ready":true}`, loadError: "ready: there is no such member; expected parameters", freeError: "ready: there"},
		{name: "not ready", body: `{"ready":null}`, loadError: "ready: there", freeError: "ready: there"},
		{name: "ready as text", body: `{"ready":"yes"}`, indexError: "ready: expected true or false", loadError: "ready: there", freeError: "ready: there"},
		{name: "an array", body: `[]`, indexError: "body: expected an object; got an array", loadError: "body: expected an object", freeError: "body: expected an object"},
		{name: "a string", body: `"x"`, indexError: "body: expected an object", loadError: "body: expected an object", freeError: "body: expected an object"},
		{name: "no JSON", body: `x`, indexError: "body: invalid character 'x'", loadError: "body: invalid character 'x'", freeError: "body: invalid character 'x'"},
		{name: "two values", body: `{}{}`, indexError: "expected nothing behind", loadError: "expected nothing behind", freeError: "expected nothing behind"},
		{name: "null and more", body: `null 1`, indexError: "expected nothing behind", loadError: "expected nothing behind", freeError: "expected nothing behind"},
		{name: "cut short", body: `{`, indexError: "body: the JSON ends too early", loadError: "body: the JSON ends too early", freeError: "body: the JSON ends too early"},
		{name: "a name of Go", body: `{"Parameters":{"a":1}}`, indexError: "Parameters: there", loadError: "Parameters: there", freeError: "Parameters: there"},
	} {
		for i, read := range []func([]byte) error{index, infer.DecodeLoadRequest, infer.DecodeUnloadRequest} {
			want := []string{tc.indexError, tc.loadError, tc.freeError}[i]
			err := read([]byte(tc.body))
			if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s, %s: %v, want %q", tc.name, []string{"index", "load", "unload"}[i], err, want)
			}
		}
	}
	for body, want := range map[string]bool{``: false, `null`: false, `{"ready":false}`: false, `{"ready":true}`: true} {
		if got, err := infer.DecodeIndexRequest([]byte(body)); err != nil || got != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
}
