//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// module is one of tools/, in which programs are built that are not ours.
type module struct {
	dir      string
	packages string
	programs []string
}

// modules are one for everything, so that what the programs have in common is
// compiled once; but the registry needs the router that Traefik has replaced.
func modules() []module {
	return []module{
		{"tools/registry", ".", []string{"registry"}},
		{"tools", "tool", []string{
			"coredns", "etcd", "kn", "ko", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler",
			"kubectl", "kubelet",
		}},
	}
}

const kubernetesVersion = "v1.35.4"

// build makes the programs that are not there, or were made of other sources.
func (c *cluster) build(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(c.dir, "bin"), 0o755); err != nil {
		return err
	}
	version := "k8s.io/component-base/version"
	ldflags := fmt.Sprintf("-s -X %s.gitVersion=%s -X %[1]s.gitMajor=1 -X %[1]s.gitMinor=35", version, kubernetesVersion)
	for _, m := range modules() {
		dir := filepath.Join(c.source, "test/cluster", m.dir)
		args := []string{"build", "-trimpath", "-v", "-ldflags", ldflags, "-o", c.bin("") + string(filepath.Separator), m.packages}
		made := func() bool {
			return !slices.ContainsFunc(m.programs, func(name string) bool { _, err := os.Stat(c.bin(name)); return err != nil })
		}
		err := c.once("built-"+filepath.Base(m.dir), made, func() (string, error) { return sumOf(dir, args) }, func() error {
			names := strings.Join(m.programs, ", ")
			c.printf("  build %s", names)
			cmd := exec.CommandContext(ctx, "go", args...)
			cmd.Dir, cmd.Env = dir, compiling()
			return c.watched(cmd, func(lines int) { c.waitFor("build %s: %d packages compiled", names, lines) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tools is the module of nearly everything that is made here and is not ours.
func (c *cluster) tools() string { return filepath.Join(c.source, "test/cluster/tools") }

// compiling is the environment in which tools are compiled. Nobody debugs them,
// so the compiler describes nothing for a debugger; and it is faster when it
// collects its garbage more seldom. Each is an eighth of the time.
func compiling() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+compileFlags, "GOGC=400", "GOMEMLIMIT=3GiB")
}

const compileFlags = "-buildvcs=false -gcflags=all=-dwarf=false -ldflags=-s"

// sumOf is of a module, and of what is done with it.
func sumOf(dir string, args []string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), compileFlags, args)
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		fmt.Fprintln(sum, strings.TrimPrefix(file, dir), len(data))
		sum.Write(data)
		return err
	})
	return fmt.Sprintf("%x", sum.Sum(nil)), err
}

// once does f unless it was done before with the same sum, and what it made is
// there.
func (c *cluster) once(name string, made func() bool, sum func() (string, error), f func() error) error {
	stamp := filepath.Join(c.dir, "stamp", name)
	if err := os.MkdirAll(filepath.Dir(stamp), 0o755); err != nil {
		return err
	}
	wanted, err := sum()
	if err != nil {
		return err
	}
	if had, err := os.ReadFile(stamp); err == nil && string(had) == wanted && made() {
		return nil
	}
	// What ends half way, as images of which some are pushed, is not as before.
	if err := os.RemoveAll(stamp); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(wanted), 0o644)
}

// watched runs a command and reports how many lines it has written to its error
// output, the last of which are in the error.
func (c *cluster) watched(cmd *exec.Cmd, report func(lines int)) error {
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var last []string
	lines := 0
	for scan := bufio.NewScanner(pipe); scan.Scan(); {
		lines++
		if last = append(last, scan.Text()); len(last) > 20 {
			last = last[1:]
		}
		report(lines)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:2], " "), err, strings.Join(last, "\n"))
	}
	return nil
}
