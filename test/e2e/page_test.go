package e2e

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/freeport"
	"github.com/modelserveai/modelserve/internal/logtest"
)

// page is a page of the documentation as a reader follows it: commands in a
// shell, files with the page's content, and what the commands print.
type page struct {
	t      *testing.T
	env    []string
	state  string // folder that keeps the shell's variables and working folder
	port   string // in place of 8080
	output string // of the last command
	files  map[string]string
}

// block is a fenced block: its language, the word behind it, its text.
type block struct{ language, name, text string }

func blocksOf(t *testing.T, path string) []block {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	for _, m := range regexp.MustCompile("(?ms)^```(\\w+) ?(\\S*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{m[1], m[2], m[3]})
	}
	if fences := strings.Count("\n"+string(text), "\n```"); fences != 2*len(blocks) {
		t.Fatalf("%s: %d fences and %d blocks: each begins with its language", path, fences, len(blocks))
	}
	return blocks
}

// newPage makes an empty home for a reader, whose checkout of this repository is
// ~/modelserve. Nothing else of it is there: no cache, no library.
func newPage(t *testing.T, root string) *page {
	t.Helper()
	home, state := t.TempDir(), t.TempDir()
	if err := os.Symlink(root, filepath.Join(home, "modelserve")); err != nil {
		t.Fatal(err)
	}
	p := &page{t: t, env: outside(t, home), state: state, port: freePort(t), files: map[string]string{}}
	p.write(filepath.Join(state, "variables"), "")
	p.write(filepath.Join(state, "folder"), home+"\n")
	return p
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

func (p *page) write(path, text string) {
	p.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// folder is where the shell is.
func (p *page) folder() string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.state, "folder"))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// shell is bash in the state that the last command left.
func (p *page) shell(ctx context.Context, script string) *exec.Cmd {
	script = strings.ReplaceAll(script, ":8080", ":"+p.port)
	text := `. "$STATE/variables"; cd "$(cat "$STATE/folder")"` + "\n" + script
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	cmd.Env = slices.Concat(p.env, []string{"STATE=" + p.state})
	return cmd
}

// run runs a block of commands to its end, which has to be a good one.
func (p *page) run(script string) {
	p.t.Helper()
	cmd := p.shell(p.t.Context(), script+"\nexport -p >\"$STATE/variables\"; pwd >\"$STATE/folder\"")
	out, err := cmd.CombinedOutput()
	if p.output = string(out); err != nil {
		p.t.Fatalf("%v, of\n%s\n%s", err, script, out)
	}
}

// platform starts a platform that the page starts in a terminal of its own, until
// the test ends, and returns once it is ready.
func (p *page) platform(script string) {
	p.t.Helper()
	printed := new(logtest.Log)
	command, ok := strings.CutPrefix(strings.TrimSpace(script), "modelserve dev")
	if !ok {
		p.t.Fatalf("expected modelserve dev, got %s", script)
	}
	cmd := p.shell(context.Background(), "exec modelserve dev --plain --address 127.0.0.1:"+p.port+command)
	cmd.Stdout, cmd.Stderr = printed, printed
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p.t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			p.t.Errorf("interrupt the platform: %v", err)
		}
		if err := <-ended; err != nil {
			p.t.Errorf("the platform ended badly: %v", err)
		}
		if p.t.Failed() {
			p.t.Logf("the platform printed:\n%s", printed.String())
		}
	})
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		res, err := http.Get("http://127.0.0.1:" + p.port + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case err := <-ended:
			ended <- err
			p.t.Fatalf("the platform ended: %v\n%s", err, printed.String())
		}
	}
}

// background starts a program that the page starts in a terminal of its own, until the
// test ends.
func (p *page) background(script string) {
	p.t.Helper()
	printed := new(logtest.Log)
	cmd := p.shell(context.Background(), "exec "+script)
	cmd.Stdout, cmd.Stderr = printed, printed
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // as it was killed
		if p.t.Failed() {
			p.t.Logf("%s printed:\n%s", strings.TrimSpace(script), printed.String())
		}
	})
}

// printed holds the last output to the page's: … stands for anything.
func (p *page) printed(want string) {
	p.t.Helper()
	pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(want)), "…", ".*")
	if !regexp.MustCompile(`(?s)^` + pattern + `$`).MatchString(strings.TrimSpace(p.output)) {
		p.t.Errorf("printed:\n%s\nand the page says:\n%s", p.output, want)
	}
}

// follow does the page's steps.
func (p *page) follow(blocks []block) {
	p.t.Helper()
	for _, b := range blocks {
		switch {
		case b.language == "sh" && b.name == "platform":
			p.platform(b.text)
		case b.language == "sh" && b.name == "background":
			p.background(b.text)
		case b.language == "sh":
			p.run(b.text)
		case b.language == "text":
			p.printed(b.text)
		case b.name != "":
			p.write(filepath.Join(p.folder(), b.name), b.text)
			p.files[b.name] = b.text
		default:
			p.t.Errorf("a block of %s that is no file: name it behind its language", b.language)
		}
	}
}
