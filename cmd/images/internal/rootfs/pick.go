package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Pick copies from another tree what patterns name, and what links that they
// name lead to. A pattern is path.Match's over a path, or a folder with /** after
// it for all below it; one that begins with ! takes out again what earlier ones
// name. A pattern that names nothing is an error.
func (t *Tree) Pick(from *Tree, patterns ...string) error {
	var names []string
	for _, pattern := range patterns {
		out, negative := strings.CutPrefix(pattern, "!")
		found, err := from.match(out)
		switch {
		case err != nil:
			return fmt.Errorf("pattern %q: %w", pattern, err)
		case len(found) == 0:
			return fmt.Errorf("pattern %q names no file", pattern)
		case negative:
			names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(found, name) })
		default:
			names = append(names, found...)
		}
	}
	for _, name := range names {
		if err := t.take(from, name); err != nil {
			return err
		}
	}
	return nil
}

// match is the paths, folders aside, that a pattern names.
func (t *Tree) match(pattern string) ([]string, error) {
	pattern = Clean(pattern)
	dir, all := strings.CutSuffix(pattern, "/**")
	var found []string
	for _, f := range t.Files() {
		if f.Mode.IsDir() {
			continue
		}
		matches := all && strings.HasPrefix(f.Path, dir+"/")
		if !all {
			var err error
			if matches, err = path.Match(pattern, f.Path); err != nil {
				return nil, fmt.Errorf("match: %w", err)
			}
		}
		if matches {
			found = append(found, f.Path)
		}
	}
	return found, nil
}

// take copies one file, and what it leads to if it is a link and from has that.
func (t *Tree) take(from *Tree, name string) error {
	for range maxLinks {
		f := from.files[Clean(name)]
		if f == nil {
			return nil // CheckLinks tells of it, if nothing else brings it
		}
		copied := *f
		if err := t.Add(&copied); err != nil {
			return err
		}
		if f.Mode.Type() != fs.ModeSymlink {
			return nil
		}
		name = f.target()
	}
	return errors.New(name + " is a link that leads to itself")
}

// HasAny says whether the tree has a file of another, folders and links into usr
// aside.
func (t *Tree) HasAny(of *Tree) bool {
	return slices.ContainsFunc(of.Files(), func(f *File) bool {
		own := t.files[f.Path]
		return own != nil && own.same(f) && !f.Mode.IsDir() && strings.Contains(f.Path, "/")
	})
}
