package ort

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestFindLibrary(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // the names below are Linux's
	}
	root := t.TempDir()
	system, deps, fetched, below := filepath.Join(root, "usr"), filepath.Join(root, "repo", ".deps", "onnxruntime"), filepath.Join(root, "cache"), filepath.Join(root, "repo", "a", "b")
	for _, dir := range []string{system, deps, fetched, below} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	put := func(path string) string {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	put(filepath.Join(deps, "libonnxruntime.so.1.9.0"))
	newest := put(filepath.Join(deps, "libonnxruntime.so.1.31.1"))
	put(filepath.Join(deps, "libonnxruntime_providers_shared.so"))
	put(filepath.Join(deps, "libonnxruntime.so"))
	installed := put(filepath.Join(system, "libonnxruntime.so.1.24.0"))
	put(filepath.Join(fetched, "libonnxruntime.so.1.31.1"))
	named := put(filepath.Join(root, "mine.so"))
	for name, tc := range map[string]struct {
		configured     string
		system, starts []string
		cache          string
		want, err      string
	}{
		"as configured":      {named, []string{system}, []string{below}, "", named, ""},
		"configured, absent": {named + "x", []string{system}, []string{below}, "", "", "MODELSERVE_ORT_LIBRARY"},
		"of the system":      {"", []string{system}, []string{below}, "", installed, ""},
		"above":              {"", nil, []string{root, below}, fetched, newest, ""},
		"in the cache":       {"", nil, []string{root}, fetched, filepath.Join(fetched, "libonnxruntime.so.1.31.1"), ""},
		"nowhere":            {"", nil, []string{root}, "", "", "make deps"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := findLibrary(tc.configured, tc.system, tc.starts, tc.cache)
			if got != tc.want || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("findLibrary: %q, %v", got, err)
			}
		})
	}
}
