//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// program is what one module of tools/ builds. Each is in a module of its own,
// for the versions they need disagree.
type program struct {
	module   string
	packages []string
	ldflags  string
	name     string // of the one program, where it is not its package's
}

const kubernetesVersion = "v1.35.4"

func programs() []program {
	version := "k8s.io/component-base/version"
	return []program{
		{module: "registry", packages: []string{"."}, name: "registry"},
		{module: "ko", packages: []string{"github.com/google/ko"}},
		{module: "kubernetes", packages: []string{
			"k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kube-controller-manager",
			"k8s.io/kubernetes/cmd/kube-scheduler", "k8s.io/kubernetes/cmd/kubelet",
			"k8s.io/kubernetes/cmd/kube-proxy", "k8s.io/kubernetes/cmd/kubectl",
		}, ldflags: fmt.Sprintf("-X %s.gitVersion=%s -X %[1]s.gitMajor=1 -X %[1]s.gitMinor=35", version, kubernetesVersion)},
		{module: "kubernetes", packages: []string{"go.etcd.io/etcd/server/v3"}, name: "etcd"},
		{module: "coredns", packages: []string{"github.com/coredns/coredns"}},
		{module: "kn", packages: []string{"knative.dev/client/cmd/kn"}},
	}
}

// build makes what is not built yet, or was of other sources.
func (c *cluster) build(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(c.dir, "bin"), 0o755); err != nil {
		return err
	}
	for _, p := range programs() {
		if err := c.buildProgram(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) moduleDir(module string) string {
	return filepath.Join(c.source, "test/cluster/tools", module)
}

func (c *cluster) buildProgram(ctx context.Context, p program) error {
	dir := c.moduleDir(p.module)
	out := filepath.Join(c.dir, "bin") + string(filepath.Separator)
	title := p.module
	if p.name != "" {
		out, title = filepath.Join(out, p.name), p.name
	}
	args := append([]string{"build", "-trimpath", "-v", "-ldflags", strings.TrimSpace("-s " + p.ldflags), "-o", out}, p.packages...)
	made := func() bool {
		return !slices.ContainsFunc(c.made(p), func(file string) bool { _, err := os.Stat(file); return err != nil })
	}
	return c.once("built-"+title, made, func() (string, error) { return c.sumOf(dir, args) }, func() error {
		c.say("  build %s", title)
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = dir, compiling()
		return c.watched(cmd, func(lines int) {
			c.waitFor("build %s: %d packages compiled", title, lines)
		})
	})
}

// compiling is the environment in which tools are compiled. Nobody debugs them,
// so the compiler describes nothing for a debugger; and it is faster when it
// collects its garbage more seldom. Each is an eighth of the time.
func compiling() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+compileFlags, "GOGC=400", "GOMEMLIMIT=3GiB")
}

const compileFlags = "-buildvcs=false -gcflags=all=-dwarf=false -ldflags=-s"

// made are the files that a program is built into.
func (c *cluster) made(p program) []string {
	if p.name != "" {
		return []string{c.bin(p.name)}
	}
	files := make([]string, len(p.packages))
	for i, name := range p.packages {
		files[i] = c.bin(path.Base(name))
	}
	return files
}

// sumOf is of a module and of what is done with it.
func (c *cluster) sumOf(dir string, args []string) (string, error) {
	sum := sha256.New()
	files, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil {
		return "", err
	}
	for _, file := range files { // go.mod, go.sum and what main there is
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		sum.Write(data)
	}
	fmt.Fprintln(sum, runtime.Version(), compileFlags, args)
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
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

// watched runs a command and tells how many lines it has written to its error
// output, the last of which are in the error.
func (c *cluster) watched(cmd *exec.Cmd, tell func(lines int)) error {
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
		tell(lines)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:2], " "), err, strings.Join(last, "\n"))
	}
	return nil
}
