// Package e2e uses a platform as its users do, over the network alone: the local
// one, for which it builds the CLI and starts `modelserve dev` on a folder and
// port of its own; and, with the build tag e2e, the one on the cluster that
// `make cluster` brings up.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/modelserveai/modelserve/test/platformtest"
)

// platform is one that a test uses: `modelserve dev`, or a cluster's.
type platform struct {
	*platformtest.Platform
	records *s3.Client // of a cluster's, whose models outlive the tests; nil locally
}

// start runs the local platform on a folder until the test ends.
func start(t *testing.T, cli, dir string) *platform {
	t.Helper()
	return &platform{Platform: platformtest.Start(t, cli, dir)}
}

// eventually asks until condition holds, for two minutes.
func (p *platform) eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	p.Eventually(t, what, 2*time.Minute, condition)
}

// request is one HTTP request; the zero value is GET /.
type request struct {
	method, host, path string
	header             map[string]string
	body               []byte
	noKey              bool
}

type response struct {
	status int
	header http.Header
	body   []byte
}

// code is the error code of either error format.
func (r *response) code() string {
	var v struct{ Code string }
	_ = json.Unmarshal(r.body, &v)
	return v.Code
}

// requestID is that of an error's body.
func (r *response) requestID() string {
	var v struct {
		RequestID string `json:"request_id"`
	}
	_ = json.Unmarshal(r.body, &v)
	return v.RequestID
}

func (p *platform) do(t *testing.T, r request) (*response, error) {
	t.Helper()
	if r.method == "" {
		r.method = http.MethodGet
		if r.body != nil {
			r.method = http.MethodPost
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, "http://"+p.Address+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if r.host != "" {
		req.Host = r.host
	}
	if !r.noKey {
		req.Header.Set("X-API-Key", p.Key)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return &response{res.StatusCode, res.Header, body}, err
}

// must is do for a request that has to be answered.
func (p *platform) must(t *testing.T, r request) *response {
	t.Helper()
	res, err := p.do(t, r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return res
}

// forget deletes what an earlier run on the same platform has left of a model,
// and the record that its versions' numbers were used.
func (p *platform) forget(t *testing.T, model string) {
	t.Helper()
	if out, err := p.Run(t, "models", "delete", model, "--yes"); err != nil && !strings.Contains(out, "is not published") {
		t.Fatalf("delete %s: %v\n%s", model, err, out)
	}
	if p.records == nil {
		return
	}
	at := s3.DeleteObjectInput{Bucket: aws.String(os.Getenv("MODELSERVE_S3_BUCKET")), Key: aws.String("models/_deleted/" + model + ".json")}
	if _, err := p.records.DeleteObject(t.Context(), &at); err != nil {
		t.Fatalf("forget that %s was deleted: %v", model, err)
	}
}

func testdata(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(platformtest.Root(t), path))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// matches wants the body to match a pattern.
func matches(t *testing.T, pattern string, body []byte) {
	t.Helper()
	if !regexp.MustCompile(pattern).Match(body) {
		t.Errorf("want a match of %s in %.500s", pattern, body)
	}
}
