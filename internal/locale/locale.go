// Package locale has the locale that text models ask for: scikit-learn's make
// StringNormalizer nodes, which ONNX Runtime runs in en_US.UTF-8 unless a model
// names another, and does not load where the C library lacks it.
//
// The same compiled files, made by make.sh, are in every image and in every
// program that runs models, so that what a publisher tries is what servers have,
// whatever is installed on either's machine. They are for glibc, of any
// processor that is little-endian: 2.31 (Debian 11), 2.36 (12) and 2.41 (13)
// take them. Of en_US.UTF-8 everything is there but how it sorts, 2.6 MB that no
// operator asks for: strings sort by code point. The Free Software Foundation
// claims no copyright in the data that they are made of.
//
// It only writes files; package ort has the C library take them.
package locale

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Name is the locale that models have unless they name another, or none.
const Name = "en_US.UTF-8"

// Dir is where images have the files: what LOCPATH, in which glibc looks for
// locales, is there.
const Dir = "/usr/local/share/modelserve/locale"

// folder is where glibc looks for Name, and alias for C.UTF-8, which differs in
// nothing that an operator asks for: all case and classes of characters are the
// same in both (make.sh holds that).
const (
	folder = "en_US.utf8"
	alias  = "C.utf8"
)

// Names are the locales that a model may name, besides C and POSIX, which every
// C library has in itself.
func Names() []string { return []string{Name, "C.UTF-8"} }

//go:embed data
var data embed.FS

// File is a file, or a link to a folder, at a path below what LOCPATH names.
type File struct {
	Path string // with slashes
	Data []byte
	Link string // of a link: where it leads
}

// Files are all of them, by their paths.
func Files() ([]File, error) {
	files := []File{{Path: alias, Link: folder}}
	err := fs.WalkDir(data, "data", func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := data.ReadFile(at)
		files = append(files, File{Path: at[len("data/"):], Data: text})
		return err
	})
	slices.SortFunc(files, func(a, b File) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	return files, err
}

// Write writes the files below dir, which must be there and empty.
func Write(dir string) error {
	files, err := Files()
	for _, f := range files {
		if err != nil {
			break
		}
		at := filepath.Join(dir, filepath.FromSlash(f.Path))
		if f.Link != "" {
			err = os.Symlink(f.Link, at)
			continue
		}
		err = errors.Join(os.MkdirAll(filepath.Join(dir, filepath.FromSlash(path.Dir(f.Path))), 0o755), os.WriteFile(at, f.Data, 0o644))
	}
	if err != nil {
		return fmt.Errorf("write the locale %s: %w", Name, err)
	}
	return nil
}
