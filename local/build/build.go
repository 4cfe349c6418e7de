// Package build makes a program of a ko:// import path with `go build`, as ko
// would make an image of it.
package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"

	"github.com/modelserveai/modelserve/local/process"
)

// Builder builds one program at a time: the compiler uses every core by itself.
type Builder struct {
	dir     string // where programs go
	module  string // where go runs for those that no folder is named for
	env     []string
	spawner *process.Spawner
	note    func(format string, args ...any)

	turns turns
	state sync.Mutex
	inUse map[string]bool // programs given out since the start
}

// New makes a Builder that runs go with the environment env, in module where
// no other module is named, and puts programs below dir.
func New(spawner *process.Spawner, dir, module string, env []string, note func(format string, args ...any)) *Builder {
	return &Builder{
		dir: dir, module: module, env: env, spawner: spawner, note: note,
		inUse: map[string]bool{},
	}
}

// Build returns the path of the program that the package at importPath makes
// now, as the Go module of the folder in has it, its go.mod in there or above; ""
// is the Builder's own. Of builds that wait for another's end, one that is wanted
// by then goes first. The path is of its content: a later build of changed source gets another
// one, and a program that runs is never written over.
func (b *Builder) Build(ctx context.Context, importPath, in string, wanted func() bool) (string, error) {
	if in == "" {
		in = b.module
	}
	if err := b.turns.take(ctx, wanted); err != nil {
		return "", fmt.Errorf("build %s: %w", importPath, err)
	}
	defer b.turns.give()
	// go leaves a program alone that is up to date, so each import path has a
	// place of its own in each module; and -o with a folder writes programs only.
	place := sha256.Sum256([]byte(importPath + "\x00" + in))
	latest := filepath.Join(b.dir, "latest", hex.EncodeToString(place[:4]))
	if err := os.MkdirAll(latest, 0o700); err != nil {
		return "", fmt.Errorf("build %s: %w", importPath, err)
	}
	if err := b.compile(ctx, importPath, in, latest); err != nil {
		return "", err
	}
	kept, err := b.keep(filepath.Join(latest, programName(importPath)))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", importPath, err)
	}
	return kept, nil
}

// programName is what go names the program of a package: the last element of its
// import path that is not a major version.
func programName(importPath string) string {
	if prefix, version, ok := module.SplitPathVersion(importPath); ok && version != "" {
		importPath = prefix
	}
	return path.Base(importPath)
}

// lifelineScript runs its arguments as one process group with whatever they
// start, and ends the group with the platform: go's compilers are grandchildren
// that no death signal of ours reaches.
const lifelineScript = `(read -r _ <&3; kill -KILL 0) & watch=$!; "$@" 3<&-; status=$?; kill -KILL $watch 2>/dev/null; exit $status`

func (b *Builder) compile(ctx context.Context, importPath, in, out string) error {
	var output []string
	begun := time.Now()
	p, err := b.spawner.Start(process.Command{
		Path: "/bin/sh",
		Args: []string{"-c", lifelineScript, "build", "go", "build", "-trimpath", "-buildvcs=false", "-o", out + string(filepath.Separator), importPath},
		Env:  b.env,
		Dir:  in,
		Line: func(line []byte) {
			if len(output) < 50 {
				output = append(output, string(line))
			}
		},
	})
	if err != nil {
		return fmt.Errorf("build %s: %w", importPath, err)
	}
	announce := time.AfterFunc(time.Second, func() { b.note("building %s", importPath) })
	defer announce.Stop()
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		<-p.Done()
		return fmt.Errorf("build %s: %w", importPath, ctx.Err())
	}
	if p.Err() != nil {
		return fmt.Errorf("build %s in %s:\n%s", importPath, in, strings.Join(output, "\n"))
	}
	if took := time.Since(begun); took > time.Second {
		b.note("built %s in %.1f s", importPath, took.Seconds())
	}
	return nil
}

// keep copies a program to the name of its content.
func (b *Builder) keep(program string) (string, error) {
	f, err := os.Open(program)
	if err != nil {
		return "", fmt.Errorf("keep program: %w", err)
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", fmt.Errorf("keep program: %w", err)
	}
	kept := filepath.Join(b.dir, filepath.Base(program)+"-"+hex.EncodeToString(hash.Sum(nil))[:16])
	b.state.Lock()
	b.inUse[kept] = true
	b.state.Unlock()
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("keep program: %w", err)
	}
	temporary, err := os.CreateTemp(b.dir, ".new-*")
	if err != nil {
		return "", fmt.Errorf("keep program: %w", err)
	}
	_, err = io.Copy(temporary, f)
	err = errors.Join(err, temporary.Chmod(0o700), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), kept)
	}
	if err != nil {
		_ = os.Remove(temporary.Name()) // the next Sweep takes what is left
		return "", fmt.Errorf("keep program: %w", err)
	}
	return kept, nil
}

// Sweep removes kept programs that were not given out since the start. Call it
// when nothing runs any more.
func (b *Builder) Sweep() error {
	entries, err := os.ReadDir(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was built
	} else if err != nil {
		return fmt.Errorf("remove old programs: %w", err)
	}
	b.state.Lock()
	defer b.state.Unlock()
	var faults []error
	for _, e := range entries {
		if p := filepath.Join(b.dir, e.Name()); e.Type().IsRegular() && !b.inUse[p] {
			faults = append(faults, os.Remove(p))
		}
	}
	return errors.Join(faults...)
}
