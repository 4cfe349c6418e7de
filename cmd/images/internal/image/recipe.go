// Package image makes images of recipes: a layer of whole Debian packages, wheels'
// members and files, on the layers of another recipe or on an image of distroless.
// The same recipe, packages, wheels and base give the same bytes, whatever machine
// and user make them. It also checks that an image has the shared libraries that
// its programs need.
package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"sigs.k8s.io/yaml"
)

// LockFile is the name of the list of pinned packages in a folder of recipes: as
// sha256sum prints it, and with lines that begin with # for comments.
const LockFile = "packages.sha256"

// Recipe is one image.
type Recipe struct {
	// Name is the image's, below the registry.
	Name string `json:"name"`
	// From is the recipe, a file beside this one, whose layers lie below.
	From string `json:"from,omitempty"`
	// Distroless names the image of that project, with its tag, that has what this
	// recipe and those below it have.
	Distroless string `json:"distroless,omitempty"`
	// Packages are Debian's, each whole but for the paths that a pattern of Omit
	// (path.Match) names, or a folder above them.
	Packages []string `json:"packages,omitempty"`
	Omit     []string `json:"omit,omitempty"`
	// Wheels are internal/deps' by name, with what is wanted of each: folders of
	// the image by patterns over where internal/deps puts the wheel's members.
	Wheels map[string]map[string]string `json:"wheels,omitempty"`
	// Locale has the locale of package internal/locale installed.
	Locale bool   `json:"locale,omitempty"`
	Files  []File `json:"files,omitempty"`
	// Config is what the recipe adds to the configuration of what is below.
	Config v1.Config `json:"config,omitempty"`

	dir  string // of the recipe's file
	base *Recipe
	lock []string // lines of LockFile
}

// File is a file with the content given here, or that of a file beside the
// recipe, or a folder, whose path ends in a slash.
type File struct {
	Path    string `json:"path"`
	Mode    int64  `json:"mode,omitempty"` // 0644 without it
	Owner   int    `json:"owner,omitempty"`
	Content string `json:"content,omitempty"`
	Source  string `json:"source,omitempty"`
}

// Load reads a recipe, those below it, and what is pinned for them.
func Load(file string) (*Recipe, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read a recipe: %w", err)
	}
	r := &Recipe{dir: filepath.Dir(file)}
	if err := yaml.UnmarshalStrict(data, r); err != nil {
		return nil, fmt.Errorf("recipe %s: %w", file, err)
	}
	lock, err := os.ReadFile(filepath.Join(r.dir, LockFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // without one no package is pinned
		return nil, fmt.Errorf("read pinned packages: %w", err)
	}
	r.lock = strings.Split(string(lock), "\n")
	switch {
	case r.Name == "":
		return nil, fmt.Errorf("recipe %s: expected a name", file)
	case r.From == filepath.Base(file):
		return nil, fmt.Errorf("recipe %s is made from itself", file)
	case r.From != "":
		r.base, err = Load(filepath.Join(r.dir, r.From))
		return r, err
	}
	return r, nil
}

// Pinned are the lines of LockFile of the recipe's own packages for an
// architecture, in its order.
func (r *Recipe) Pinned(architecture string) ([]string, error) {
	var lines []string
	var faults []error
	for _, name := range r.Packages {
		form := regexp.MustCompile(`^[0-9a-f]{64}  ` + regexp.QuoteMeta(name) + `_[0-9A-Za-z.+~%-]+_(all|` + architecture + `)\.deb$`)
		i := slices.IndexFunc(r.lock, form.MatchString)
		if i < 0 {
			faults = append(faults, fmt.Errorf("package %s is not pinned for %s; `go run ./cmd/images -pin` pins it", name, architecture))
			continue
		}
		lines = append(lines, r.lock[i])
	}
	return lines, errors.Join(faults...)
}
