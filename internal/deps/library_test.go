package deps_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/deps"
)

// TestLibraryIsTakenFromTheReplacedModule holds that a module outside the
// repository uses what `make deps` fetched in the checkout that it names.
func TestLibraryIsTakenFromTheReplacedModule(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mod := "module example.com/own\n\ngo 1.26.3\n\nrequire github.com/modelserveai/modelserve v0.0.0\n\n" +
		"replace github.com/modelserveai/modelserve => " + root + "\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	got, err := deps.Library(t.Context(), dir, &out)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(root, ".deps", "onnxruntime"); filepath.Dir(got) != want {
		t.Errorf("got %s, want one in %s\n%s", got, want, &out)
	}
}

// TestLibraryOfTheUsersCache holds that a module without a checkout takes what was
// fetched before, without pip, and that where nothing was the error names where a
// wheel goes that is brought by hand.
func TestLibraryOfTheUsersCache(t *testing.T) {
	cache, dir, bin := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	pip := "#!/bin/sh\n[ \"$3\" = --version ] && exit 0\necho no network >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(bin, "python3"), []byte(pip), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	user, err := deps.UserDir()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deps.Library(t.Context(), dir, io.Discard); err == nil || !strings.Contains(err.Error(), filepath.Join(user, "wheels")) {
		t.Errorf("without a network: %v, want it to name %s", err, filepath.Join(user, "wheels"))
	}
	for _, part := range []string{"onnxruntime", ".stamps"} {
		if err := os.CopyFS(filepath.Join(user, part), os.DirFS(filepath.Join("../../.deps", part))); err != nil {
			t.Fatal(err)
		}
	}
	got, err := deps.Library(t.Context(), dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(got); err != nil || filepath.Dir(got) != filepath.Join(user, "onnxruntime") {
		t.Errorf("got %s (%v), want the one in %s", got, err, user)
	}
}

// TestLibraryWithoutACacheFolder holds that who has no home learns which variables
// do without one.
func TestLibraryWithoutACacheFolder(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	_, err := deps.Library(t.Context(), t.TempDir(), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "set XDG_CACHE_HOME") || !strings.Contains(err.Error(), "MODELSERVE_ORT_LIBRARY") {
		t.Errorf("got %v, want the variables to set", err)
	}
}
