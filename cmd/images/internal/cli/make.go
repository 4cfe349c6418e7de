package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelserveai/modelserve/cmd/images/internal/image"
	"github.com/modelserveai/modelserve/internal/deps"
)

// makeImages makes what is asked for, and pushes it or writes it to a folder.
func makeImages(ctx context.Context, o *options) error {
	maker := &image.Maker{Packages: o.archive(), Wheels: o.wheels}
	if o.base != debianBase {
		maker.Distroless = o.distroless
	}
	for _, file := range o.specs {
		r, err := image.Load(file)
		if err != nil {
			return err
		}
		images := map[string]v1.Image{}
		for _, architecture := range o.architectures {
			made, err := maker.Make(ctx, r, architecture)
			if err != nil {
				return err
			}
			images[architecture] = made
		}
		if err := o.put(ctx, r.Name, images); err != nil {
			return fmt.Errorf("image %s: %w", r.Name, err)
		}
	}
	return nil
}

// wheels implements image.Wheels. Those for this machine lie where `make deps`
// puts them, those for another in a folder of their own.
func (o *options) wheels(ctx context.Context, architecture string, names []string) (string, []deps.Wheel, error) {
	platform, dir := "linux/"+architecture, o.dir
	if architecture != runtime.GOARCH || runtime.GOOS != "linux" {
		dir += "/linux-" + architecture
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

// put puts an image where it goes and prints its digests and sizes.
func (o *options) put(ctx context.Context, name string, images map[string]v1.Image) error {
	index := image.Index(images)
	where, err := o.place(ctx, name, index)
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
		digest, err := images[architecture].Digest()
		if err != nil {
			return fmt.Errorf("its digest: %w", err)
		}
		size, err := image.Size(images[architecture])
		o.print("  linux/%-6s %s  %.1f MB uncompressed", architecture, digest, float64(size)/1e6)
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func (o *options) print(format string, args ...any) {
	_, _ = fmt.Fprintf(o.out, format+"\n", args...) // nobody reads it: what was made is made
}
