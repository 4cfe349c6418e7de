package debian

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"strings"
)

// Entry is a file or a symbolic link of a package. Folders are not told.
type Entry struct {
	Path string      // from the root, without a slash before it
	Mode fs.FileMode // its type and permissions
	Link string      // where a symbolic link leads, as it is written there
	Data []byte      // a file's content
}

// maxPackage bounds what a package unpacks to, in bytes.
const maxPackage = 1 << 30

// Read unpacks a package into memory, by dpkg-deb.
func (a *Archive) Read(ctx context.Context, deb string) ([]Entry, error) {
	cmd := a.command(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", path.Base(deb), err)
	}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = fmt.Errorf("%w: %w", ErrNoDebian, err)
		}
		return nil, fmt.Errorf("unpack %s: %w", path.Base(deb), err)
	}
	entries, readErr := readTar(io.LimitReader(out, maxPackage))
	_, drainErr := io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("unpack %s: %w: %s", path.Base(deb), err, strings.TrimSpace(complaint.String()))
	}
	if err := errors.Join(readErr, drainErr); err != nil {
		return nil, fmt.Errorf("unpack %s: %w", path.Base(deb), err)
	}
	return entries, nil
}

func readTar(r io.Reader) ([]Entry, error) {
	var entries []Entry
	at := map[string]int{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the package's files: %w", err)
		}
		e := Entry{Path: clean(h.Name), Mode: h.FileInfo().Mode()}
		switch h.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeReg:
			if e.Data, err = io.ReadAll(in); err != nil {
				return nil, fmt.Errorf("read %s: %w", e.Path, err)
			}
		case tar.TypeSymlink:
			e.Link = h.Linkname
		case tar.TypeLink: // the same file under another name
			i, ok := at[clean(h.Linkname)]
			if !ok {
				return nil, fmt.Errorf("%s is a link to %s, which has not come before", e.Path, h.Linkname)
			}
			e.Mode, e.Link, e.Data = entries[i].Mode, entries[i].Link, entries[i].Data
		default:
			return nil, fmt.Errorf("%s is neither a file, a folder nor a link", e.Path)
		}
		at[e.Path] = len(entries)
		entries = append(entries, e)
	}
}

// clean is a path from the root, which it cannot leave.
func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}
