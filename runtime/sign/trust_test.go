package sign

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/env"
)

// publicKeys are new keys in PEM.
func publicKeys(t *testing.T, n int) string {
	t.Helper()
	var text strings.Builder
	for range n {
		dir := t.TempDir()
		if _, err := CreateKeys(filepath.Join(dir, "key"), filepath.Join(dir, "pub")); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "pub"))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
	}
	return text.String()
}

// TestTrust holds that keys are read from either variable, that one that is
// there and no key is never taken for none, and that the log shows which it is.
func TestTrust(t *testing.T) {
	t.Parallel()
	good, two := publicKeys(t, 1), publicKeys(t, 2)
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "pub")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const variable, fileVariable = "MODELSERVE_PUBLIC_KEY", "MODELSERVE_PUBLIC_KEY_FILE"
	for name, tc := range map[string]struct {
		environment map[string]string
		keys        int
		fault       string // in the error
		log         string
	}{
		"none":                     {nil, 0, "", "models and policies are not verified"},
		"by value":                 {map[string]string{variable: good}, 1, "", "models and policies are verified"},
		"two":                      {map[string]string{variable: two}, 2, "", "models and policies are verified"},
		"by file":                  {map[string]string{fileVariable: file(good)}, 1, "", fileVariable},
		"both":                     {map[string]string{variable: good, fileVariable: file(good)}, 0, variable + ": expected this or", ""},
		"set to nothing":           {map[string]string{variable: ""}, 0, variable + ": is set, and empty", ""},
		"set to blanks":            {map[string]string{variable: " \n"}, 0, variable + ": is set, and empty", ""},
		"a file set to nothing":    {map[string]string{fileVariable: ""}, 0, fileVariable + ": is set, and empty", ""},
		"a value and an empty one": {map[string]string{variable: good, fileVariable: ""}, 0, fileVariable + ": is set, and empty", ""},
		"a file that is not there": {map[string]string{fileVariable: file(good) + ".no"}, 0, fileVariable + ": ", ""},
		"a folder":                 {map[string]string{fileVariable: t.TempDir()}, 0, fileVariable + ": ", ""},
		"an empty file":            {map[string]string{fileVariable: file("")}, 0, fileVariable + ": ", ""},
		"a path as the key":        {map[string]string{variable: "/etc/signing.pub"}, 0, variable + ": expected a PEM block", ""},
		"a key cut short":          {map[string]string{variable: good[:len(good)-30]}, 0, variable + ": expected a PEM block", ""},
		"the second cut short":     {map[string]string{variable: two[:len(two)-30]}, 0, variable + ": expected whole PEM blocks", ""},
		"dashes are missing":       {map[string]string{variable: good + good[1:]}, 0, variable + ": expected whole PEM blocks", ""},
		"of the first":             {map[string]string{variable: good[1:] + good}, 0, variable + ": expected whole PEM blocks", ""},
		"of the second's end":      {map[string]string{variable: good + good[:len(good)-2]}, 0, variable + ": expected whole PEM blocks", ""},
		"a type misspelled":        {map[string]string{variable: good + strings.ReplaceAll(good, "KEY", "KEYS")}, 0, "got \"PUBLIC KEYS\"", ""},
		"with comments":            {map[string]string{variable: "# old\n" + good + "\n \t\n# new\r\n" + good}, 2, "", "models and policies are verified"},
		"of another kind":          {map[string]string{variable: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}, 0, variable + ": ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			var trust Trust
			var v *Verifier
			err := env.ParseFrom(&trust, tc.environment)
			if err == nil {
				v, err = trust.Verifier(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
			}
			if tc.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fault) || v != nil {
					t.Errorf("%v, %v; want %q", v, err, tc.fault)
				}
				return
			}
			if err != nil || !strings.Contains(log.String(), tc.log) || (v == nil) != (tc.keys == 0) || v != nil && len(v.keys) != tc.keys {
				t.Errorf("%v, %v, log %s; want %d keys and %q", v, err, log.String(), tc.keys, tc.log)
			}
		})
	}
}
