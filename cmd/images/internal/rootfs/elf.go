package rootfs

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Linker says how the dynamic linker of an image finds shared libraries.
type Linker struct {
	Machine elf.Machine
	// Triplet names the folder of libraries below usr/lib.
	Triplet string
	// Path has folders that programs themselves open libraries from.
	Path []string
	// Host names libraries that come into the container from outside.
	Host []string
}

// Linkers are known for these architectures, as Go names them.
func linkers() map[string]Linker {
	return map[string]Linker{
		"amd64": {Machine: elf.EM_X86_64, Triplet: "x86_64-linux-gnu"},
		"arm64": {Machine: elf.EM_AARCH64, Triplet: "aarch64-linux-gnu"},
	}
}

// LinkerFor is the linker of Debian on an architecture.
func LinkerFor(architecture string) (Linker, error) {
	l, ok := linkers()[architecture]
	if !ok {
		return Linker{}, fmt.Errorf("images are made for amd64 and arm64, not for %q", architecture)
	}
	return l, nil
}

// object is what a program or library says of itself.
type object struct {
	path    string
	needs   []string            // DT_NEEDED
	paths   []string            // DT_RPATH and DT_RUNPATH, with $ORIGIN as they have it
	loader  string              // PT_INTERP
	asks    map[string][]string // versions of symbols by the library they are asked of
	defines []string            // versions of symbols it has
}

// readObject is nil for what is no program or shared library.
func readObject(f *File, machine elf.Machine) (*object, error) {
	in, err := f.open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var magic [4]byte
	if _, err := in.ReadAt(magic[:], 0); err != nil || string(magic[:]) != elf.ELFMAG {
		return nil, nil //nolint:nilnil // too short to be one
	}
	file, err := elf.NewFile(in)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	if file.Type != elf.ET_DYN && file.Type != elf.ET_EXEC {
		return nil, nil //nolint:nilnil // an object file
	}
	if file.Machine != machine {
		return nil, fmt.Errorf("%s is for %v, and the image for %v", f.Path, file.Machine, machine)
	}
	o := &object{path: f.Path, asks: map[string][]string{}}
	if err := o.read(file); err != nil {
		return nil, fmt.Errorf("read what %s needs: %w", f.Path, err)
	}
	return o, nil
}

func (o *object) read(file *elf.File) error {
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			text, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
			if err != nil {
				return fmt.Errorf("its loader: %w", err)
			}
			o.loader = strings.TrimRight(string(text), "\x00")
		}
	}
	if file.SectionByType(elf.SHT_DYNAMIC) == nil {
		return nil
	}
	var err error
	if o.needs, err = file.ImportedLibraries(); err != nil {
		return fmt.Errorf("its libraries: %w", err)
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		texts, err := file.DynString(tag)
		if err != nil {
			return fmt.Errorf("its paths: %w", err)
		}
		for _, text := range texts {
			o.paths = append(o.paths, strings.Split(text, ":")...)
		}
	}
	return o.readVersions(file)
}

func (o *object) readVersions(file *elf.File) error {
	if file.SectionByType(elf.SHT_GNU_VERNEED) != nil {
		needs, err := file.DynamicVersionNeeds()
		if err != nil {
			return fmt.Errorf("the versions it asks for: %w", err)
		}
		for _, need := range needs {
			for _, dep := range need.Needs {
				if dep.Flags&elf.VER_FLG_WEAK == 0 {
					o.asks[need.Name] = append(o.asks[need.Name], dep.Dep)
				}
			}
		}
	}
	if file.SectionByType(elf.SHT_GNU_VERDEF) != nil {
		versions, err := file.DynamicVersions()
		if err != nil {
			return fmt.Errorf("the versions it has: %w", err)
		}
		for _, v := range versions {
			o.defines = append(o.defines, v.Name)
		}
	}
	return nil
}

