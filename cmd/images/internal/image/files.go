package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/internal/deps"
	"github.com/modelserveai/modelserve/internal/locale"
)

// file is a regular file, a folder or a symbolic link of an image.
type file struct {
	kind  byte // of tar
	mode  int64
	owner int    // user and group
	link  string // where a symbolic link leads
	data  []byte // a regular file's content, unless disk names the file that has it
	disk  string
}

// tree is files by their path, which is from the root, without a slash before it.
type tree map[string]file

// add adds a file and the folders above it; those that Debian may have as links
// into usr are left to what is below, or to whoever unpacks the layer.
func (t tree) add(name string, f file) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/") // cannot lead out of the root
	if name == "" {
		return
	}
	t[name] = f
	dir := path.Dir(name)
	if _, known := t[dir]; !known && !slices.Contains([]string{".", "bin", "sbin", "lib", "lib64"}, dir) {
		t.add(dir, file{kind: tar.TypeDir, mode: 0o755})
	}
}

// files are those that a recipe adds to what is below it.
func (m *Maker) files(ctx context.Context, r *Recipe, architecture string) (tree, error) {
	t := tree{}
	for _, step := range []func(context.Context, tree, *Recipe, string) error{m.packages, m.wheels, m.own} {
		if err := step(ctx, t, r, architecture); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// packages unpacks Debian's, and writes what dpkg knows of each where scanners
// look for it in images without dpkg.
func (m *Maker) packages(ctx context.Context, t tree, r *Recipe, architecture string) error {
	pinned, err := r.Pinned(architecture)
	if err != nil || len(pinned) == 0 {
		return err
	}
	if err := m.Packages.Fetch(ctx, architecture, pinned); err != nil {
		return err
	}
	for i, name := range r.Packages {
		_, deb, _ := strings.Cut(pinned[i], "  ")
		files, control, err := m.Packages.Read(ctx, deb)
		if err == nil {
			err = t.unpack(files)
		}
		if err != nil {
			return fmt.Errorf("package %s: %w", name, err)
		}
		t.add("var/lib/dpkg/status.d/"+name, file{kind: tar.TypeReg, mode: 0o644, data: control})
	}
	maps.DeleteFunc(t, func(name string, _ file) bool { return r.omits(name) })
	t.certificates()
	return nil
}

// unpack adds the files of a tar archive. Folders come with what is in them.
func (t tree) unpack(archive []byte) error {
	for in := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read its files: %w", err)
		}
		f := file{kind: h.Typeflag, mode: h.Mode & 0o777, link: h.Linkname}
		switch h.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeSymlink:
		case tar.TypeReg:
			if f.data, err = io.ReadAll(in); err != nil {
				return fmt.Errorf("read %s: %w", h.Name, err)
			}
		case tar.TypeLink: // the same file under another name, which came before
			f = t[path.Clean(h.Linkname)]
		default:
			return fmt.Errorf("%s is neither a file, a folder nor a link", h.Name)
		}
		t.add(h.Name, f)
	}
}

// omits reports whether a recipe leaves out a path, or a folder above it.
func (r *Recipe) omits(name string) bool {
	for ; name != "."; name = path.Dir(name) {
		if slices.ContainsFunc(r.Omit, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }) {
			return true
		}
	}
	return false
}

// certificates puts the certificates of ca-certificates into one file, as
// update-ca-certificates does.
func (t tree) certificates() {
	var all []byte
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if strings.HasPrefix(name, "usr/share/ca-certificates/") {
			all = append(all, t[name].data...)
		}
	}
	if len(all) > 0 {
		t.add("etc/ssl/certs/ca-certificates.crt", file{kind: tar.TypeReg, mode: 0o644, data: all})
	}
}

// wheels adds members of wheels, which stay where they were fetched.
func (m *Maker) wheels(ctx context.Context, t tree, r *Recipe, architecture string) error {
	names := slices.Sorted(maps.Keys(r.Wheels))
	if len(names) == 0 {
		return nil
	}
	dir, wheels, err := m.Wheels(ctx, architecture, names)
	if err != nil {
		return err
	}
	for i := range wheels {
		for pattern, to := range r.Wheels[wheels[i].Package] {
			members := slices.DeleteFunc(slices.Clone(wheels[i].Members), func(member deps.Member) bool { ok, _ := path.Match(pattern, member.Path); return !ok })
			if len(members) == 0 {
				return fmt.Errorf("wheel %s: pattern %q names no member", wheels[i].Package, pattern)
			}
			for _, member := range members {
				t.add(path.Join(to, path.Base(member.Path)), file{kind: tar.TypeReg, mode: 0o644, disk: filepath.Join(dir, filepath.FromSlash(member.Path))})
			}
		}
	}
	return nil
}

// own adds what the recipe has itself, and the locale.
func (m *Maker) own(_ context.Context, t tree, r *Recipe, _ string) error {
	for _, f := range r.Files {
		made := file{kind: tar.TypeReg, mode: cmp.Or(f.Mode, 0o644), owner: f.Owner, data: []byte(f.Content)}
		if strings.HasSuffix(f.Path, "/") {
			made.kind = tar.TypeDir
		}
		if f.Source != "" {
			var err error
			if made.data, err = os.ReadFile(filepath.Join(r.dir, f.Source)); err != nil {
				return fmt.Errorf("read %s: %w", f.Path, err)
			}
		}
		t.add(f.Path, made)
	}
	if !r.Locale {
		return nil
	}
	files, err := locale.Files()
	if err != nil {
		return fmt.Errorf("read the locale: %w", err)
	}
	for _, f := range files {
		made := file{kind: tar.TypeReg, mode: 0o644, data: f.Data, link: f.Link}
		if f.Link != "" {
			made.kind = tar.TypeSymlink
		}
		t.add(path.Join(locale.Dir, f.Path), made)
	}
	return nil
}

// write writes the tree as a tar archive: sorted by path, with no time, and no
// names of users, so that one tree is always the same bytes.
func (t tree) write(w io.Writer) error {
	out := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if err := t[name].write(out, name); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return out.Close()
}

func (f file) write(out *tar.Writer, name string) error {
	h := &tar.Header{Typeflag: f.kind, Name: name, Mode: f.mode, Uid: f.owner, Gid: f.owner, Linkname: f.link, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	var content io.Reader = bytes.NewReader(f.data)
	switch {
	case f.kind == tar.TypeDir:
		h.Name += "/"
	case f.disk != "":
		in, err := os.Open(f.disk)
		if err != nil {
			return err
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			return err
		}
		content, h.Size = in, info.Size()
	case f.kind == tar.TypeReg:
		h.Size = int64(len(f.data))
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(out, content)
	return err
}
