// Package assemble makes images of recipes: it gathers files out of Debian's
// packages and out of wheels, closes them over their shared libraries, and makes
// the layers and the configuration. The same recipe, packages and wheels give the
// same bytes, whatever machine and user make them.
package assemble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/cmd/images/internal/recipe"
	"github.com/modelserveai/modelserve/cmd/images/internal/rootfs"
	"github.com/modelserveai/modelserve/internal/debian"
	"github.com/modelserveai/modelserve/internal/deps"
	"github.com/modelserveai/modelserve/internal/locale"
)

// Packages brings Debian's packages and unpacks them (debian.Archive).
type Packages interface {
	Fetch(ctx context.Context, architecture string, packages []debian.Package) ([]string, error)
	Read(ctx context.Context, deb string) ([]debian.Entry, error)
}

// Wheels brings wheels for an architecture and says below which folder their
// members lie, at the paths that internal/deps gives them.
type Wheels func(ctx context.Context, architecture string, names []string) (dir string, wheels []deps.Wheel, err error)

// Assembler makes images.
type Assembler struct {
	Packages Packages
	Wheels   Wheels
	Source   string // the URL of the repository, for the images' labels
}

// layer is the files of one recipe, and what they are from.
type layer struct {
	tree *rootfs.Tree
	from []component
}

// component is a package or a wheel that an image has files of.
type component struct{ name, version string }

// layers are those of the recipe and of all below it, the lowest first.
func (a *Assembler) layers(ctx context.Context, r *recipe.Recipe, architecture string) ([]layer, error) {
	var layers []layer
	if r.Base != nil {
		var err error
		if layers, err = a.layers(ctx, r.Base, architecture); err != nil {
			return nil, err
		}
	}
	g := gatherer{recipe: r, architecture: architecture, tree: &rootfs.Tree{}, packages: map[string]*rootfs.Tree{}}
	for _, step := range []func(context.Context, *Assembler) error{
		g.folders, g.readPackages, g.pick, g.concatenate, g.files, g.locale, g.wheels,
	} {
		if err := step(ctx, a); err != nil {
			return nil, fmt.Errorf("image %s for %s: %w", r.Name, architecture, err)
		}
	}
	var below []*rootfs.Tree
	for _, l := range layers {
		below = append(below, l.tree)
	}
	if err := g.close(below); err != nil {
		return nil, fmt.Errorf("image %s for %s:\n%w", r.Name, architecture, err)
	}
	return append(layers, layer{g.tree, g.from}), nil
}

// gatherer puts one recipe's files together.
type gatherer struct {
	recipe       *recipe.Recipe
	architecture string
	tree         *rootfs.Tree
	packages     map[string]*rootfs.Tree // each package whole, by name
	versions     []component             // of packages
	from         []component             // what is in the tree
}

