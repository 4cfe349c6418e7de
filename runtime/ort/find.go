package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/internal/deps"
)

// LibraryVariable names the environment variable with the path of the ONNX Runtime
// library.
const LibraryVariable = "MODELSERVE_ORT_LIBRARY"

// FindLibrary finds ONNX Runtime's shared library: at the path in
// MODELSERVE_ORT_LIBRARY, in the system's library folders, or in
// .deps/onnxruntime of the working directory, of the executable's, or of any
// folder above them (what `make deps` fetched), or in the user's cache, where the
// modules of others have it (deps.UserDir). Of several versions in one place it
// takes the newest.
func FindLibrary() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	var cache string
	if dir, err := deps.UserDir(); err == nil {
		cache = filepath.Join(dir, "onnxruntime")
	}
	//nolint:forbidigo // every binary and every test finds the library in this one place
	return findLibrary(os.Getenv(LibraryVariable), systemFolders(), starts, cache)
}

func findLibrary(configured string, system, starts []string, cache string) (string, error) {
	if configured != "" {
		if _, err := os.Stat(configured); err != nil { //nolint:gosec // the operator names it
			return "", fmt.Errorf("%s: %w", LibraryVariable, err)
		}
		return configured, nil
	}
	for _, dir := range system {
		if path := newestLibrary(dir); path != "" {
			return path, nil
		}
	}
	for _, dir := range starts {
		for {
			if path := newestLibrary(filepath.Join(dir, ".deps", "onnxruntime")); path != "" {
				return path, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	if path := newestLibrary(cache); cache != "" && path != "" {
		return path, nil
	}
	return "", errors.New("the ONNX Runtime library was not found: run `make deps`, or name it in " + LibraryVariable)
}

func systemFolders() []string {
	dirs := []string{"/usr/local/lib", "/usr/lib"}
	if runtime.GOOS == "linux" {
		switch runtime.GOARCH {
		case "amd64":
			dirs = append(dirs, "/usr/lib/x86_64-linux-gnu", "/usr/lib64")
		case "arm64":
			dirs = append(dirs, "/usr/lib/aarch64-linux-gnu", "/usr/lib64")
		}
	}
	return dirs
}

// newestLibrary is the library with the highest version in dir, or "".
func newestLibrary(dir string) string {
	pattern := "libonnxruntime.so*"
	if runtime.GOOS == "darwin" {
		pattern = "libonnxruntime*.dylib"
	}
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) == 0 {
		return ""
	}
	return slices.MaxFunc(found, func(a, b string) int {
		return slices.Compare(versionOf(a), versionOf(b))
	})
}

// versionOf reads the numbers of a library's file name; a longer one names a
// version more exactly and compares higher.
func versionOf(path string) []int {
	var v []int
	for _, part := range strings.FieldsFunc(filepath.Base(path), func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		v = append(v, n)
	}
	return v
}
