package clients

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/test/platformtest"
)

// callsOfThePage runs each call of docs/models.md as it is there, but for the
// address and the key of this platform.
func callsOfThePage(t *testing.T, p *platform) {
	root := platformtest.Root(t)
	p.push(t, "churn", filepath.Join(root, "examples", "churn", "churn.onnx"))
	page, err := os.ReadFile(filepath.Join(root, "docs", "models.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, calls, _ := strings.Cut(string(page), "\n## Call it\n")
	calls, _, _ = strings.Cut(calls, "\n## ")
	here := strings.NewReplacer("localhost:8080", p.Address, ".modelserve/key", filepath.Join(p.Dir, ".modelserve", "key"))
	run := map[string][]string{
		"sh":     {"sh"},
		"python": {filepath.Join(root, ".deps", "clients", "python", "v2", "bin", "python")},
		"go":     {"go", "run"},
	}
	snippets := regexp.MustCompile("(?ms)^### ([^\n]+)\n.*?^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(calls, -1)
	if len(snippets) != 5 {
		t.Fatalf("%d snippets, want five", len(snippets))
	}
	for _, snippet := range snippets {
		name, language, code := snippet[1], snippet[2], snippet[3]
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
			defer cancel()
			file := filepath.Join(t.TempDir(), "call."+language)
			if err := os.WriteFile(file, []byte(here.Replace(code)), 0o600); err != nil {
				t.Fatal(err)
			}
			command := run[language]
			cmd := exec.CommandContext(ctx, command[0], append(command[1:], file)...)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*")
			out, err := cmd.CombinedOutput()
			if err != nil || !regexp.MustCompile(`0\.91[78].*0\.011`).Match(out) {
				t.Errorf("%v, want the two customers' 0.918 and 0.011:\n%s", err, out)
			}
		})
	}
}