// folders come first: what is said of a folder holds for those that files make.
func (g *gatherer) folders(context.Context, *Assembler) error {
	for _, f := range g.recipe.Folders {
		if err := g.tree.Add(&rootfs.File{Path: f.Path, Mode: fs.ModeDir | fs.FileMode(f.Mode), Owner: f.Owner}); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) readPackages(ctx context.Context, a *Assembler) error {
	pinned, err := g.recipe.Pinned(g.architecture)
	if err != nil || len(pinned) == 0 {
		return err
	}
	paths, err := a.Packages.Fetch(ctx, g.architecture, pinned)
	if err != nil {
		return err
	}
	for i, p := range pinned {
		entries, err := a.Packages.Read(ctx, paths[i])
		if err != nil {
			return err
		}
		tree := &rootfs.Tree{}
		for _, e := range entries {
			if err := tree.Add(&rootfs.File{Path: e.Path, Mode: e.Mode, Link: e.Link, Data: e.Data}); err != nil {
				return fmt.Errorf("package %v: %w", &p, err)
			}
		}
		g.packages[p.Name] = tree
		g.versions = append(g.versions, component{p.Name, p.Version})
	}
	return nil
}

// names are the recipe's packages, sorted.
func (g *gatherer) names() []string {
	return slices.Sorted(maps.Keys(g.packages))
}

func (g *gatherer) pick(context.Context, *Assembler) error {
	for _, name := range g.names() {
		if err := g.tree.Pick(g.packages[name], g.recipe.Packages[name]...); err != nil {
			return fmt.Errorf("package %s: %w", name, err)
		}
	}
	return nil
}

func (g *gatherer) concatenate(context.Context, *Assembler) error {
	for _, c := range g.recipe.Concatenations {
		var parts rootfs.Tree
		if err := parts.Pick(g.packages[c.Package], c.Files); err != nil {
			return fmt.Errorf("package %s: %w", c.Package, err)
		}
		var data []byte
		for _, f := range parts.Files() {
			data = append(data, f.Data...)
		}
		if err := g.tree.Add(&rootfs.File{Path: c.Path, Mode: 0o644, Data: data}); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) files(context.Context, *Assembler) error {
	for _, f := range g.recipe.Files {
		file := &rootfs.File{Path: f.Path, Mode: fs.FileMode(f.Mode), Data: []byte(f.Content)}
		if f.Mode == 0 {
			file.Mode = 0o644
		}
		switch {
		case f.Link != "":
			file.Mode, file.Link, file.Data = fs.ModeSymlink|0o777, f.Link, nil
		case f.Source != "":
			var err error
			if file.Data, err = os.ReadFile(filepath.Join(g.recipe.Dir, f.Source)); err != nil {
				return fmt.Errorf("read %s: %w", f.Source, err)
			}
		}
		if err := g.tree.Add(file); err != nil {
			return err
		}
	}
	return nil
}

// locale lays down the locale that text models ask for, the one that is in every
// program that runs models.
func (g *gatherer) locale(context.Context, *Assembler) error {
	if g.recipe.Locale == "" {
		return nil
	}
	files, err := locale.Files()
	if err != nil {
		return fmt.Errorf("read the locale: %w", err)
	}
	for _, f := range files {
		file := &rootfs.File{Path: path.Join(g.recipe.Locale, f.Path), Mode: 0o644, Data: f.Data}
		if f.Link != "" {
			file.Mode, file.Link = fs.ModeSymlink|0o777, f.Link
		}
		if err := g.tree.Add(file); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) wheels(ctx context.Context, a *Assembler) error {
	names := slices.Sorted(maps.Keys(g.recipe.Wheels))
	if len(names) == 0 {
		return nil
	}
	dir, wheels, err := a.Wheels(ctx, g.architecture, names)
	if err != nil {
		return err
	}
	for i := range wheels {
		w := &wheels[i]
		for _, c := range g.recipe.Wheels[w.Package] {
			if err := g.wheel(w, dir, c); err != nil {
				return fmt.Errorf("wheel %s: %w", w.Package, err)
			}
		}
		g.from = append(g.from, component{w.Package, w.Version})
	}
	return nil
}

func (g *gatherer) wheel(w *deps.Wheel, dir string, c recipe.Copy) error {
	found := false
	for _, m := range w.Members {
		matches, err := path.Match(c.Files, m.Path)
		if err != nil {
			return fmt.Errorf("pattern %q: %w", c.Files, err)
		}
		if !matches {
			continue
		}
		found = true
		f := &rootfs.File{Path: path.Join(c.To, path.Base(m.Path)), Mode: 0o644, Disk: filepath.Join(dir, filepath.FromSlash(m.Path))}
		if err := g.tree.Add(f); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("pattern %q names no member", c.Files)
	}
	return nil
}

// close adds shared libraries, and of each package that is in the image its
// copyright, as Debian's policy (12.5) and the licences ask.
func (g *gatherer) close(below []*rootfs.Tree) error {
	linker, err := rootfs.LinkerFor(g.architecture)
	if err != nil {
		return err
	}
	linker.Path, linker.Host = g.recipe.Libraries.Path, g.recipe.Libraries.Host
	var all []*rootfs.Tree
	for _, name := range g.names() {
		all = append(all, g.packages[name])
	}
	candidates, err := rootfs.Join(all...)
	if err != nil {
		return fmt.Errorf("packages do not go together: %w", err)
	}
	if err := linker.Close(g.tree, candidates, below...); err != nil {
		return err
	}
	if err := g.copyrights(); err != nil {
		return err
	}
	whole, err := rootfs.Join(append(slices.Clone(below), g.tree)...)
	if err != nil {
		return err
	}
	return whole.CheckLinks()
}

func (g *gatherer) copyrights() error {
	var faults []error
	for _, c := range g.versions {
		tree, name := g.packages[c.name], "usr/share/doc/"+c.name
		used := len(g.recipe.Packages[c.name]) > 0 || slices.ContainsFunc(g.recipe.Concatenations, func(of recipe.Concatenation) bool { return of.Package == c.name })
		if !used && !g.tree.HasAny(tree) {
			faults = append(faults, fmt.Errorf("package %s: nothing of it is in the image", c.name))
			continue
		}
		g.from = append(g.from, c)
		if err := g.copyright(tree, name); err != nil {
			faults = append(faults, fmt.Errorf("package %s: %w", c.name, err))
		}
	}
	slices.SortFunc(g.from, func(a, b component) int { return strings.Compare(a.name, b.name) })
	return errors.Join(faults...)
}

// copyright takes a package's copyright; some have a link to another package's
// folder in its place.
func (g *gatherer) copyright(tree *rootfs.Tree, doc string) error {
	if err := g.tree.Pick(tree, doc+"/copyright"); err == nil {
		return nil
	}
	return g.tree.Pick(tree, doc)
}
