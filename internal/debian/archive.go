package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Archive downloads packages. Its methods are for one caller at a time.
type Archive struct {
	Dir    string    // what was downloaded, and apt's own files
	Mirror string    // has /debian and /debian-security below it; "" is where the machine's own apt looks
	Etc    string    // the machine's configuration of apt; "" is /etc/apt
	Out    io.Writer // progress, a line at a time

	// Snapshots is where Debian's archive is kept as it was, as /debian/TIME and
	// /debian-security/TIME below it; "" is nowhere.
	Snapshots string

	// Command makes the command that runs one of the machine's programs; nil is
	// exec.CommandContext.
	Command func(ctx context.Context, name string, args ...string) *exec.Cmd
}

// Fetch brings packages, all of one architecture or of All, and returns where
// they lie, in their order. What was brought before is hashed and not fetched.
//
// A pinned version that Debian has replaced comes from the snapshot that has it;
// where none is known, the error says what took its place.
func (a *Archive) Fetch(ctx context.Context, architecture string, packages []Package) ([]string, error) {
	dir := filepath.Join(a.Dir, "packages")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for packages: %w", err)
	}
	paths := make([]string, len(packages))
	var missing []Package
	for i := range packages {
		paths[i] = filepath.Join(dir, packages[i].file())
		if verify(paths[i], &packages[i]) != nil {
			missing = append(missing, packages[i])
		}
	}
	if len(missing) == 0 {
		return paths, nil
	}
	if err := a.find(ctx, architecture, missing); err != nil {
		return nil, err
	}
	return paths, a.download(ctx, architecture, missing, dir)
}

// find has apt read an archive that has packages: Debian's as it is now, or as it
// was when they were pinned.
func (a *Archive) find(ctx context.Context, architecture string, packages []Package) error {
	if err := a.update(ctx, architecture, ""); err != nil {
		return err
	}
	now := a.offered(ctx, architecture, packages)
	at := packages[0].Snapshot // a lock has one
	switch {
	case now == nil:
		return nil
	case at == "":
		return now
	case a.Snapshots == "":
		return fmt.Errorf("%w\n-snapshots URL fetches them as of %s, from where Debian's snapshots are kept: URL has debian/ and debian-security/", now, at)
	}
	a.say("  apt          %s: Debian has replaced what is pinned; look where it was at %s", architecture, at)
	if err := a.update(ctx, architecture, at); err != nil {
		return errors.Join(now, err)
	}
	if err := a.offered(ctx, architecture, packages); err != nil {
		return fmt.Errorf("%w\nand in the snapshot of %s:\n%w", now, at, err)
	}
	return nil
}

// download has apt fetch packages into a folder of their own, and keeps those
// that are what is pinned.
func (a *Archive) download(ctx context.Context, architecture string, packages []Package, dir string) error {
	work, err := os.MkdirTemp(a.Dir, "download-")
	if err != nil {
		return fmt.Errorf("make a folder to download into: %w", err)
	}
	defer os.RemoveAll(work)
	args, size := []string{"-qq", "download"}, int64(0)
	for i := range packages {
		args = append(args, packages[i].Name+"="+packages[i].Version)
		size += packages[i].Size
	}
	a.say("  apt          %s: %d packages, %.1f MB to fetch", architecture, len(packages), float64(size)/1e6)
	if _, err := a.run(ctx, architecture, work, "apt-get", args...); err != nil {
		return fmt.Errorf("fetch packages for %s: %w", architecture, err)
	}
	for i := range packages {
		p := &packages[i]
		path := filepath.Join(work, p.file())
		if err := verify(path, p); err != nil {
			return fmt.Errorf("package %v: %w", p, err)
		}
		if err := os.Rename(path, filepath.Join(dir, p.file())); err != nil {
			return fmt.Errorf("keep package %v: %w", p, err)
		}
	}
	return nil
}

// verify holds a file to its pinned size and sha256.
func verify(path string, p *Package) error {
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read what was fetched: %w", err)
	}
	defer in.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, in)
	if err != nil {
		return fmt.Errorf("read what was fetched: %w", err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != p.SHA256 || n != p.Size {
		return fmt.Errorf("what was fetched has sha256 %s and %d bytes; %s and %d are pinned", got, n, p.SHA256, p.Size)
	}
	return nil
}

// offered checks that the archive still has what is pinned.
func (a *Archive) offered(ctx context.Context, architecture string, packages []Package) error {
	var names []string
	for i := range packages {
		names = append(names, packages[i].Name)
	}
	all, err := a.show(ctx, architecture, names, "--all-versions")
	if err != nil {
		return err
	}
	newest, offers := map[string]string{}, map[string]Package{}
	for _, p := range all {
		if newest[p.Name] == "" { // apt tells the newest first
			newest[p.Name] = p.Version
		}
		offers[p.Name+"="+p.Version] = p
	}
	var faults []error
	for i := range packages {
		p := &packages[i]
		switch offer, ok := offers[p.Name+"="+p.Version]; {
		case !ok && newest[p.Name] == "":
			faults = append(faults, fmt.Errorf("package %v: Debian %s has none of that name", p, Release))
		case !ok:
			faults = append(faults, fmt.Errorf("package %v: Debian has replaced it by %s", p, newest[p.Name]))
		case offer.SHA256 != p.SHA256:
			faults = append(faults, fmt.Errorf("package %v: Debian's has sha256 %s, and %s is pinned", p, offer.SHA256, p.SHA256))
		}
	}
	if len(faults) > 0 {
		faults = append(faults, errors.New("`go run ./cmd/images -pin` pins what Debian has now (for specifications of your own with -spec FILE,…); review the difference and commit it"))
	}
	return errors.Join(faults...)
}

// Newest is what the archive has of packages now, in the order of their names.
func (a *Archive) Newest(ctx context.Context, architecture string, names []string) ([]Package, error) {
	if err := a.update(ctx, architecture, ""); err != nil {
		return nil, err
	}
	snapshot, err := a.snapshot(architecture)
	if err != nil {
		return nil, err
	}
	packages, err := a.show(ctx, architecture, names, "--no-all-versions")
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for i := range packages {
		if err := packages[i].check(); err != nil {
			return nil, fmt.Errorf("what apt says of %s: %w", packages[i].Name, err)
		}
		found[packages[i].Name] = true
		packages[i].Snapshot = snapshot
	}
	for _, name := range names {
		if !found[name] {
			return nil, fmt.Errorf("Debian %s has no package %s for %s", Release, name, architecture) //nolint:staticcheck // a name
		}
	}
	return packages, nil
}

// show asks apt for what it knows of packages.
func (a *Archive) show(ctx context.Context, architecture string, names []string, which string) ([]Package, error) {
	args := append([]string{"show", which, "--"}, names...)
	out, err := a.run(ctx, architecture, a.root(architecture), "apt-cache", args...)
	if err != nil {
		return nil, fmt.Errorf("ask apt for packages for %s: %w", architecture, err)
	}
	var packages []Package
	for stanza := range strings.SplitSeq(string(out), "\n\n") {
		var p Package
		for line := range strings.Lines(stanza) {
			key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
			switch key {
			case "Package":
				p.Name = value
			case "Version":
				p.Version = value
			case "Architecture":
				p.Architecture = value
			case "SHA256":
				p.SHA256 = value
			case "Size":
				p.Size, _ = strconv.ParseInt(value, 10, 64) // 0 is refused where it is used
			}
		}
		if p.Name != "" {
			packages = append(packages, p)
		}
	}
	return packages, nil
}

func (a *Archive) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.Out, format+"\n", args...) // a progress line nobody reads is no failure
}
