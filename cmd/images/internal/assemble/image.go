package assemble

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/modelserveai/modelserve/cmd/images/internal/recipe"
	"github.com/modelserveai/modelserve/cmd/images/internal/rootfs"
	"github.com/modelserveai/modelserve/internal/debian"
)

// Labels of images. The first four are the OCI's.
const (
	LabelSource   = "org.opencontainers.image.source"
	LabelTitle    = "org.opencontainers.image.title"
	LabelLicenses = "org.opencontainers.image.licenses"
	LabelVersion  = "org.opencontainers.image.version"

	// LabelPackages has what an image is made of: "name version", comma-separated.
	LabelPackages = "dev.modelserve.image.packages"
	// LabelLimit is how large an image on this base may be, in 10⁶ bytes; what ko
	// builds on the base has the label too.
	LabelLimit = "dev.modelserve.image.limit-mb"

	// For Check: where programs open libraries from, and which the host brings.
	labelPath = "dev.modelserve.image.library-path"
	labelHost = "dev.modelserve.image.host-libraries"
)

// searchPath is PATH in images: ko adds its own folder to it.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

// Image makes the image of a recipe for an architecture.
func (a *Assembler) Image(ctx context.Context, r *recipe.Recipe, architecture string) (v1.Image, error) {
	layers, err := a.layers(ctx, r, architecture)
	if err != nil {
		return nil, err
	}
	image, err := a.image(r, architecture, layers)
	if err != nil {
		return nil, fmt.Errorf("image %s for %s: %w", r.Name, architecture, err)
	}
	return image, nil
}

func (a *Assembler) image(r *recipe.Recipe, architecture string, layers []layer) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: architecture,
		RootFS: v1.RootFS{Type: "layers"},
		Config: a.config(r, layers),
	})
	if err != nil {
		return nil, fmt.Errorf("its configuration: %w", err)
	}
	for i, name := range names(r) {
		l, err := archive(layers[i].tree, trees(layers[:i]))
		if err != nil {
			return nil, err
		}
		image, err = mutate.Append(image, mutate.Addendum{
			Layer: l, MediaType: types.OCILayer, History: v1.History{CreatedBy: "cmd/images " + name},
		})
		if err != nil {
			return nil, fmt.Errorf("add a layer: %w", err)
		}
	}
	return image, nil
}

// names are those of the recipe and all below it, the lowest first.
func names(r *recipe.Recipe) []string {
	if r == nil {
		return nil
	}
	return append(names(r.Base), r.Name)
}

func trees(layers []layer) []*rootfs.Tree {
	var all []*rootfs.Tree
	for _, l := range layers {
		all = append(all, l.tree)
	}
	return all
}

// inMemory is the largest archive, in bytes, that is kept compressed in memory
// rather than compressed again each time it is read.
const inMemory = 256 << 20

func archive(tree *rootfs.Tree, below []*rootfs.Tree) (v1.Layer, error) {
	open := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(tree.WriteTar(w, below...)) }() // ends when r is closed
		return r, nil
	}
	options := []tarball.LayerOption{tarball.WithMediaType(types.OCILayer)}
	size := int64(0)
	for _, f := range tree.Files() {
		n, err := f.Size()
		if err != nil {
			return nil, fmt.Errorf("make a layer: %w", err)
		}
		size += n
	}
	if size <= inMemory {
		options = append(options, tarball.WithCompressedCaching)
	}
	l, err := tarball.LayerFromOpener(open, options...)
	if err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	return l, nil
}

func (a *Assembler) config(r *recipe.Recipe, layers []layer) v1.Config {
	env := []string{}
	all := maps.Clone(r.Env)
	if all == nil {
		all = map[string]string{}
	}
	if all["PATH"] == "" {
		all["PATH"] = searchPath
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		env = append(env, name+"="+all[name])
	}
	return v1.Config{
		User: strconv.Itoa(r.User) + ":" + strconv.Itoa(r.User), Env: env,
		Entrypoint: r.Entrypoint, WorkingDir: r.WorkingDir, Labels: a.labels(r, layers),
		Volumes: set(r.Volumes), ExposedPorts: set(r.Ports), StopSignal: r.StopSignal,
	}
}

func set(names []string) map[string]struct{} {
	if len(names) == 0 {
		return nil
	}
	all := map[string]struct{}{}
	for _, name := range names {
		all[name] = struct{}{}
	}
	return all
}

func (a *Assembler) labels(r *recipe.Recipe, layers []layer) map[string]string {
	var from []string
	version := debian.Release
	for _, l := range layers {
		for _, c := range l.from {
			from = append(from, c.name+" "+c.version)
			if c.name == r.VersionOf {
				version = c.version
			}
		}
	}
	slices.Sort(from)
	labels := map[string]string{
		LabelSource: a.Source, LabelTitle: r.Title, LabelLicenses: r.Licenses, LabelVersion: version,
		LabelPackages: strings.Join(slices.Compact(from), ", "),
		LabelLimit:    strconv.FormatInt(r.LimitMB, 10),
	}
	for label, all := range map[string][]string{labelPath: r.Libraries.Path, labelHost: r.Libraries.Host} {
		if len(all) > 0 {
			labels[label] = strings.Join(all, ":")
		}
	}
	return labels
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ':' })
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

// measure is how many bytes an image's layers have uncompressed.
func measure(image v1.Image) (int64, error) {
	layers, err := image.Layers()
	if err != nil {
		return 0, fmt.Errorf("read the layers: %w", err)
	}
	total := int64(0)
	for _, l := range layers {
		in, err := l.Uncompressed()
		if err != nil {
			return 0, fmt.Errorf("read a layer: %w", err)
		}
		n, err := io.Copy(io.Discard, in)
		in.Close()
		if err != nil {
			return 0, fmt.Errorf("read a layer: %w", err)
		}
		total += n
	}
	return total, nil
}

// WithinLimit holds an image, ours or one that ko built on ours, to the limit
// that its base has for it. It returns the image's size in bytes, uncompressed.
func WithinLimit(image v1.Image) (int64, error) {
	cfg, err := image.ConfigFile()
	if err != nil {
		return 0, fmt.Errorf("read the configuration: %w", err)
	}
	limit, err := strconv.ParseInt(cfg.Config.Labels[LabelLimit], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("it has no label %s: it is not on one of our bases", LabelLimit)
	}
	size, err := measure(image)
	if err != nil {
		return 0, err
	}
	if size > limit*1e6 {
		return size, fmt.Errorf("it has %.1f MB uncompressed, and may have %d", float64(size)/1e6, limit)
	}
	return size, nil
}

// Check is WithinLimit, and holds the image to having every shared library, and
// every version of its symbols, that a program in it needs. The image is read
// into memory.
func Check(image v1.Image) (int64, error) {
	size, err := WithinLimit(image)
	if err != nil {
		return size, err
	}
	cfg, err := image.ConfigFile()
	if err != nil {
		return size, fmt.Errorf("read the configuration: %w", err)
	}
	linker, err := rootfs.LinkerFor(cfg.Architecture)
	if err != nil {
		return size, err
	}
	files := mutate.Extract(image)
	defer files.Close()
	tree, err := rootfs.ReadTar(files)
	if err != nil {
		return size, err
	}
	linker.Path, linker.Host = split(cfg.Config.Labels[labelPath]), split(cfg.Config.Labels[labelHost])
	return size, linker.Close(tree, &rootfs.Tree{})
}
