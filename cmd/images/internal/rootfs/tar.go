package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// WriteTar writes the tree as a tar archive: sorted by path, with no time, and
// no names of users, so that one tree is always the same bytes. Folders and
// links that a tree below has the same are left out.
func (t *Tree) WriteTar(w io.Writer, below ...*Tree) error {
	out := tar.NewWriter(w)
	for _, f := range t.Files() {
		if f.within(below) {
			continue
		}
		if err := f.write(out); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	return nil
}

func (f *File) within(trees []*Tree) bool {
	for _, t := range trees {
		if old := t.files[f.Path]; old != nil && (old.same(f) || old.Mode.IsDir() && f.Mode.IsDir()) {
			return true
		}
	}
	return false
}

func (f *File) write(out *tar.Writer) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	h, err := tar.FileInfoHeader(info{f, size}, f.Link)
	if err != nil {
		return fmt.Errorf("describe it: %w", err)
	}
	h.Name, h.Uid, h.Gid, h.Format = f.Path, f.Owner, f.Owner, tar.FormatPAX
	if f.Mode.IsDir() {
		h.Name += "/"
	}
	if err := out.WriteHeader(h); err != nil {
		return fmt.Errorf("its header: %w", err)
	}
	if !f.Mode.IsRegular() {
		return nil
	}
	in, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("its content: %w", err)
	}
	return nil
}

// info is a file as the tar package asks for it.
type info struct {
	*File
	size int64
}

func (i info) Name() string       { return i.Path }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.File.Mode }
func (i info) ModTime() time.Time { return time.Unix(0, 0) }
func (i info) IsDir() bool        { return i.File.Mode.IsDir() }
func (i info) Sys() any           { return nil }

// ReadTar is the tree of a tar archive. Devices are left out.
func ReadTar(r io.Reader) (*Tree, error) {
	var t Tree
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return &t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read an archive: %w", err)
		}
		f := &File{Path: h.Name, Mode: h.FileInfo().Mode(), Owner: h.Uid, Link: h.Linkname}
		switch h.Typeflag {
		case tar.TypeReg:
			if f.Data, err = io.ReadAll(in); err != nil {
				return nil, fmt.Errorf("read %s: %w", h.Name, err)
			}
		case tar.TypeDir, tar.TypeSymlink:
		default:
			continue
		}
		if Clean(f.Path) == "" {
			continue
		}
		if err := t.Add(f); err != nil {
			return nil, err
		}
	}
}
