package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/cmd/images/internal/image"
)

// archive implements image.Packages by debian.sh and dpkg-deb.
type archive struct {
	script, dir, mirror string
}

func (o *options) archive() *archive {
	return &archive{script: "cmd/images/debian.sh", dir: filepath.Join(o.dir, "debian"), mirror: o.mirror}
}

// Fetch implements image.Packages.
func (a *archive) Fetch(ctx context.Context, architecture string, lines []string) error {
	_, err := run(ctx, strings.Join(lines, "\n"), a.script, "fetch", a.dir, architecture, a.mirror)
	return err
}

// Read implements image.Packages.
func (a *archive) Read(ctx context.Context, deb string) (files, control []byte, err error) {
	path := filepath.Join(a.dir, "packages", deb)
	if files, err = run(ctx, "", "dpkg-deb", "--fsys-tarfile", path); err == nil {
		control, err = run(ctx, "", "dpkg-deb", "--field", path)
	}
	return files, control, err
}

// run returns what a command writes; what it complains of, the user sees.
func run(ctx context.Context, input, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // debian.sh and dpkg-deb
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// pin writes the list of pinned packages of each folder of recipes that is named,
// with what Debian has now of the packages of every recipe in the folder.
func pin(ctx context.Context, o *options) error {
	var folders []string
	for _, file := range o.specs {
		folders = append(folders, filepath.Dir(file))
	}
	slices.Sort(folders)
	for _, dir := range slices.Compact(folders) {
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			return fmt.Errorf("list recipes: %w", err)
		}
		var names []string
		for _, file := range files {
			r, err := image.Load(file)
			if err != nil {
				return err
			}
			names = append(names, r.Packages...)
		}
		slices.Sort(names)
		names = slices.Compact(names)
		a, lines := o.archive(), []string{}
		for _, architecture := range []string{"amd64", "arm64"} {
			out, err := run(ctx, "", a.script, append([]string{"pin", a.dir, architecture, a.mirror}, names...)...)
			if err != nil {
				return err
			}
			lines = slices.AppendSeq(lines, strings.Lines(string(out)))
		}
		slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[64:], b[64:]) })
		text := "# What the recipes of this folder take from Debian 12. `go run ./cmd/images -pin`\n# writes it (-spec names other recipes).\n" + strings.Join(slices.Compact(lines), "")
		if err := os.WriteFile(filepath.Join(dir, image.LockFile), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write pinned packages: %w", err)
		}
		o.print("%s: %d packages", dir, len(names))
	}
	return nil
}
