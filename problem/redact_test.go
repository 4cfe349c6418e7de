package problem_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":           {"", ""},
		"no place":          {"it needs 3 MiB of memory, and models may take 2", "it needs 3 MiB of memory, and models may take 2"},
		"a file":            {"open /var/cache/modelserve/files/ab12: permission denied", "open ab12: permission denied"},
		"of ONNX Runtime":   {"Load model from /home/someone/.modelserve/cache/files/ab12 failed:Protobuf parsing failed.", "Load model from ab12 failed:Protobuf parsing failed."},
		"a line of source":  {"/onnxruntime_src/core/rnn.h:48 layout_ == 0 was false", "rnn.h:48 layout_ == 0 was false"},
		"after a colon":     {"failed:/tmp/x/y", "failed:y"},
		"quoted":            {`path: "/tmp/a b/c (d)/w.bin" is missing`, `path: "w.bin" is missing`},
		"in single quotes":  {"'/tmp/a, b/c'", "'c'"},
		"with a space":      {"open /home/John Doe/cache/ab: no", "open ab: no"},
		"several":           {"rename /a/b /c/d: no; then [/e/f] and (/g/h)", "rename b d: no; then [f] and (h)"},
		"a folder":          {"mkdir /var/cache/: no", "mkdir cache: no"},
		"the first level":   {"write /tmp: no", "write tmp: no"},
		"in an assignment":  {"LOCPATH=/usr/lib/locale", "LOCPATH=locale"},
		"a URL of a file":   {"read file:///etc/passwd now", "read passwd now"},
		"a URL":             {`Get "http://10.0.0.1:9000/models/x?list-type=2": EOF`, `Get "…": EOF`},
		"a dial":            {"dial tcp 127.0.0.1:9000: connect: connection refused", "dial tcp …: connect: connection refused"},
		"an IPv6 dial":      {"dial tcp [::1]:9000: connect: connection refused", "dial tcp …: connect: connection refused"},
		"a connection":      {"read tcp 10.1.2.3:53312->10.0.0.9:9000: i/o timeout", "read tcp …->…: i/o timeout"},
		"an object":         {`read "s3://models/inputs/acme/x.png": slow`, `read "s3://models/inputs/acme/x.png": slow`},
		"a media type":      {"expected image/png and/or text/plain, 3/4 of it", "expected image/png and/or text/plain, 3/4 of it"},
		"a version of four": {"libcublas 13.10.0.20 of CUDA", "libcublas 13.10.0.20 of CUDA"},
		"a relative path":   {"core/rnn.h:48, ../model.onnx", "core/rnn.h:48, ../model.onnx"},
		"a lone slash":      {"a / b", "a / b"},
	} {
		if got := problem.Redact(tc.text); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// TestNoPathReachesACaller holds, whatever failure of ours has the path of a
// file in it, that no caller gets it in any form, and that the log does.
func TestNoPathReachesACaller(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"/var/cache/modelserve/files/ab12", "/home/John van der Doe/my cache, (old)/x", filepath.Join(t.TempDir(), "model.ort")} {
		_, missing := os.Open(at)
		for name, err := range map[string]error{
			"open":   fmt.Errorf("fetch model.ort: %w", missing),
			"made":   &fs.PathError{Op: "mkdir", Path: at, Err: syscall.EACCES},
			"link":   &os.LinkError{Op: "rename", Old: at, New: at + ".new", Err: syscall.ENOSPC},
			"joined": errors.Join(errors.New("first"), fmt.Errorf("then: %w", missing)),
			"exec":   &exec.Error{Name: at, Err: exec.ErrNotFound},
			"quoted": fmt.Errorf("path %q is bad", at),
		} {
			for _, code := range problem.Codes() {
				if !code.Ours() {
					continue
				}
				p := problem.New(code, "model m@1 failed to load: %w", problem.New(problem.Internal, "beneath: %w", err))
				if !strings.Contains(p.Error(), at) {
					t.Errorf("%s: the log has %q only", name, p)
				}
				if !errors.Is(p, errors.Unwrap(err)) && errors.Unwrap(err) != nil {
					t.Errorf("%s: the cause is lost", name)
				}
				rfc, v2 := httptest.NewRecorder(), httptest.NewRecorder()
				problem.Write(rfc, fmt.Errorf("more: %w", p))
				problem.WriteV2(v2, p)
				for form, text := range map[string]string{
					"RFC 9457": rfc.Body.String(), "V2": v2.Body.String(), "gRPC": problemgrpc.Error(p).Message(), "a reason": problem.Reason(err),
				} {
					if strings.Contains(text, filepath.Dir(at)) || strings.Contains(text, "Doe/") {
						t.Errorf("%s, %s, %s: %s", name, code, form, text)
					}
				}
			}
		}
	}
}

func TestCallersMistakesAreReportedWithTheirText(t *testing.T) {
	t.Parallel()
	for _, err := range []*problem.Error{
		problem.Invalid("parameters", `expected a number at "/inputs/0/data", got %q`, "/etc/passwd"),
		problem.New(problem.MalformedBody, "the body is not JSON: %w", errors.New(`invalid character within "/inputs/0"`)),
		problem.New(problem.NotFound, "no such URL: /v2/modles"),
	} {
		if err.Detail != err.Error() || !strings.Contains(err.Detail, "/") {
			t.Errorf("%q becomes %q", err.Error(), err.Detail)
		}
	}
	if got := problem.Reason(nil); got != "" {
		t.Errorf("no error has the reason %q", got)
	}
}

// FuzzRedact holds that a redacted text has no absolute path where words begin and
// no address, and that no text
// without a slash or a colon changes.
func FuzzRedact(f *testing.F) {
	for _, text := range []string{
		"open /a/b: no", `"/a b/c"`, "file:///x/y", "http://a.b/c d", "dial tcp 1.2.3.4:5: no", "[::1]:80", "/", "//", "/ /a", "a /b c/d e/f", "'/a'/b", "`/x`", "/a//b", "\"/a\"/b\"", "/\xff/x", "((/a)/b)",
	} {
		f.Add(text)
	}
	path := regexp.MustCompile(`(^|[\s"'` + "`" + `(=:,])/[A-Za-z0-9_]`)
	f.Fuzz(func(t *testing.T, text string) {
		got := problem.Redact(text)
		if path.MatchString(got) {
			t.Errorf("%q becomes %q", text, got)
		}
		if !strings.ContainsAny(text, "/:") && got != text {
			t.Errorf("%q, without a path, becomes %q", text, got)
		}
		for _, word := range strings.FieldsFunc(got, unicode.IsSpace) {
			if host, _, err := net.SplitHostPort(word); err == nil && net.ParseIP(host).To4() != nil && !strings.Contains(word, "::ffff") {
				t.Errorf("%q becomes %q", text, got)
			}
		}
	})
}
