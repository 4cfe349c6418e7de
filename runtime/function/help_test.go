package function

import (
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/env"
)

func TestHelp(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args      []string
		code      int
		out, errs string // in them
	}{
		"--help":   {[]string{"--help"}, 0, "MODELSERVE_MODELS", ""},
		"-h":       {[]string{"-h"}, 0, "MODELSERVE_S3_BUCKET", ""},
		"a flag":   {[]string{"--port=1"}, env.ExitCode, "", `onnx: takes no arguments, got ["--port=1"]`},
		"too many": {[]string{"--help", "me"}, env.ExitCode, "", "takes no arguments"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs strings.Builder
			code := help("onnx", tc.args, &out, &errs)
			if code != tc.code || !strings.Contains(out.String(), tc.out) || !strings.Contains(errs.String(), tc.errs) || (tc.out == "") != (out.Len() == 0) {
				t.Errorf("exit %d, wrote %s%s", code, out.String(), errs.String())
			}
		})
	}
}
