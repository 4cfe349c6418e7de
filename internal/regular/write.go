package regular

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Create writes a file where there is none, else its error is fs.ErrExist. It
// appears whole, and the disk has it.
func Create(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, os.Link)
}

// Replace writes a file in place of what is there. It appears whole, and the disk
// has it.
func Replace(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, os.Rename)
}

// write puts data into a file beside path, which appear gives its name.
func write(path string, data []byte, mode fs.FileMode, appear func(from, to string) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	defer func() {
		if gone := os.Remove(f.Name()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return appear(f.Name(), path)
}
