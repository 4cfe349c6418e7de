package artifact

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	smithy "github.com/aws/smithy-go"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
)

// TestExplain holds what is reported of an error of the S3 client: what was wrong and
// the variable to look at, and no address, URL or secret.
func TestExplain(t *testing.T) {
	t.Parallel()
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 96, 62, 63), Port: 7071}, Err: err}
	}
	refused := dial(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	const named = "http://s3.models.svc:7070"
	for name, tc := range map[string]struct {
		endpoint string
		err      error
		want     string
	}{
		"refused":         {named, refused, "S3 unreachable at s3.models.svc:7070 (MODELSERVE_S3_ENDPOINT): connect: connection refused"},
		"by a proxy":      {named, &net.OpError{Op: "proxyconnect", Net: "tcp", Err: refused}, "S3 unreachable at s3.models.svc:7070 (MODELSERVE_S3_ENDPOINT): connect: connection refused"},
		"at an address":   {"http://10.96.62.63:7070", refused, "S3 unreachable (MODELSERVE_S3_ENDPOINT): connect: connection refused"},
		"at AWS":          {"", refused, "S3 unreachable in eu-west-1 (MODELSERVE_S3_REGION): connect: connection refused"},
		"no such name":    {named, dial(&net.DNSError{Err: "no such host", Name: "s3.models.svc", Server: "198.18.0.2:53", IsNotFound: true}), "S3 unreachable at s3.models.svc:7070 (MODELSERVE_S3_ENDPOINT): no such host"},
		"names are away":  {named, dial(&net.DNSError{Err: "read udp 10.1.2.3:4->198.18.0.2:53: i/o timeout", Name: "s3", Server: "198.18.0.2:53", IsTimeout: true}), "S3 unreachable at s3.models.svc:7070 (MODELSERVE_S3_ENDPOINT): the name server does not answer"},
		"names are wrong": {named, dial(&net.DNSError{Err: "server misbehaving", Name: "s3", Server: "198.18.0.2:53"}), "S3 unreachable at s3.models.svc:7070 (MODELSERVE_S3_ENDPOINT): the name server fails"},
		"reset": {
			named, &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3)}, Err: syscall.ECONNRESET},
			"S3 unreachable at s3.models.svc:7070 (MODELSERVE_S3_ENDPOINT): connection reset by peer",
		},
		"another's certificate": {
			named, fmt.Errorf("tls: %w", x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"inner"}}, Host: "10.96.62.63"}),
			"S3 unreachable at s3.models.svc:7070 (MODELSERVE_S3_ENDPOINT): its certificate is of another name",
		},
		"no credentials": {
			"", &smithy.OperationError{ServiceID: "ec2imds", OperationName: "GetMetadata", Err: refused},
			"no credentials for S3: MODELSERVE_S3_ACCESS_KEY_ID is not set, and the node's role or the pod's identity gives none",
		},
		"given up": {named, context.Canceled, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := NewStore(t.Context(), Config{Bucket: "models", Endpoint: tc.endpoint, Region: "eu-west-1"})
			if err != nil {
				t.Fatal(err)
			}
			sent := &url.Error{Op: "Get", URL: named + "/models/m", Err: tc.err}
			if got := s.explain(&smithy.OperationError{ServiceID: "S3", OperationName: "GetObject", Err: sent}); got.Error() != tc.want || model.IsPermanent(got) {
				t.Errorf("%v, want %s", got, tc.want)
			}
		})
	}
}

// TestExplainAnswers holds what is reported of an answer of S3, or of a server in its
// place, to the client.
func TestExplainAnswers(t *testing.T) {
	t.Parallel()
	answer := func(status int, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>of %s</Message></Error>", code, "hush")
		}
	}
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		https   bool // of the endpoint
		want    string
	}{
		"no such bucket": {answer(404, "NoSuchBucket"), false, "missing: S3 has no bucket models (MODELSERVE_S3_BUCKET)"},
		"a wrong secret": {
			answer(403, "SignatureDoesNotMatch"), false,
			"S3 refuses access: it answers 403 SignatureDoesNotMatch; check MODELSERVE_S3_ACCESS_KEY_ID, MODELSERVE_S3_SECRET_ACCESS_KEY, and what they may do in bucket models",
		},
		"an object that is damaged": {answer(500, "ObjectDamaged"), false, "damaged: S3 has the object, and cannot read it"},
		"a fault of its own":        {answer(500, "InternalError"), false, "S3 fails: it answers 500 InternalError"},
		"too much for it":           {answer(503, "SlowDown"), false, "S3 unreachable: it answers 503 SlowDown"},
		"HTTP where HTTPS is asked": {answer(200, ""), true, "S3 unreachable (MODELSERVE_S3_ENDPOINT): http: server gave HTTP response to HTTPS client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(tc.handler)
			defer server.Close()
			endpoint := server.URL
			if tc.https {
				endpoint = strings.Replace(endpoint, "http:", "https:", 1)
			}
			s, err := NewStore(t.Context(), Config{Bucket: "models", Endpoint: endpoint, Region: "us-east-1", PathStyle: true, AccessKey: "key", SecretKey: "hush"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.read(t.Context(), "key", 1); err == nil || err.Error() != tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
}

// TestAnInterruptionHasNoAddress holds the same of an answer that breaks off.
func TestAnInterruptionHasNoAddress(t *testing.T) {
	t.Parallel()
	reset := &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 41600}, Err: syscall.ECONNRESET}
	if got := interrupted(reset); got.Error() != "connection reset by peer" {
		t.Errorf("%v", got)
	}
	for _, err := range []error{nil, io.ErrUnexpectedEOF, context.Canceled} {
		if got := interrupted(err); !errors.Is(got, err) {
			t.Errorf("%v of %v", got, err)
		}
	}
}

// TestExplainDial holds that S3 which takes too long to accept a connection is
// unreachable, and not a caller who gave up, though Go has one error for both.
func TestExplainDial(t *testing.T) {
	t.Parallel()
	_, err := (&net.Dialer{Timeout: time.Nanosecond}).DialContext(t.Context(), "tcp", "127.0.0.1:9")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v: expected what Go makes of a dial that takes too long", err)
	}
	s := newFakeS3(t).store(t)
	err = model.Unavailable(model.Ref{Name: "iris", Version: 1}, s.explain(fmt.Errorf("the client's text: %w", err)))
	if problem.CodeOf(err) != problem.ModelUnavailable || model.IsPermanent(err) ||
		!strings.Contains(err.Error(), "model iris@1: S3 unreachable (MODELSERVE_S3_ENDPOINT): i/o timeout") {
		t.Errorf("%v, of code %v", err, problem.CodeOf(err))
	}
	if err := s.explain(context.DeadlineExceeded); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, model.ErrUnreachable) {
		t.Errorf("a caller who gave up: %v", err)
	}
}
