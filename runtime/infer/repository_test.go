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
		name, body                    string
		indexSays, loadSays, freeSays string // what errors begin with; "" is a good one
	}{
		{name: "nothing", body: ``},
		{name: "null", body: ` null `},
		{name: "an empty object", body: "\ufeff{ }"},
		{name: "null parameters", body: `{"parameters":null}`, indexSays: "parameters: there is no such member; expected ready"},
		{name: "no parameters", body: `{"parameters":{}}`, indexSays: "parameters: there"},
		{name: "a null parameter", body: `{"parameters":{"config":null,"unload_dependents":null}}`, indexSays: "parameters: there"},
		{name: "a parameter", body: `{"parameters":{"config":"{}"}}`, indexSays: "parameters: there", loadSays: "parameters.config: a published version is loaded as it is"},
		{name: "dependents", body: `{"parameters":{"unload_dependents":true}}`, indexSays: "parameters: there", loadSays: "parameters.unload_dependents: a published"},
		{name: "dependents of another kind", body: `{"parameters":{"unload_dependents":1}}`, indexSays: "parameters: there", loadSays: "parameters.unload_dependents: a published", freeSays: "parameters.unload_dependents: expected true or false; got 1"},
		{name: "an object as parameter", body: `{"parameters":{"config":{"a":1}}}`, indexSays: "parameters: there", loadSays: "parameters.config: expected a boolean, number or string; got an object", freeSays: "parameters.config: expected"},
		{name: "a number for parameters", body: `{"parameters":5}`, indexSays: "parameters: there", loadSays: "parameters: expected an object; got 5", freeSays: "parameters: expected an object"},
		{name: "ready", body: `{"ready":true}`, loadSays: "ready: there is no such member; expected parameters", freeSays: "ready: there"},
		{name: "not ready", body: `{"ready":null}`, loadSays: "ready: there", freeSays: "ready: there"},
		{name: "ready as text", body: `{"ready":"yes"}`, indexSays: "ready: expected true or false", loadSays: "ready: there", freeSays: "ready: there"},
		{name: "an array", body: `[]`, indexSays: "body: expected an object; got an array", loadSays: "body: expected an object", freeSays: "body: expected an object"},
		{name: "a string", body: `"x"`, indexSays: "body: expected an object", loadSays: "body: expected an object", freeSays: "body: expected an object"},
		{name: "no JSON", body: `x`, indexSays: "body: invalid character 'x'", loadSays: "body: invalid character 'x'", freeSays: "body: invalid character 'x'"},
		{name: "two values", body: `{}{}`, indexSays: "expected nothing behind", loadSays: "expected nothing behind", freeSays: "expected nothing behind"},
		{name: "null and more", body: `null 1`, indexSays: "expected nothing behind", loadSays: "expected nothing behind", freeSays: "expected nothing behind"},
		{name: "cut short", body: `{`, indexSays: "body: the JSON ends too early", loadSays: "body: the JSON ends too early", freeSays: "body: the JSON ends too early"},
		{name: "a name of Go", body: `{"Parameters":{"a":1}}`, indexSays: "Parameters: there", loadSays: "Parameters: there", freeSays: "Parameters: there"},
	} {
		for i, read := range []func([]byte) error{index, infer.DecodeLoadRequest, infer.DecodeUnloadRequest} {
			says := []string{tc.indexSays, tc.loadSays, tc.freeSays}[i]
			err := read([]byte(tc.body))
			if (err == nil) != (says == "") || err != nil && !strings.HasPrefix(err.Error(), says) {
				t.Errorf("%s, %s: %v, want %q", tc.name, []string{"index", "load", "unload"}[i], err, says)
			}
		}
	}
	for body, want := range map[string]bool{``: false, `null`: false, `{"ready":false}`: false, `{"ready":true}`: true} {
		if got, err := infer.DecodeIndexRequest([]byte(body)); err != nil || got != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
}
