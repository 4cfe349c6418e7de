// Package debian brings files out of Debian's packages: pinned by version and
// sha256, downloaded by apt from Debian's signed archive, for this machine's
// architecture or another.
//
// apt runs with a root folder of its own, so nothing of the machine's own apt is
// read but its proxies, and nothing of it is changed. No package is installed and
// none of its scripts runs. The package knows nothing of images.
package debian

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Release is the release of Debian that packages come from: bookworm.
const (
	Release  = "12"
	codename = "bookworm"
)

// All is the architecture of packages that are the same on every one.
const All = "all"

// Package is one pinned package.
type Package struct {
	Name         string
	Version      string // with its epoch, as in "1:7.0.15-1"
	Architecture string // "amd64", "arm64" or All
	SHA256       string // of the .deb, in hexadecimal
	Size         int64  // of the .deb, in bytes
	Snapshot     string // a time at which the archive had it, as 20061231T235959Z; "" where nobody wrote it down
}

func (p *Package) String() string {
	return p.Name + " " + p.Version + " (" + p.Architecture + ")"
}

// file is the name that apt gives the package.
func (p *Package) file() string {
	return p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_" + p.Architecture + ".deb"
}

// Lock is a list of pinned packages. As text it has one a line, sorted: name,
// version, architecture, sha256 and size in bytes, with a blank between them. A
// line of "snapshot" and a time says when the archive had those that follow, and
// one that begins with # is a comment.
type Lock []Package

// snapshotForm is that of a snapshot's name.
const snapshotForm = "20060102T150405Z"

// ParseLock reads a Lock. The error names the line.
func ParseLock(r io.Reader) (Lock, error) {
	var lock Lock
	var snapshot string
	scanner := bufio.NewScanner(r)
	for line := 1; scanner.Scan(); line++ {
		text := strings.TrimSpace(scanner.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		if at, ok := strings.CutPrefix(text, "snapshot "); ok {
			if _, err := time.Parse(snapshotForm, at); err != nil {
				return nil, fmt.Errorf("line %d: expected the time of a snapshot, as %s, got %q", line, snapshotForm, at)
			}
			snapshot = at
			continue
		}
		p, err := parsePackage(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		p.Snapshot = snapshot
		lock = append(lock, p)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read pinned packages: %w", err)
	}
	return lock, nil
}

func parsePackage(text string) (Package, error) {
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return Package{}, fmt.Errorf("expected name, version, architecture, sha256 and size, got %q", text)
	}
	size, err := strconv.ParseInt(fields[4], 10, 64)
	if err != nil || size <= 0 {
		return Package{}, fmt.Errorf("expected a size in bytes, got %q", fields[4])
	}
	p := Package{Name: fields[0], Version: fields[1], Architecture: fields[2], SHA256: fields[3], Size: size}
	return p, p.check()
}

// check holds the parts of a package to Debian's policy (5.6.1 and 5.6.12), so
// that none can be an option of a command or lead out of a folder.
func (p *Package) check() error {
	for _, part := range []struct{ what, text, form string }{
		{"name", p.Name, `^[a-z0-9][a-z0-9+.-]+$`},
		{"version", p.Version, `^[0-9][A-Za-z0-9.+~:-]*$`},
		{"architecture", p.Architecture, `^[a-z0-9][a-z0-9-]*$`},
		{"sha256", p.SHA256, `^[0-9a-f]{64}$`},
	} {
		if !regexp.MustCompile(part.form).MatchString(part.text) {
			return fmt.Errorf("%q is no %s of a package", part.text, part.what)
		}
	}
	return nil
}

// Write writes the lock as ParseLock reads it, with the latest of its packages'
// times for all of them.
func (l Lock) Write(w io.Writer) error {
	sorted := slices.SortedFunc(slices.Values(l), func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture))
	})
	var snapshot string
	for _, p := range sorted {
		snapshot = max(snapshot, p.Snapshot)
	}
	for i := range sorted {
		sorted[i].Snapshot = snapshot
	}
	if snapshot != "" {
		if _, err := fmt.Fprintln(w, "snapshot", snapshot); err != nil {
			return fmt.Errorf("write pinned packages: %w", err)
		}
	}
	for _, p := range slices.Compact(sorted) {
		if _, err := fmt.Fprintln(w, p.Name, p.Version, p.Architecture, p.SHA256, p.Size); err != nil {
			return fmt.Errorf("write pinned packages: %w", err)
		}
	}
	return nil
}

// Find is the package of that name for an architecture.
func (l Lock) Find(name, architecture string) (Package, error) {
	for _, p := range l {
		if p.Name == name && (p.Architecture == architecture || p.Architecture == All) {
			return p, nil
		}
	}
	return Package{}, fmt.Errorf("package %s is not pinned for %s", name, architecture)
}
