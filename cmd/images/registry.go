package main

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
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/modelserveai/modelserve/cmd/images/internal/assemble"
)

// remoteOptions finds credentials where docker, podman and ko do.
func remoteOptions(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
}

// place pushes an image or lays it down, and says where it is then.
func (o *options) place(ctx context.Context, image string, index v1.ImageIndex) (string, error) {
	switch {
	case o.list:
		return image, nil
	case o.push == "":
		return o.lay(image, index)
	}
	ref, err := name.ParseReference(o.push + "/" + image)
	if err != nil {
		return "", fmt.Errorf("-push: %w", err)
	}
	if err := remote.WriteIndex(ref, index, remoteOptions(ctx)...); err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	return ref.Context().String(), nil
}

// lay writes an OCI layout beside its place and moves it there.
func (o *options) lay(image string, index v1.ImageIndex) (string, error) {
	path := filepath.Join(o.dir, "images", image)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the user names the folder
		return "", fmt.Errorf("make the folder for images: %w", err)
	}
	part := path + ".part"
	if err := errors.Join(os.RemoveAll(part), os.MkdirAll(part, 0o755)); err != nil { //nolint:gosec // the user names the folder
		return "", fmt.Errorf("make the folder for an image: %w", err)
	}
	if _, err := layout.Write(part, index); err != nil {
		return "", fmt.Errorf("write the image: %w", err)
	}
	if err := errors.Join(os.RemoveAll(path), os.Rename(part, path)); err != nil { //nolint:gosec // the user names the folder
		return "", fmt.Errorf("put the image in its place: %w", err)
	}
	return path, nil
}

// checkImages holds images in a registry to their limits.
func checkImages(ctx context.Context, o *options) error {
	var faults []error
	for _, image := range o.check {
		if err := o.checkImage(ctx, image); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", image, err))
		}
	}
	return errors.Join(faults...)
}

func (o *options) checkImage(ctx context.Context, image string) error {
	ref, err := name.ParseReference(image)
	if err != nil {
		return fmt.Errorf("-check: %w", err)
	}
	found, err := remote.Get(ref, remoteOptions(ctx)...)
	if err != nil {
		return fmt.Errorf("find it: %w", err)
	}
	var images []v1.Image
	if found.MediaType.IsIndex() {
		images, err = indexed(found)
	} else {
		images = make([]v1.Image, 1)
		images[0], err = found.Image()
	}
	if err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	var faults []error
	for _, one := range images {
		size, err := assemble.Check(one)
		if err != nil {
			faults = append(faults, err)
		}
		if cfg, err := one.ConfigFile(); err == nil {
			o.print("%s linux/%s %.1f MB uncompressed", image, cfg.Architecture, float64(size)/1e6)
		}
	}
	return errors.Join(faults...)
}

// indexed are the images for every platform of an index.
func indexed(found *remote.Descriptor) ([]v1.Image, error) {
	index, err := found.ImageIndex()
	if err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	var images []v1.Image
	for _, m := range manifest.Manifests {
		if m.MediaType != types.OCIManifestSchema1 && m.MediaType != types.DockerManifestSchema2 {
			continue
		}
		image, err := index.Image(m.Digest)
		if err != nil {
			return nil, fmt.Errorf("its image for %v: %w", m.Platform, err)
		}
		images = append(images, image)
	}
	return images, nil
}
