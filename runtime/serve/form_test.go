package serve_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

// TestFormsAreRefusedByName holds that a form is never answered as if it were
// the content, and that what curl sends under a form's type is.
func TestFormsAreRefusedByName(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	const (
		urlencoded = "application/x-www-form-urlencoded"
		envelope   = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\nabc\r\n--b--\r\n"
	)
	binaryEvent := []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t"}
	for name, tc := range map[string]struct {
		path, contentType, body string
		headers                 []string
		detail                  string // nothing: answered
	}{
		"curl -F":                             {contentType: "multipart/form-data; boundary=b", body: envelope, detail: "curl --data-binary @FILE"},
		"another spelling":                    {contentType: "Multipart/Form-Data", body: envelope, detail: "multipart/form-data"},
		"as an event's data":                  {contentType: "multipart/form-data; boundary=b", body: envelope, headers: binaryEvent, detail: "multipart/form-data"},
		"an inference":                        {path: "v2/models/double/infer", contentType: "multipart/form-data; boundary=b", body: envelope, detail: "multipart/form-data"},
		"an inference, URL-encoded":           {path: "v2/models/double/infer", contentType: urlencoded, body: "inputs=%5B%5D", detail: "URL-encoded form"},
		"an inference of a version":           {path: "v2/models/double/versions/3/infer", contentType: urlencoded, body: "inputs=1\n", detail: "URL-encoded form"},
		"curl -d, an inference":               {path: "v2/models/double/infer", contentType: urlencoded, body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`},
		"the index":                           {path: "v2/repository/index", contentType: "multipart/form-data; boundary=b", body: envelope, detail: "multipart/form-data"},
		"the index, URL-encoded":              {path: "v2/repository/index", contentType: urlencoded, body: "ready=true", detail: "URL-encoded form"},
		"curl -d, the index":                  {path: "v2/repository/index", contentType: urlencoded, body: `{"ready":true}`},
		"load":                                {path: "v2/repository/models/double/load", contentType: "multipart/form-data; boundary=b", body: envelope, detail: "multipart/form-data"},
		"load, URL-encoded":                   {path: "v2/repository/models/double/load", contentType: urlencoded, body: "a=b", detail: "URL-encoded form"},
		"unload":                              {path: "v2/repository/models/double/unload", contentType: "multipart/form-data; boundary=b", body: envelope, detail: "multipart/form-data"},
		"unload, URL-encoded":                 {path: "v2/repository/models/double/unload", contentType: urlencoded, body: "a=b", detail: "URL-encoded form"},
		"curl --data-urlencode name@file":     {contentType: urlencoded, body: "content=var%20x%20%3D%201%3B%0A", detail: "URL-encoded form"},
		"curl --data-urlencode @file":         {contentType: urlencoded, body: "%7B%22image%22%3A1%7D", detail: "URL-encoded form"},
		"curl -d name=value":                  {contentType: urlencoded, body: "a=1&b=two+words", detail: "URL-encoded form"},
		"curl --data-binary, a text":          {contentType: urlencoded, body: "var x = 1;\n"},
		"curl --data-binary, bytes":           {contentType: urlencoded, body: "\x89PNG\r\n=%20"},
		"curl -d name=value, with a line end": {contentType: urlencoded, body: "name=value\r\n", detail: "URL-encoded form"},
		"as an event's data, URL-encoded":     {contentType: urlencoded, body: "a=1", headers: binaryEvent, detail: "URL-encoded form"},
		"as a structured event's data": {
			contentType: "application/cloudevents+json", detail: "multipart/form-data",
			body: `{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"multipart/form-data; boundary=b","data":"--b"}`,
		},
		"curl --data-binary, lines of words": {contentType: urlencoded, body: "name=value\nother=value\n"},
		"curl --data-binary, base64":         {contentType: urlencoded, body: "aGVsbG8gdA=="},
		"curl --data-binary, a bad escape":   {contentType: urlencoded, body: "100%=%zz"},
		"curl --data-binary, one word":       {contentType: urlencoded, body: "hello"},
		"curl --data-binary, nothing":        {contentType: urlencoded},
		"the same bytes as what they are":    {contentType: "application/octet-stream", body: "a=1&b=2"},
		"a mail with parts":                  {contentType: "multipart/related; boundary=b", body: envelope},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := send(t, http.MethodPost, url+tc.path, []byte(tc.body), append(tc.headers, "Content-Type", tc.contentType)...)
			if tc.detail == "" {
				if got.status != http.StatusOK {
					t.Errorf("%d: %s", got.status, got.body)
				}
				return
			}
			if got.status != http.StatusUnsupportedMediaType || !strings.Contains(string(got.body), string(problem.UnsupportedMedia)) || !strings.Contains(string(got.body), tc.detail) {
				t.Errorf("%d: %s, want 415 with %q", got.status, got.body, tc.detail)
			}
		})
	}
}

// TestOneContentType holds that a body is not read as one of two types that it is
// declared to have, of which the second may be a form's; the same one twice is one.
func TestOneContentType(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	post := func(path string, types ...string) (status int, body string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header["Content-Type"] = types
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	for _, path := range []string{"", "v2/models/double/infer", "v2/repository/index", "v2/repository/models/double/load", "v2/repository/models/double/unload"} {
		for _, second := range []string{"multipart/form-data; boundary=b", "application/x-www-form-urlencoded", "text/plain", ""} {
			if status, body := post(path, "application/json", second); status != http.StatusUnsupportedMediaType || !strings.Contains(body, "expected one Content-Type") {
				t.Errorf("/%s, %q: %d %s", path, second, status, body)
			}
		}
		if status, body := post(path, "application/json", "Application/JSON; charset=utf-8"); status == http.StatusUnsupportedMediaType {
			t.Errorf("/%s, the same twice: %d %s", path, status, body)
		}
	}
}
