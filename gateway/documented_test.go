package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/gateway/control"
)

// described is what the document says of errors.
type described struct {
	operations *http.ServeMux
	codes      map[string]map[string][]string // by operation and status
}

var describe = sync.OnceValues(func() (*described, error) {
	var parsed struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Ref string `json:"$ref"`
			}
		}
		Components struct {
			Responses map[string]struct{ Description string }
		}
	}
	document, err := control.Describe()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(document, &parsed); err != nil {
		return nil, err
	}
	d := &described{http.NewServeMux(), map[string]map[string][]string{}}
	for path, operations := range parsed.Paths {
		for method, o := range operations {
			pattern := strings.ToUpper(method) + " " + path
			d.operations.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
			d.codes[pattern] = map[string][]string{}
			for status, response := range o.Responses {
				name := strings.TrimPrefix(response.Ref, "#/components/responses/")
				d.codes[pattern][status] = strings.Split(parsed.Components.Responses[name].Description, ", ")
			}
		}
	}
	return d, nil
})

// documented holds an error of the gateway's own to what the document says of the
// operation it is of. Every test asks by it.
func documented(t testing.TB, method, path string, got answer) {
	t.Helper()
	d, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Code      string
		RequestID string `json:"request_id"`
	}
	if json.Unmarshal([]byte(got.body), &body) != nil || body.Code == "" || body.RequestID == "" {
		return // no error, or a function's
	}
	if method == http.MethodHead {
		method = http.MethodGet
	}
	_, pattern := d.operations.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}})
	if pattern != "" && !slices.Contains(d.codes[pattern][strconv.Itoa(got.status)], body.Code) {
		t.Errorf("%s: the document does not have %d %s: %s", pattern, got.status, body.Code, got.body)
	}
}
