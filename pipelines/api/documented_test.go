package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
)

// described is the OpenAPI document of the gateway, as far as it is of these URLs.
type described struct {
	mu       sync.Mutex // of the compiler
	compiler *jsonschema.Compiler
	mux      *http.ServeMux
	paths    map[string]map[string]struct {
		Responses map[string]struct {
			Ref     string                          `json:"$ref"`
			Content map[string]struct{ Schema any } `json:"content"`
		}
	}
}

var describe = sync.OnceValues(func() (*described, error) {
	document, err := control.Describe()
	if err != nil {
		return nil, err
	}
	var parsed struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Ref     string                          `json:"$ref"`
				Content map[string]struct{ Schema any } `json:"content"`
			}
		}
	}
	if err := json.Unmarshal(document, &parsed); err != nil {
		return nil, err
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, err
	}
	d := &described{compiler: jsonschema.NewCompiler(), mux: http.NewServeMux(), paths: parsed.Paths}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource("openapi.json", whole); err != nil {
		return nil, err
	}
	for path, operations := range parsed.Paths {
		for method := range operations {
			d.mux.HandleFunc(strings.ToUpper(method)+" "+path, func(http.ResponseWriter, *http.Request) {})
		}
	}
	return d, nil
})

// documented holds an answer of the service to what the gateway's document says of the
// operation: its status, its code, and the schema of its body. Every test asks by it.
func documented(t testing.TB, method, path string, got *answer) {
	t.Helper()
	d, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(path)
	if err != nil || got.status == http.StatusUnauthorized {
		return // nobody but the gateway asks
	}
	_, pattern := d.mux.Handler(&http.Request{Method: method, URL: to})
	_, at, _ := strings.Cut(pattern, " ")
	operation, ok := d.paths[at][strings.ToLower(method)]
	if !ok {
		return // the gateway has no such URL
	}
	status := strconv.Itoa(got.status)
	response, ok := operation.Responses[status]
	if !ok {
		t.Errorf("%s: the document has no answer %s: %s", pattern, status, got.body)
		return
	}
	media := got.header.Get("Content-Type")
	if at == contract.ResultPath && media != "application/problem+json" {
		return // a function's own
	}
	where := response.Ref
	if where == "" {
		if _, ok := response.Content[media]; !ok {
			return // the result, and streams
		}
		where = "#/paths/" + strings.NewReplacer("/", "~1", "{", "%7B", "}", "%7D").Replace(at) + "/" + strings.ToLower(method) + "/responses/" + status
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	schema, err := d.compiler.Compile("openapi.json" + where + "/content/" + strings.ReplaceAll(media, "/", "~1") + "/schema")
	if err != nil {
		t.Errorf("%s %s %s: %v", pattern, status, media, err)
		return
	}
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(got.body))
	if err != nil {
		t.Errorf("%s: %s: %v", pattern, got.body, err)
		return
	}
	if err := schema.Validate(body); err != nil {
		t.Errorf("%s: the answer is not as documented: %s: %v", pattern, got.body, err)
	}
}

// TestTheDocumentHasEveryOperation holds that each URL of the gateway's document is one
// of the service's, and that what the document does not have is not answered.
func TestTheDocumentHasEveryOperation(t *testing.T) {
	t.Parallel()
	d, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	s, n := newService(t), 0
	for path, operations := range d.paths {
		if !strings.HasPrefix(path, "/v1/pipelines") && !strings.HasPrefix(path, "/v1/executions") && !strings.HasPrefix(path, "/v1/dead-letters") {
			continue
		}
		for method := range operations {
			n++
			got := s.do(strings.ToUpper(method), strings.NewReplacer("{name}", "none", "{version}", "1", "{id}", "none.a.0").Replace(path), "")
			if strings.Contains(got.body, "there is no such URL") {
				t.Errorf("%s %s: %d %s", method, path, got.status, got.body)
			}
		}
	}
	if n != 20 {
		t.Errorf("%d operations", n)
	}
	if got := s.do("PUT", "/v1/pipelines/a", ""); got.code() != problem.NotFound {
		t.Errorf("%d %s", got.status, got.body)
	}
}
