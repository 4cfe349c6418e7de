package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestGatewayCheckSaysWhatAGatewayWould holds the check of a file to what a gateway
// takes: also a half-written one, and one that there is no end of reading.
func TestGatewayCheckSaysWhatAGatewayWould(t *testing.T) {
	t.Parallel()
	const whole = "apiVersion: modelserve.dev/v1\nkind: Gateway\nissuers:\n" +
		"  - issuer: https://id.example.com\n    audiences: [modelserve]\n    tenant: claims.org_id\n"
	for name, tc := range map[string]struct {
		text string
		code int
		want string
	}{
		"whole":        {whole, exitOK, "is good"},
		"cut":          {strings.TrimSuffix(whole, "_id\n"), exitFailed, "line 6: the file may be half written"},
		"empty":        {"", exitFailed, "the file is empty"},
		"many faults":  {whole + strings.Repeat("x: 1\n", 30), exitFailed, "and 9 more"},
		"cannot run":   {strings.Replace(whole, "claims.org_id", "claims.a.matches('(')?'a':'b'", 1), exitFailed, "issuers[0].tenant: expected an expression"},
		"no discovery": {strings.Replace(whole, ".com", ".com?", 1), exitFailed, "issuers[0].issuer: expected https://HOST"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			path := filepath.Join(s.dir, "gateway.yaml")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := s.run("gateway", "check", path)
			if got.code != tc.code || !strings.Contains(got.out, tc.want) {
				t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
			}
		})
	}
	t.Run("a FIFO", func(t *testing.T) {
		t.Parallel()
		s := newShell(t)
		path := filepath.Join(s.dir, "gateway.yaml")
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		s.fails(exitFailed, "got a FIFO", "gateway", "check", path)
	})
}
