package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		want string
		args []string
	}{
		"an unknown command":  {`has no command "pish"`, []string{"pish"}},
		"nearly a command":    {`did you mean "push"?`, []string{"models", "pusj"}},
		"an unknown flag":     {"unknown flag: --colour", []string{"models", "list", "--colour"}},
		"an unknown output":   {"--output: expected table, json or yaml", []string{"models", "list", "-o", "xml"}},
		"too many":            {"usage: modelserve version", []string{"version", "now"}},
		"too few":             {"usage: modelserve deploy", []string{"deploy"}},
		"help with nothing":   {`no command "models pish"`, []string{"help", "models", "pish"}},
		"an unknown shell":    {`has no command "tcsh"`, []string{"completion", "tcsh"}},
		"a server of no host": {"--server: expected a URL", []string{"keys", "list", "--server", "localhost:8080"}},
		"a model's bad name":  {"expected 1 to 63", []string{"deploy", "Churn"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newShell(t).withPlatform().fails(exitUsage, tc.want, tc.args...)
		})
	}
}

// TestHelp holds that every command has an example, and says what it does.
func TestHelp(t *testing.T) {
	t.Parallel()
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || c.Runnable() && !c.HasSubCommands() && c.Example == "" {
			t.Errorf("%s has no example or no description", c.CommandPath())
		}
		if !c.HasSubCommands() && !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("the example of %s does not call it", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(Command())

	s := newShell(t)
	if out := s.must(); !strings.Contains(out, "Available Commands") {
		t.Errorf("alone it says:\n%s", out)
	}
	if out := s.must("completion", "bash"); !strings.Contains(out, "modelserve") {
		t.Error("no completion")
	}
	if out := s.must("help", "models", "push"); !strings.Contains(out, "modelserve models push churn churn.onnx") {
		t.Errorf("help models push:\n%s", out)
	}
	if out := s.must("version", "-o", "json"); !json.Valid([]byte(out)) {
		t.Errorf("version: %s", out)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 20 << 20: "20.0 MiB", 3 << 30: "3.0 GiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
	for s, want := range map[string]string{"plain-1.2/x": "plain-1.2/x", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(rm)": "'$(rm)'"} {
		if got := shellQuote(s); got != want {
			t.Errorf("%q quoted is %s, want %s", s, got, want)
		}
	}
}
