package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelserveai/modelserve/cmd/images/internal/assemble"
	"github.com/modelserveai/modelserve/cmd/images/internal/recipe"
	"github.com/modelserveai/modelserve/internal/debian"
	"github.com/modelserveai/modelserve/internal/deps"
)

// source is the repository, for the images' labels.
const source = "https://github.com/modelserveai/modelserve"

// makeImages makes what is asked for, and pushes it or lays it down.
func makeImages(ctx context.Context, o *options) error {
	var all []*recipe.Recipe
	for _, file := range o.specs {
		r, err := recipe.Load(file)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	a := &assemble.Assembler{Packages: archive(o), Wheels: o.wheels, Source: source}
	for _, r := range all {
		images := map[string]v1.Image{}
		for _, architecture := range o.architectures {
			image, err := a.Image(ctx, r, architecture)
			if err != nil {
				return err
			}
			images[architecture] = image
		}
		if err := o.tell(ctx, r, images); err != nil {
			return fmt.Errorf("image %s: %w", r.Name, err)
		}
	}
	if o.push == "" || o.list {
		return nil
	}
	return o.koConfig(all)
}

// archive is Debian's, with its packages in the folder of fetched things.
func archive(o *options) *debian.Archive {
	return &debian.Archive{Dir: filepath.Join(o.dir, "debian"), Mirror: o.mirror, Snapshots: o.snapshots, Out: os.Stderr}
}

// wheels implements assemble.Wheels. Those for this machine lie where `make deps`
// puts them, those for another in a folder of their own.
func (o *options) wheels(ctx context.Context, architecture string, names []string) (string, []deps.Wheel, error) {
	platform, dir := "linux/"+architecture, o.dir
	if architecture != runtime.GOARCH || runtime.GOOS != "linux" {
		dir = filepath.Join(o.dir, "linux-"+architecture)
	}
	pinned, err := deps.Wheels(platform)
	if err != nil {
		return "", nil, err
	}
	if gpu, err := deps.GPUWheels(platform); err == nil {
		pinned = append(pinned, gpu...)
	}
	var wanted []deps.Wheel
	for _, name := range names {
		i := slices.IndexFunc(pinned, func(w deps.Wheel) bool { return w.Package == name })
		if i < 0 {
			return "", nil, fmt.Errorf("no wheel %s is pinned for %s", name, platform)
		}
		wanted = append(wanted, pinned[i])
	}
	fetcher := &deps.Fetcher{Dir: dir, Out: os.Stderr}
	return dir, wanted, fetcher.Fetch(ctx, wanted)
}

// tell puts an image where it goes and prints its digests and sizes.
func (o *options) tell(ctx context.Context, r *recipe.Recipe, images map[string]v1.Image) error {
	index := assemble.Index(images)
	where, err := o.place(ctx, r.Name, index)
	if err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return fmt.Errorf("its digest: %w", err)
	}
	o.print("%s@%s", where, digest)
	var faults []error
	for _, architecture := range o.architectures {
		if err := o.tellOne(architecture, images[architecture]); err != nil {
			faults = append(faults, fmt.Errorf("linux/%s: %w", architecture, err))
		}
	}
	return errors.Join(faults...)
}

func (o *options) tellOne(architecture string, image v1.Image) error {
	digest, err := image.Digest()
	if err != nil {
		return fmt.Errorf("its digest: %w", err)
	}
	cfg, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	size, err := assemble.WithinLimit(image)
	o.print("  linux/%-6s %s  %.1f MB uncompressed", architecture, digest, float64(size)/1e6)
	if o.list {
		o.print("    %s", strings.ReplaceAll(cfg.Config.Labels[assemble.LabelPackages], ", ", "\n    "))
	}
	return err
}

func (o *options) print(format string, args ...any) {
	_, _ = fmt.Fprintf(o.out, format+"\n", args...) // nobody reads it: what was made is made
}
