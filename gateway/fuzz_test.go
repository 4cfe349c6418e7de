package gateway

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzCheckPath holds that a path that is taken reads the same to all.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{"/", "/v2/models/iris/infer", "/v2/models/a%2Fb/infer", "/a/../b", "//", "/%2e%2e/", "/a;b", "*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		if checkPath(escaped) != nil {
			return
		}
		plain, err := url.PathUnescape(escaped)
		if err != nil {
			t.Fatalf("%q was taken and cannot be unescaped", escaped)
		}
		if strings.Count(plain, "/") != strings.Count(escaped, "/") || strings.Contains(plain, "//") ||
			strings.Contains(plain+"/", "/../") || strings.Contains(plain+"/", "/./") || strings.ContainsAny(plain, "\\;\x00\r\n") {
			t.Fatalf("%q was taken", escaped)
		}
	})
}
