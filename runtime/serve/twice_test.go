package serve_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

// TestHeadersThatComeTwice holds for a function what the gateway's test of this name
// does for the gateway: no reader takes one of two values.
func TestHeadersThatComeTwice(t *testing.T) {
	t.Parallel()
	const infers = "/v2/models/double/infer"
	url := native(t, newFake())
	for name, tc := range map[string]struct {
		path, header string
		values       []string
		code         problem.Code // "" is good
	}{
		"a version":                {infers, "X-Model-Version", []string{"1", "2"}, problem.InvalidArgument},
		"a version, native":        {"/", "X-Model-Version", []string{"1", "1"}, problem.InvalidArgument},
		"a length of JSON":         {infers, "Inference-Header-Content-Length", []string{"84", "1"}, problem.InvalidArgument},
		"a length of JSON, turned": {infers, "Inference-Header-Content-Length", []string{"1", "84"}, problem.InvalidArgument},
		"a length of JSON, equal":  {infers, "Inference-Header-Content-Length", []string{"84", "84"}, problem.InvalidArgument},
		"a length with a sign":     {infers, "Inference-Header-Content-Length", []string{"+84"}, problem.InvalidArgument},
		"a tenant":                 {infers, "Modelserve-Tenant", []string{"a", "b"}, problem.InvalidArgument},
		"a tenant, native":         {"/", "Modelserve-Tenant", []string{"a", "b"}, problem.InvalidArgument},
		"a time":                   {infers, "Modelserve-Timeout", []string{"1000", "2000"}, problem.InvalidArgument},
		"a secret":                 {infers, "Modelserve-Secret", []string{secret, "other"}, problem.InvalidArgument},
		"an encoding":              {infers, "Content-Encoding", []string{"identity", "gzip"}, problem.UnsupportedMedia},
		"an encoding, native":      {"/", "Content-Encoding", []string{"gzip", "identity"}, problem.UnsupportedMedia},
		"a type":                   {infers, "Content-Type", []string{"application/json", "text/plain"}, problem.UnsupportedMedia},
		"a charset":                {infers, "Content-Type", []string{"application/json; charset=utf-16"}, problem.UnsupportedMedia},
		"a charset, native":        {"/", "Content-Type", []string{"application/json; charset=utf-16"}, problem.UnsupportedMedia},
		"a charset, the second":    {"/", "Content-Type", []string{"application/json", "application/json; charset=utf-16"}, problem.UnsupportedMedia},
		"an event's version":       {"/", "Ce-Specversion", []string{"1.0", "1.0"}, problem.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, strings.TrimSuffix(url, "/")+tc.path, strings.NewReader(inferBody))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{tc.header: tc.values}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			reply{res.StatusCode, res.Header, body}.failed(t, tc.code)
		})
	}
}

// TestGRPCMetadataThatComesTwice holds it over gRPC, whose errors it gets.
func TestGRPCMetadataThatComesTwice(t *testing.T) {
	t.Parallel()
	url := strings.TrimSuffix(native(t, newFake()), "/")
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	for name, values := range map[string][]string{
		"X-Model-Version": {"1", "2"}, "Grpc-Timeout": {"1S", "2S"}, "Grpc-Encoding": {"gzip", "identity"}, "Modelserve-Timeout": {"1", "2"},
	} {
		for _, contentType := range []string{"application/grpc", "application/grpc+proto", "application/grpc; ="} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+service+"ServerLive", bytes.NewReader([]byte{0, 0, 0, 0, 0}))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{"Content-Type": {contentType}, name: values}
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != http.StatusOK || len(body) > 0 || res.Trailer.Get("Grpc-Status") != "3" || !strings.Contains(res.Trailer.Get("Grpc-Message"), "once") {
				t.Errorf("%s as %q: %d %v %s", name, contentType, res.StatusCode, res.Trailer, body)
			}
		}
	}
}
