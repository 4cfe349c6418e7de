// Package rootfs is the file tree of an image: what is in it, which shared
// libraries that needs, and the tar archive of it, which is the same bytes for
// the same files.
//
// Its paths are from the root without a slash before them, and as Debian has
// them: bin, sbin and the lib folders are links into usr. It knows nothing of
// packages, registries or configurations of images.
package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// File is a regular file, a folder or a symbolic link.
type File struct {
	Path  string
	Mode  fs.FileMode // its type and permissions
	Owner int         // user and group
	Link  string      // where a symbolic link leads
	Data  []byte      // a regular file's content, unless Disk has it
	Disk  string      // the file of this machine that has the content
}

// Size is a regular file's length in bytes.
func (f *File) Size() (int64, error) {
	if f.Disk == "" {
		return int64(len(f.Data)), nil
	}
	info, err := os.Stat(f.Disk)
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", f.Path, err)
	}
	return info.Size(), nil
}

// content is what reads a regular file, here or there.
type content interface {
	io.Reader
	io.ReaderAt
	io.Closer
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

func (f *File) open() (content, error) {
	if f.Disk == "" {
		return inMemory{bytes.NewReader(f.Data)}, nil
	}
	in, err := os.Open(f.Disk)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	return in, nil
}

// same says whether two files of one path are one.
func (f *File) same(g *File) bool {
	return f.Mode == g.Mode && f.Owner == g.Owner && f.Link == g.Link && f.Disk == g.Disk && bytes.Equal(f.Data, g.Data)
}

// Tree is files by their path. The zero value is empty.
type Tree struct {
	files map[string]*File
}

// merged are the folders that Debian keeps in usr.
func merged() []string {
	return []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}
}

// Clean is a path as trees have it: from the root, and below usr what Debian
// keeps there. It cannot lead out of the root.
func Clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if top, _, below := strings.Cut(name, "/"); below && slices.Contains(merged(), top) {
		return "usr/" + name
	}
	return name
}

// Add adds a file with the folders above it. A path that has another file
// already is an error, unless both are folders: then the first stays.
func (t *Tree) Add(f *File) error {
	if t.files == nil {
		t.files = map[string]*File{}
	}
	f.Path = Clean(f.Path)
	if f.Path == "" {
		return errors.New("a file has no path")
	}
	if old := t.files[f.Path]; old != nil {
		if old.same(f) || old.Mode.IsDir() && f.Mode.IsDir() {
			return nil
		}
		return fmt.Errorf("%s is there already, and is another file", f.Path)
	}
	if err := t.addAbove(f.Path); err != nil {
		return err
	}
	t.files[f.Path] = f
	return nil
}

// addAbove adds the folders above a path, and the links into usr.
func (t *Tree) addAbove(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	if top := strings.TrimPrefix(dir, "usr/"); slices.Contains(merged(), top) && t.files[top] == nil {
		t.files[top] = &File{Path: top, Mode: fs.ModeSymlink | 0o777, Link: "usr/" + top}
	}
	if above := t.files[dir]; above != nil {
		if !above.Mode.IsDir() {
			return fmt.Errorf("%s lies below %s, which is no folder", name, dir)
		}
		return nil
	}
	return t.Add(&File{Path: dir, Mode: fs.ModeDir | 0o755})
}

// Files are all of them, by path.
func (t *Tree) Files() []*File {
	files := make([]*File, 0, len(t.files))
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		files = append(files, t.files[name])
	}
	return files
}

// Join is a tree with the files of several.
func Join(trees ...*Tree) (*Tree, error) {
	var all Tree
	for _, t := range trees {
		for _, f := range t.Files() {
			if err := all.Add(f); err != nil {
				return nil, err
			}
		}
	}
	return &all, nil
}

// maxLinks is how many symbolic links a path may lead through, as in Linux.
const maxLinks = 40

// Lookup is the file at a path, through the links on the way, or nil.
func (t *Tree) Lookup(name string) *File {
	for range maxLinks {
		name = Clean(name)
		f := t.files[name]
		if f == nil {
			dir := t.linkAbove(name)
			if dir == nil {
				return nil
			}
			name = path.Join(dir.target(), strings.TrimPrefix(name, dir.Path))
			continue
		}
		if f.Mode.Type() != fs.ModeSymlink {
			return f
		}
		name = f.target()
	}
	return nil
}

// linkAbove is the highest link that lies on the way to a path, or nil.
func (t *Tree) linkAbove(name string) *File {
	for i, r := range name {
		if r == '/' {
			if f := t.files[name[:i]]; f != nil && f.Mode.Type() == fs.ModeSymlink {
				return f
			}
		}
	}
	return nil
}

// target is where a link leads, from the root.
func (f *File) target() string {
	if path.IsAbs(f.Link) {
		return f.Link
	}
	return path.Join("/", path.Dir(f.Path), f.Link)
}

// CheckLinks is an error for each link that leads nowhere.
func (t *Tree) CheckLinks() error {
	var faults []error
	for _, f := range t.Files() {
		if f.Mode.Type() == fs.ModeSymlink && !strings.HasPrefix(f.target(), "/proc/") && t.Lookup(f.Path) == nil {
			faults = append(faults, fmt.Errorf("%s is a link to %s, which the image has not", f.Path, f.Link))
		}
	}
	return errors.Join(faults...)
}