// folders are where the linker looks for what an object needs, in its order.
func (l *Linker) folders(o *object) []string {
	var dirs []string
	for _, p := range o.paths {
		origin := "/" + path.Dir(o.path)
		dirs = append(dirs, strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin).Replace(p))
	}
	dirs = append(dirs, l.Path...)
	return append(dirs, "usr/lib/"+l.Triplet, "usr/lib", "usr/lib64")
}

// Close adds to t, out of candidates, every shared library that the programs
// and libraries of t and of the trees below it need, and what those need. Then
// it checks that each has the versions of symbols that are asked of it: a
// program built for a newer C library would not start.
//
// The error names each library that is missing and what needs it.
func (l *Linker) Close(t *Tree, candidates *Tree, below ...*Tree) error {
	c := closure{linker: l, tree: t, candidates: candidates, below: below, objects: map[string]*object{}}
	for _, f := range append(slices.Concat(c.filesBelow()), t.Files()...) {
		if err := c.visit(f); err != nil {
			return err
		}
	}
	for len(c.queue) > 0 {
		o := c.queue[0]
		c.queue = c.queue[1:]
		if err := c.follow(o); err != nil {
			return err
		}
	}
	return errors.Join(append(c.faults, c.versions()...)...)
}

type closure struct {
	linker     *Linker
	tree       *Tree
	candidates *Tree
	below      []*Tree
	objects    map[string]*object // by path
	queue      []*object          // found, and not followed yet
	faults     []error
}

func (c *closure) filesBelow() []*File {
	var files []*File
	for _, t := range c.below {
		files = append(files, t.Files()...)
	}
	return files
}

// visit notes a file if it is a program or library.
func (c *closure) visit(f *File) error {
	if !f.Mode.IsRegular() || c.objects[f.Path] != nil {
		return nil
	}
	o, err := readObject(f, c.linker.Machine)
	if err != nil || o == nil {
		return err
	}
	c.objects[f.Path] = o
	c.queue = append(c.queue, o)
	return nil
}

// follow brings what one object needs.
func (c *closure) follow(o *object) error {
	if o.loader != "" {
		if f, err := c.bring(o.loader); err != nil || f == nil {
			c.faults = append(c.faults, fmt.Errorf("%s is loaded by %s, which the image has not", o.path, o.loader))
			return err
		}
	}
	for _, need := range o.needs {
		f, err := c.find(o, need)
		if err != nil {
			return err
		}
		if f == nil && !slices.Contains(c.linker.Host, need) {
			c.faults = append(c.faults, fmt.Errorf("%s needs %s, which no package that is named has: name the one that has it", o.path, need))
		}
	}
	return nil
}

// find is the library that an object gets by a name, brought if it must be.
func (c *closure) find(o *object, name string) (*File, error) {
	if strings.Contains(name, "/") {
		return c.bring(name)
	}
	for _, dir := range c.linker.folders(o) {
		if f, err := c.bring(path.Join(dir, name)); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil //nolint:nilnil // there is none
}

// bring is the file at a path, out of the candidates if no tree has it yet.
func (c *closure) bring(name string) (*File, error) {
	for _, t := range append(slices.Clone(c.below), c.tree) {
		if f := t.Lookup(name); f != nil {
			return f, nil
		}
	}
	f := c.candidates.Lookup(name)
	if f == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	if err := c.tree.take(c.candidates, name); err != nil {
		return nil, err
	}
	return f, c.visit(f)
}

// versions is an error for each version of a symbol that is asked of a library
// that has it not.
func (c *closure) versions() []error {
	var faults []error
	for _, o := range c.objects {
		for _, need := range o.needs {
			f, err := c.find(o, need)
			if err != nil || f == nil || c.objects[f.Path] == nil {
				continue
			}
			for _, version := range o.asks[need] {
				if !slices.Contains(c.objects[f.Path].defines, version) {
					faults = append(faults, fmt.Errorf("%s asks %s for %s, which it has not: build it on Debian bookworm or older", o.path, need, version))
				}
			}
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return faults
}
