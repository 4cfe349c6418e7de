package e2e

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/test/platformtest"
)

// examplePipelines pastes the commands of the examples' pages, and of README.md on
// pipelines, into a folder that looks like the repository's root.
func examplePipelines(t *testing.T, p *platform) {
	receiver := freePort(t)
	p1 := rootPage(t, p, strings.NewReplacer("127.0.0.1:8091", "127.0.0.1:"+receiver, "else 8091", "else "+receiver))
	pages, err := filepath.Glob(filepath.Join(platformtest.Root(t), "examples/pipelines/*/README.md"))
	if err != nil || len(pages) < 3 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	for _, path := range pages {
		p1.follow(blocksOf(t, path))
	}
	lines := regexp.MustCompile(`(?m)^bin/modelserve (pipelines|executions) .*$`).FindAllString(string(testdata(t, "README.md")), -1)
	if len(lines) == 0 {
		t.Error("README.md runs no pipeline")
	}
	for _, line := range lines {
		p1.run(line)
		if want := "Invoice No. 2026-0417"; strings.Contains(line, "page.png") && !strings.Contains(p1.output, want) {
			t.Errorf("%s\nprinted no %q:\n%s", line, want, p1.output)
		}
	}
}

// rootPage is a page whose reader is in the repository's root, with the platform's data
// in it. The examples are copied, with what the replacer replaces.
func rootPage(t *testing.T, p *platform, replacer *strings.Replacer) *page {
	t.Helper()
	root, home, state := platformtest.Root(t), t.TempDir(), t.TempDir()
	for name, target := range map[string]string{
		"bin/modelserve": p.CLI, ".modelserve": filepath.Join(p.Dir, ".modelserve"),
		"functions": filepath.Join(root, "functions"), "Makefile": filepath.Join(root, "Makefile"),
	} {
		link := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	_, port, err := net.SplitHostPort(p.Address)
	if err != nil {
		t.Fatal(err)
	}
	made := &page{t: t, env: outside(t, home), state: state, port: port, files: map[string]string{}}
	made.write(filepath.Join(state, "variables"), "")
	made.write(filepath.Join(state, "folder"), home+"\n")
	files, err := filepath.Glob(filepath.Join(root, "examples/pipelines/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(home, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		made.write(filepath.Join(home, name), replacer.Replace(string(testdata(t, name))))
	}
	return made
}
