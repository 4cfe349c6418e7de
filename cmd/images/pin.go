package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/modelserveai/modelserve/cmd/images/internal/recipe"
	"github.com/modelserveai/modelserve/internal/debian"
)

// pin writes the lock of each folder of recipes that is named, with what Debian
// has now of the packages of every recipe in the folder.
func pin(ctx context.Context, o *options) error {
	var dirs []string
	for _, file := range o.specs {
		dirs = append(dirs, filepath.Dir(file))
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := pinFolder(ctx, o, dir); err != nil {
			return fmt.Errorf("pin packages of %s: %w", dir, err)
		}
	}
	return nil
}

func pinFolder(ctx context.Context, o *options, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return fmt.Errorf("list recipes: %w", err)
	}
	names := map[string]bool{}
	for _, file := range files {
		r, err := recipe.Load(file)
		if err != nil {
			return err
		}
		for name := range r.Packages {
			names[name] = true
		}
	}
	var lock debian.Lock
	for _, architecture := range []string{"amd64", "arm64"} {
		packages, err := archive(o).Newest(ctx, architecture, slices.Sorted(maps.Keys(names)))
		if err != nil {
			return err
		}
		lock = append(lock, packages...)
	}
	var text bytes.Buffer
	text.WriteString("# What the recipes of this folder take from Debian " + debian.Release + ": name, version, architecture,\n" +
		"# sha256, bytes. `go run ./cmd/images -pin` writes it (-spec names other recipes).\n")
	if err := lock.Write(&text); err != nil {
		return err
	}
	path := filepath.Join(dir, recipe.LockFile)
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil { //nolint:gosec // the user names the recipes
		return fmt.Errorf("write pinned packages: %w", err)
	}
	o.print("%s: %d packages", path, len(names))
	return nil
}
