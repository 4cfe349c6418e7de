package deps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// module is this project's, in whose checkout `make deps` fills .deps.
const module = "github.com/modelserveai/modelserve"

// UserDir is the folder of what is fetched for a user's own modules: below their
// cache folder, and of one version of ONNX Runtime. It need not exist.
func UserDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache folder for ONNX Runtime: %w; set XDG_CACHE_HOME to a folder, "+
			"or MODELSERVE_ORT_LIBRARY to the path of a libonnxruntime that is here", err)
	}
	return filepath.Join(cache, "modelserve", "onnxruntime-"+ONNXRuntime), nil
}

// Library returns the path of the pinned ONNX Runtime library for work in dir,
// the folder of a module that needs this one: in .deps of the checkout that its
// go.mod replaces this module by, or else in UserDir, where it is fetched when it
// is not there (24 MB, once). Progress is written to out, a line at a time.
func Library(ctx context.Context, dir string, out io.Writer) (string, error) {
	wheel, ok := runtimes()[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		_, err := Wheels(runtime.GOOS + "/" + runtime.GOARCH)
		return "", err
	}
	name := filepath.FromSlash(wheel.Members[0].Path)
	if checkout, err := ModuleDir(ctx, dir); err == nil && checkout != "" {
		path := filepath.Join(checkout, ".deps", name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	fetched, err := UserDir()
	if err != nil {
		return "", err
	}
	if err := (&Fetcher{Dir: fetched, Out: out}).Fetch(ctx, []Wheel{wheel}); err != nil {
		return "", err
	}
	return filepath.Join(fetched, name), nil
}

// ModuleDir is the folder where the go command has this module for the module of dir; ""
// where there is no go command, or the module does not need this one. An error is of a
// go.mod that cannot be read, as the go command has it.
func ModuleDir(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err == nil {
		return strings.TrimSpace(string(out)), nil
	}
	var said *exec.ExitError
	if errors.As(err, &said) && bytes.Contains(said.Stderr, []byte("errors parsing ")) {
		return "", errors.New(string(bytes.TrimSpace(said.Stderr)))
	}
	return "", nil
}
