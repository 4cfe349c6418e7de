package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/modelserveai/modelserve/internal/deps"
)

// Packages brings Debian's packages by lines of LockFile, and reads one by its
// file's name there: a tar archive of its files, and its control file.
type Packages interface {
	Fetch(ctx context.Context, architecture string, lines []string) error
	Read(ctx context.Context, deb string) (files, control []byte, err error)
}

// Wheels fetches wheels for an architecture and returns the folder below which
// their members lie, at the paths that internal/deps gives them.
type Wheels func(ctx context.Context, architecture string, names []string) (dir string, wheels []deps.Wheel, err error)

// Distroless fetches an image of the distroless project, "cc-debian12:nonroot",
// for an architecture, and returns its name with its digest.
type Distroless func(ctx context.Context, image, architecture string) (name string, made v1.Image, err error)

// Maker makes images.
type Maker struct {
	Packages   Packages
	Wheels     Wheels
	Distroless Distroless // nil has everything made of packages
}

// Make makes the image of a recipe for an architecture. It is an error when a
// program of it lacks a shared library.
func (m *Maker) Make(ctx context.Context, r *Recipe, architecture string) (v1.Image, error) {
	made, err := m.layers(ctx, r, architecture)
	if err != nil {
		return nil, fmt.Errorf("image %s for %s: %w", r.Name, architecture, err)
	}
	if err := CheckLibraries(made); err != nil {
		return nil, fmt.Errorf("image %s for %s:\n%w", r.Name, architecture, err)
	}
	return made, nil
}

// layers makes the image of a recipe on that of the one below it.
func (m *Maker) layers(ctx context.Context, r *Recipe, architecture string) (v1.Image, error) {
	if m.Distroless != nil && r.Distroless != "" {
		return m.distroless(ctx, r, architecture)
	}
	below, err := bottom(architecture)
	if r.base != nil {
		below, err = m.layers(ctx, r.base, architecture)
	}
	if err != nil {
		return nil, err
	}
	files, err := m.files(ctx, r, architecture)
	if err != nil {
		return nil, err
	}
	kind := types.OCILayer
	if media, err := below.MediaType(); err == nil && media == types.DockerManifestSchema2 {
		kind = types.DockerLayer
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		in, out := io.Pipe()
		go func() { out.CloseWithError(files.write(out)) }() // ends when in is closed
		return in, nil
	}, tarball.WithMediaType(kind))
	if err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	made, err := mutate.Append(below, mutate.Addendum{Layer: layer, MediaType: kind, History: v1.History{CreatedBy: "cmd/images " + r.Name}})
	if err != nil {
		return nil, fmt.Errorf("add a layer: %w", err)
	}
	return configure(made, &r.Config)
}

// bottom is the image that has nothing.
func bottom(architecture string) (v1.Image, error) {
	made := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	return mutate.ConfigFile(made, &v1.ConfigFile{OS: "linux", Architecture: architecture, RootFS: v1.RootFS{Type: "layers"}}) //nolint:wrapcheck // it has nothing to fail on
}

// distroless is the image that stands for a recipe, with its labels.
func (m *Maker) distroless(ctx context.Context, r *Recipe, architecture string) (v1.Image, error) {
	name, made, err := m.Distroless(ctx, r.Distroless, architecture)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{"org.opencontainers.image.base.name": name}
	for below := r; below != nil; below = below.base {
		for label, text := range below.Config.Labels {
			if _, set := labels[label]; !set {
				labels[label] = text
			}
		}
	}
	return configure(made, &v1.Config{Labels: labels})
}

// configure adds to an image's configuration.
func configure(made v1.Image, add *v1.Config) (v1.Image, error) {
	old, err := made.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	whole, env := old.DeepCopy(), old.Config.Env
	data, err := json.Marshal(add)
	if err == nil {
		err = json.Unmarshal(data, &whole.Config) // maps grow, what is empty is left out
	}
	if err != nil {
		return nil, fmt.Errorf("add to the configuration: %w", err)
	}
	for _, e := range add.Env {
		name, _, _ := strings.Cut(e, "=")
		env = append(slices.DeleteFunc(slices.Clone(env), func(old string) bool { return strings.HasPrefix(old, name+"=") }), e)
	}
	whole.Config.Env = env
	return mutate.ConfigFile(made, whole) //nolint:wrapcheck // it has nothing to fail on
}

// Index is one image for several architectures, as registries have it.
func Index(images map[string]v1.Image) v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range slices.Sorted(maps.Keys(images)) {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        images[architecture],
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return index
}
