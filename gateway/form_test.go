package gateway_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestControlBodiesAreRead holds that the gateway's own URLs refuse a form by
// name, and what is no request of theirs.
func TestControlBodiesAreRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.net.sleep("pool", "ocr", "text-detect")
	const (
		multipart  = "multipart/form-data; boundary=b"
		urlencoded = "application/x-www-form-urlencoded"
		envelope   = "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nci\r\n--b--\r\n"
		keys       = "/v1/keys"
		index      = "/v2/repository/index"
		unload     = "/v2/repository/models/iris/unload"
	)
	for name, tc := range map[string]struct {
		path, contentType, body string
		headers                 http.Header
		status                  int
		says                    string
	}{
		"a key by curl -F":            {path: keys, contentType: multipart, body: envelope, status: 415, says: "multipart/form-data"},
		"a key by --data-urlencode":   {path: keys, contentType: urlencoded, body: "name=ci&scopes=admin", status: 415, says: "URL-encoded form"},
		"a key by curl -d":            {path: keys, contentType: urlencoded, body: `{"name":"ci","scopes":["admin"]}`, status: 201},
		"the index by curl -F":        {path: index, contentType: multipart, body: envelope, status: 415, says: "multipart/form-data"},
		"the index, URL-encoded":      {path: index, contentType: urlencoded, body: "ready=true", status: 415, says: "URL-encoded form"},
		"the index by curl -d":        {path: index, contentType: urlencoded, body: `{"ready":true}`, status: 200},
		"the index of an array":       {path: index, body: `[]`, status: 400, says: "body: expected an object; got an array"},
		"the index of null":           {path: index, body: `null`, status: 200},
		"unload by curl -F":           {path: unload, contentType: multipart, body: envelope, status: 415, says: "multipart/form-data"},
		"unload, URL-encoded":         {path: unload, contentType: urlencoded, body: "a=b", status: 415, says: "URL-encoded form"},
		"unload by curl -d":           {path: unload, contentType: urlencoded, body: `{"parameters":{"unload_dependents":false}}`, status: 200},
		"unload of nothing":           {path: unload, status: 200},
		"unload of an array":          {path: unload, body: `[]`, status: 400, says: "body: expected an object; got an array"},
		"unload of what is no JSON":   {path: unload, body: `x`, status: 400, says: "invalid character"},
		"unload with a bad parameter": {path: unload, body: `{"parameters":{"unload_dependents":"no"}}`, status: 400, says: "parameters.unload_dependents: expected true or false"},
		"unload of too much":          {path: unload, body: strings.Repeat(" ", 64<<10) + "{}", status: 413, says: "larger than 65536 bytes"},
		"two types": {
			path: keys, body: `{"name":"ci","scopes":["admin"]}`, status: 415, says: "expected one Content-Type",
			headers: http.Header{"Content-Type": {"application/json", multipart}},
		},
		"compressed": {
			path: index, body: "\x1f\x8b", status: 415, says: "without a Content-Encoding",
			headers: http.Header{"Content-Encoding": {"gzip"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := tc.headers.Clone()
			if h == nil {
				h = http.Header{}
			}
			if tc.contentType != "" {
				h.Set("Content-Type", tc.contentType)
			}
			got := w.do(request{method: http.MethodPost, path: tc.path, key: w.admin, body: tc.body, header: h})
			if got.status != tc.status || !strings.Contains(got.body, tc.says) {
				t.Errorf("%d %s, want %d that says %q", got.status, got.body, tc.status, tc.says)
			}
		})
	}
}
