// Package recipe reads what an image is made of: a YAML file for each image, and
// beside it packages.lock, which pins the Debian packages that the recipes of the
// folder name.
//
// It reads and checks; package assemble makes the image.
package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/internal/debian"
)

// LockFile is the name of the list of pinned packages in a folder of recipes.
const LockFile = "packages.lock"

// Recipe is one image. Patterns are those of rootfs.Tree.Pick.
type Recipe struct {
	// Name is the image's, below the registry.
	Name string `json:"name"`
	// From is the file of the recipe that this one adds to, beside this file;
	// its files are a layer of their own, and its user and environment hold
	// where this one has none.
	From string `json:"from,omitempty"`
	// Title and Licenses (an SPDX expression) become labels.
	Title    string `json:"title"`
	Licenses string `json:"licenses"`
	// VersionOf names the package or wheel whose version is the image's; without
	// it the image has Debian's.
	VersionOf string `json:"version_of,omitempty"`
	// LimitMB bounds the image, and what ko builds on it, uncompressed, in 10⁶
	// bytes.
	LimitMB int64 `json:"limit_mb"`

	// Packages are Debian's, with patterns of the files wanted. What programs and
	// libraries of the image need of shared libraries is taken besides, from any
	// package that is named.
	Packages map[string][]string `json:"packages,omitempty"`
	// Wheels are internal/deps' by name, with what is wanted of each.
	Wheels map[string][]Copy `json:"wheels,omitempty"`
	// Concatenations are files put together of a package's.
	Concatenations []Concatenation `json:"concatenations,omitempty"`
	Folders        []Folder        `json:"folders,omitempty"`
	Files          []File          `json:"files,omitempty"`
	// Locale is the folder that gets the locale of package internal/locale.
	Locale    string    `json:"locale,omitempty"`
	Libraries Libraries `json:"libraries,omitempty"`

	User       int               `json:"user,omitempty"` // and group
	Env        map[string]string `json:"env,omitempty"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	WorkingDir string            `json:"working_dir,omitempty"`
	Volumes    []string          `json:"volumes,omitempty"`
	Ports      []string          `json:"ports,omitempty"` // as "5432/tcp"
	StopSignal string            `json:"stop_signal,omitempty"`

	// Dir is the folder of the recipe's file.
	Dir string `json:"-"`
	// Base is the recipe that From names.
	Base *Recipe `json:"-"`
	// Lock has what packages.lock of Dir pins.
	Lock debian.Lock `json:"-"`
}

// Copy takes files of a wheel to a folder of the image. Files is a pattern over
// where internal/deps puts the wheel's members.
type Copy struct {
	Files string `json:"files"`
	To    string `json:"to"`
}

// Concatenation is a file that has the files of a package one after the other.
type Concatenation struct {
	Path    string `json:"path"`
	Package string `json:"package"`
	Files   string `json:"files"`
}

// Folder is a folder that something is said of.
type Folder struct {
	Path  string `json:"path"`
	Mode  Mode   `json:"mode"`
	Owner int    `json:"owner,omitempty"`
}

// File is a file with the content given here, or that of a file beside the
// recipe, or a symbolic link.
type File struct {
	Path    string `json:"path"`
	Mode    Mode   `json:"mode,omitempty"` // 0644 without it
	Content string `json:"content,omitempty"`
	Source  string `json:"source,omitempty"`
	Link    string `json:"link,omitempty"`
}

// Libraries says what the closure of shared libraries cannot see.
type Libraries struct {
	// Path has folders from which programs themselves open libraries.
	Path []string `json:"path,omitempty"`
	// Host names libraries that come into the container from outside.
	Host []string `json:"host,omitempty"`
}

// Mode is permissions, written in octal in a string as chmod takes them: "1777".
type Mode fs.FileMode

// UnmarshalJSON reads the string.
func (m *Mode) UnmarshalJSON(data []byte) error {
	bits, err := strconv.ParseUint(strings.Trim(string(data), `"`), 8, 32)
	if err != nil || bits > 0o1777 {
		return fmt.Errorf(`expected permissions such as "0755" or "1777", got %s`, data)
	}
	*m = Mode(fs.FileMode(bits & 0o777))
	if bits&0o1000 != 0 {
		*m |= Mode(fs.ModeSticky)
	}
	return nil
}

// Load reads a recipe, those it adds to, and what is pinned for them.
func Load(file string) (*Recipe, error) {
	return load(file, nil)
}

func load(file string, above []string) (*Recipe, error) {
	if slices.Contains(above, filepath.Clean(file)) {
		return nil, fmt.Errorf("recipe %s adds to itself", file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read a recipe: %w", err)
	}
	r := &Recipe{Dir: filepath.Dir(file)}
	if err := yaml.UnmarshalStrict(data, r); err != nil {
		return nil, fmt.Errorf("recipe %s: %w", file, err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("recipe %s: %w", file, err)
	}
	if r.Lock, err = readLock(r.Dir); err != nil {
		return nil, err
	}
	if r.From != "" {
		from := filepath.Join(r.Dir, r.From)
		if r.Base, err = load(from, append(above, filepath.Clean(file))); err != nil {
			return nil, err
		}
		r.inherit()
	}
	return r, nil
}

func (r *Recipe) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if r.Name == "" || strings.ToLower(r.Name) != r.Name {
		fault("name: expected one in small letters, got %q", r.Name)
	}
	if r.Title == "" || r.Licenses == "" {
		fault("title and licenses: expected both")
	}
	if r.LimitMB <= 0 {
		fault("limit_mb: expected more than 0, got %d", r.LimitMB)
	}
	for i, f := range r.Files {
		n := 0
		for _, text := range []string{f.Content, f.Source, f.Link} {
			if text != "" {
				n++
			}
		}
		if n != 1 {
			fault("files[%d]: expected one of content, source and link", i)
		}
		if f.Source != "" && !filepath.IsLocal(f.Source) {
			fault("files[%d].source: expected a file beside the recipe, got %s", i, f.Source)
		}
	}
	for i, c := range r.Concatenations {
		if _, ok := r.Packages[c.Package]; !ok {
			fault("concatenations[%d].package: %s is not under packages", i, c.Package)
		}
	}
	return errors.Join(faults...)
}

// inherit takes from the base what the recipe does not say.
func (r *Recipe) inherit() {
	if r.User == 0 {
		r.User = r.Base.User
	}
	if r.WorkingDir == "" {
		r.WorkingDir = r.Base.WorkingDir
	}
	env := maps.Clone(r.Base.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, r.Env)
	r.Env = env
}

func readLock(dir string) (debian.Lock, error) {
	path := filepath.Join(dir, LockFile)
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // each package says that it is not pinned
	}
	if err != nil {
		return nil, fmt.Errorf("read pinned packages: %w", err)
	}
	defer in.Close()
	lock, err := debian.ParseLock(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return lock, nil
}

// Pinned are the recipe's own packages for an architecture, by name.
func (r *Recipe) Pinned(architecture string) ([]debian.Package, error) {
	var packages []debian.Package
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(r.Packages)) {
		p, err := r.Lock.Find(name, architecture)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w; `go run ./cmd/images -pin` pins it", filepath.Join(r.Dir, LockFile), err))
			continue
		}
		packages = append(packages, p)
	}
	return packages, errors.Join(faults...)
}
