package build_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modelserveai/modelserve/local/build"
	"github.com/modelserveai/modelserve/local/process"
)

// module writes a module of a main package, a broken one and a library.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":         "module example.com/m\n\ngo 1.26\n",
		"good/main.go":   "package main\n\nfunc main() { println(\"one\") }\n",
		"broken/main.go": "package main\n\nfunc main() { return 1 }\n",
		"library/lib.go": "package library\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func builder(t *testing.T, module string) (*build.Builder, string) {
	t.Helper()
	spawner, err := process.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := spawner.Close(); err != nil {
			t.Error(err)
		}
	})
	out := filepath.Join(t.TempDir(), "bin")
	return build.New(spawner, out, module, os.Environ(), func(string, ...any) {}), out
}

// nobody waits for a build.
func nobody() bool { return false }

func run(t *testing.T, program string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestBuild(t *testing.T) {
	t.Parallel()
	dir := module(t)
	b, out := builder(t, dir)
	one, err := b.Build(t.Context(), "example.com/m/good", "", nobody)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Build(t.Context(), "example.com/m/good", "", nobody)
	if err != nil || again != one {
		t.Errorf("the same source made %s, then %s, %v", one, again, err)
	}
	source := filepath.Join(dir, "good", "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { println(\"two\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	two, err := b.Build(t.Context(), "example.com/m/good", "", nobody)
	if err != nil || two == one {
		t.Errorf("changed source made %s again, %v", two, err)
	}
	if run(t, one) != "one" || run(t, two) != "two" {
		t.Errorf("programs print %q and %q", run(t, one), run(t, two))
	}
	stale := filepath.Join(out, "good-0000000000000000")
	if err := os.WriteFile(stale, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) || run(t, one) != "one" {
		t.Errorf("sweep left the stale one (%v) or took one in use", err)
	}
}

// TestBuildInAnotherModule holds that a program is made by the module that it is
// of, also where that has a major version.
func TestBuildInAnotherModule(t *testing.T) {
	t.Parallel()
	b, _ := builder(t, module(t))
	other := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.com/other/v2\n\ngo 1.26\n",
		"main.go": "package main\n\nfunc main() { println(\"two\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(other, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program, err := b.Build(t.Context(), "example.com/other/v2", other, nobody)
	if err != nil {
		t.Fatal(err)
	}
	if got := run(t, program); got != "two" {
		t.Errorf("got %q", got)
	}
	if _, err := b.Build(t.Context(), "example.com/m/good", other, nobody); err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("a package of another module: %v, want it to name %s", err, other)
	}
}

func TestBuildFails(t *testing.T) {
	t.Parallel()
	b, _ := builder(t, module(t))
	for path, want := range map[string]string{
		"example.com/m/broken":  "too many return values",
		"example.com/m/library": "no main packages to build",
		"example.com/m/none":    "no required module provides package example.com/m/none",
	} {
		if _, err := b.Build(t.Context(), path, "", nobody); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Build(ctx, "example.com/m/good", "", nobody); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What go starts ends with the platform too, however that ends: all that is
// left of it here is the end of the lifeline.
func TestCompilersEndWithThePlatform(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// A go whose grandchild holds the fifo open for as long as it lives.
	script := "#!/bin/sh\n( exec sleep 1000 >'" + fifo + "' ) &\nwait\n"
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	spawner, err := process.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	b := build.New(spawner, filepath.Join(dir, "bin"), dir, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, func(string, ...any) {})
	result := make(chan error, 1)
	go func() {
		_, err := b.Build(context.Background(), "example.com/m/good", "", nobody)
		result <- err
	}()
	held, err := os.Open(fifo) // returns when the grandchild has opened it
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := spawner.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, held); err != nil { // ends with the last that holds it
		t.Fatal(err)
	}
	if err := <-result; err == nil {
		t.Error("the build went well")
	}
}
