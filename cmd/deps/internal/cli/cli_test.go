package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/cmd/deps/internal/cli"
)

// TestExitStatus holds what scripts see of how it went.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want int
		says string
	}{
		"help":               {[]string{"-help"}, 0, "-platform"},
		"a wrong flag":       {[]string{"-nothing"}, 2, "-nothing"},
		"no such platform":   {[]string{"-dir", t.TempDir(), "-platform", "plan9/mips"}, 1, "deps: "},
		"no GPU's libraries": {[]string{"-dir", t.TempDir(), "-platform", "darwin/arm64", "-gpu"}, 1, "deps: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if got := cli.Main(tc.args, &out); got != tc.want || !strings.Contains(out.String(), tc.says) {
				t.Errorf("%d, want %d and %q:\n%s", got, tc.want, tc.says, &out)
			}
		})
	}
}
