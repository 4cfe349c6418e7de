package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// labelLimit is how large an image on a base may be, uncompressed, in 10⁶ bytes;
// what ko builds on the base has the label too.
const labelLimit = "dev.modelserve.image.limit-mb"

// driver is the library that a GPU's node brings into the container.
const driver = "libcuda.so.1"

// Size is how many bytes an image's layers have uncompressed. More than its label
// allows is an error beside the size; without the label every size is allowed.
func Size(made v1.Image) (int64, error) {
	layers, err := made.Layers()
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
		if err := errors.Join(err, in.Close()); err != nil {
			return 0, fmt.Errorf("read a layer: %w", err)
		}
		total += n
	}
	cfg, err := made.ConfigFile()
	if err != nil {
		return 0, fmt.Errorf("read the configuration: %w", err)
	}
	if limit, err := strconv.ParseInt(cfg.Config.Labels[labelLimit], 10, 64); err == nil && total > limit*1e6 {
		return total, fmt.Errorf("it has %.1f MB uncompressed, and may have %d", float64(total)/1e6, limit)
	}
	return total, nil
}

// CheckLibraries holds an image to having every shared library, and every version
// of its symbols, that a program or library in it needs: one that was built where
// glibc is newer is refused here and not when its pod starts. Libraries are known
// by name, wherever they lie.
func CheckLibraries(made v1.Image) error {
	// By "library" and by "library version": who needs it, and what there is.
	needs, has := map[string]string{}, map[string]bool{driver: true}
	files := mutate.Extract(made)
	defer files.Close()
	for in := tar.NewReader(files); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = readLibrary(in, h.Name, needs, has)
		}
		if err != nil {
			return fmt.Errorf("read what programs need: %w", err)
		}
	}
	var faults []string
	for need, who := range needs {
		library, version, _ := strings.Cut(need, " ")
		switch {
		case has[need]:
		case version == "":
			faults = append(faults, who+" needs "+library+", which the image has not")
		case has[library] && library != driver:
			faults = append(faults, who+" needs "+version+" of "+library+", which the image's has not: build it where that library is as old")
		}
	}
	if len(faults) == 0 {
		return nil
	}
	slices.Sort(faults)
	return errors.New(strings.Join(faults, "\n"))
}

// readLibrary notes a file if it is a program or a shared library.
func readLibrary(in io.Reader, name string, needs map[string]string, has map[string]bool) error {
	buffered := bufio.NewReader(in)
	if magic, err := buffered.Peek(len(elf.ELFMAG)); err != nil || string(magic) != elf.ELFMAG {
		return nil //nolint:nilerr // too short to be one
	}
	data, err := io.ReadAll(buffered)
	if err != nil {
		return err
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil || file.SectionByType(elf.SHT_DYNAMIC) == nil {
		return err
	}
	libraries, err := file.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, library := range libraries {
		needs[library] = name
	}
	own, err := file.DynString(elf.DT_SONAME)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defines, _ := file.DynamicVersions() // an error is that it has none
	for _, known := range append(own, path.Base(name)) {
		has[known] = true
		for _, v := range defines {
			has[known+" "+v.Name] = true
		}
	}
	asks, _ := file.DynamicVersionNeeds() // as above
	for _, library := range asks {
		for _, v := range library.Needs {
			if v.Flags&elf.VER_FLG_WEAK == 0 {
				needs[library.Name+" "+v.Dep] = name
			}
		}
	}
	return nil
}
