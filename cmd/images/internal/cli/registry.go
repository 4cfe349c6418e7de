package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/modelserveai/modelserve/cmd/images/internal/image"
)

// remoteOptions finds credentials where docker, podman and ko do.
func remoteOptions(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
}

// place pushes an image or writes it to a folder, and returns where it is then.
func (o *options) place(ctx context.Context, repository string, index v1.ImageIndex) (string, error) {
	if o.push == "" {
		return o.writeLayout(repository, index)
	}
	ref, err := name.ParseReference(o.push + "/" + repository)
	if err != nil {
		return "", fmt.Errorf("-push: %w", err)
	}
	if err := remote.WriteIndex(ref, index, remoteOptions(ctx)...); err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	return ref.Context().String(), nil
}

// writeLayout writes an OCI layout in place of the one of before.
func (o *options) writeLayout(repository string, index v1.ImageIndex) (string, error) {
	path := filepath.Join(o.dir, "images", repository)
	if err := errors.Join(os.RemoveAll(path), os.MkdirAll(path, 0o755)); err != nil {
		return "", fmt.Errorf("make the folder for an image: %w", err)
	}
	if _, err := layout.Write(path, index); err != nil {
		return "", fmt.Errorf("write the image: %w", err)
	}
	return path, nil
}

// distroless implements image.Distroless, at the place that -base names.
func (o *options) distroless(ctx context.Context, repository, architecture string) (string, v1.Image, error) {
	ref, err := name.ParseReference(o.base + "/" + repository)
	if err != nil {
		return "", nil, fmt.Errorf("-base: %w", err)
	}
	made, err := remote.Image(ref, append(remoteOptions(ctx), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: architecture}))...)
	if err != nil {
		return "", nil, fmt.Errorf("fetch %s (-base debian makes its like of Debian's packages): %w", ref, err)
	}
	digest, err := made.Digest()
	if err != nil {
		return "", nil, fmt.Errorf("fetch %s: %w", ref, err)
	}
	return ref.Name() + "@" + digest.String(), made, nil
}

// checkImages holds images in a registry to their limits, and to having what
// their programs need.
func checkImages(ctx context.Context, o *options) error {
	var faults []error
	for _, named := range o.check {
		if err := o.checkImage(ctx, named); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", named, err))
		}
	}
	return errors.Join(faults...)
}

func (o *options) checkImage(ctx context.Context, named string) error {
	ref, err := name.ParseReference(named)
	if err != nil {
		return fmt.Errorf("-check: %w", err)
	}
	found, err := remote.Get(ref, remoteOptions(ctx)...)
	if err != nil {
		return fmt.Errorf("find it: %w", err)
	}
	var images []v1.Image
	if found.MediaType.IsIndex() {
		var index v1.ImageIndex
		if index, err = found.ImageIndex(); err == nil {
			images, err = partial.FindImages(index, func(d v1.Descriptor) bool { return d.MediaType.IsImage() })
		}
	} else {
		images = make([]v1.Image, 1)
		images[0], err = found.Image()
	}
	if err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	var faults []error
	for _, one := range images {
		size, err := image.Size(one)
		faults = append(faults, err, image.CheckLibraries(one))
		if cfg, err := one.ConfigFile(); err == nil {
			o.print("%s linux/%s %.1f MB uncompressed", named, cfg.Architecture, float64(size)/1e6)
		}
	}
	return errors.Join(faults...)
}
