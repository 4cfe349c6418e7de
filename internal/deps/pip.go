package deps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pythonVersion picks the wheels, which are per version of Python though
// nothing of Python in them is used; each has a hash of its own.
const pythonVersion = "311"

// ErrNoPip names what to install.
var ErrNoPip = errors.New("fetching needs Python's pip, and none was found.\n" +
	"  Debian, Ubuntu: sudo apt-get install python3-pip\n" +
	"  macOS: python3 -m ensurepip --upgrade")

func findPip(ctx context.Context) ([]string, error) {
	for _, command := range [][]string{{"python3", "-m", "pip"}, {"pip3"}, {"pip"}} {
		args := append(slices.Clone(command[1:]), "--version")
		if exec.CommandContext(ctx, command[0], args...).Run() == nil { //nolint:gosec // one of three fixed commands
			return command, nil
		}
	}
	return nil, ErrNoPip
}

// download has pip fetch one wheel into dir, held to its hash by pip too, and
// reports every few seconds how far it is.
func (f *Fetcher) download(ctx context.Context, w *Wheel, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make a folder to download into: %w", err)
	}
	requirement := fmt.Sprintf("%s==%s --hash=sha256:%s\n", w.Package, w.Version, w.SHA256)
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, []byte(requirement), 0o600); err != nil {
		return fmt.Errorf("write pip's requirements: %w", err)
	}
	args := append(slices.Clone(f.Pip[1:]), "download", "--quiet", "--disable-pip-version-check", "--progress-bar=off",
		"--no-deps", "--only-binary=:all:", "--require-hashes", "--platform", w.Platform,
		"--python-version", pythonVersion, "--dest", dir, "--requirement", list)
	cmd := exec.CommandContext(ctx, f.Pip[0], args...) //nolint:gosec // pip, with pinned arguments
	// pip writes what it has so far into its temporary folder.
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.WaitDelay = 5 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	f.report("  %-12s %-8s %6.1f MB to fetch", w.Package, w.Version, float64(w.Size)/1e6)
	stop := f.progress(ctx, w, dir)
	err := cmd.Run()
	stop()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("fetch %s: stopped; the next run takes it up: %w", w.Package, ctx.Err())
	}
	return fmt.Errorf("fetch %s %s by pip: %w\n%s%s", w.Package, w.Version, err, indent(output.String()), f.advice(w))
}

// advice is what to do when pip cannot fetch.
func (f *Fetcher) advice(w *Wheel) string {
	return fmt.Sprintf("  Without a network, or behind a proxy or mirror: pip takes both from its own\n"+
		"  configuration (pip config --help, HTTPS_PROXY). Or bring the wheel of %s %s\n"+
		"  for %s, Python %s.%s, from another machine and put it into\n"+
		"  %s; its sha256 is %s.",
		w.Package, w.Version, w.Platform, pythonVersion[:1], pythonVersion[1:], filepath.Join(f.Dir, "wheels"), w.SHA256)
}

func (f *Fetcher) progress(ctx context.Context, w *Wheel, dir string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(3 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				n := min(downloaded(dir), w.Size)
				f.report("  %-12s %-8s %6.1f of %.1f MB", w.Package, w.Version, float64(n)/1e6, float64(w.Size)/1e6)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// indent indents pip's own output, the last few lines of it.
func indent(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > 8 {
		lines = lines[len(lines)-8:]
	}
	out := ""
	for _, line := range lines {
		out += "    " + line + "\n"
	}
	return out
}
