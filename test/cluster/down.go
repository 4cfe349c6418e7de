//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// down ends everything, whatever state it is in, and looks that nothing is left.
// What was built, the images and the logs stay.
func (c *cluster) down(ctx context.Context) error {
	err := c.step(ctx, step{"end the node, and all in it", c.end})
	if err != nil {
		return err
	}
	if left := c.leftovers(); len(left) > 0 {
		return fmt.Errorf("this is left:\n  %s", strings.Join(left, "\n  "))
	}
	c.printf("nothing is left but .cluster/, with what was built")
	return nil
}

// end kills the node's first process, upon which the kernel ends all others in
// it, and removes what is not a process.
func (c *cluster) end(ctx context.Context) error {
	if err := c.kill(node); err != nil {
		return err
	}
	// One that nobody has a record of any more, of this checkout or another, holds
	// the machine's addresses all the same.
	for _, p := range processes() {
		if p.isNode() {
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // it may end meanwhile
		}
	}
	err := c.until(ctx, 30*time.Second, "the kernel to end the node's processes", func(context.Context) error {
		if left := c.leftProcesses(); len(left) > 0 {
			return fmt.Errorf("these run:\n  %s", strings.Join(left, "\n  "))
		}
		if _, err := os.Stat("/sys/class/net/" + linkName); err == nil {
			return errors.New("the link is still there")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(removeCgroups(), c.removeState())
}

func (c *cluster) removeState() error {
	made, err := os.ReadFile(filepath.Join(c.run, "folders"))
	if err == nil {
		for folder := range strings.Lines(string(made)) {
			_ = os.Remove(strings.TrimSpace(folder)) // only if nobody else put something there
		}
	}
	return errors.Join(os.RemoveAll(c.state), os.RemoveAll(c.run), os.RemoveAll(filepath.Join(c.dir, "env")))
}

// cgroup is the root below which the kubelet keeps its pods: one of our own, so
// that what is below it is ours.
const cgroup = "modelserve-cluster"

func makeCgroups() error {
	for _, dir := range hierarchies() {
		if dir == unified {
			if err := delegate(dir); err != nil {
				return err
			}
		}
		dir = filepath.Join(dir, cgroup)
		if err := os.Mkdir(dir, 0o755); errors.Is(err, os.ErrExist) {
			continue
		} else if err != nil {
			return err
		}
		// A new group of a cpuset hierarchy (version 1) has no processors.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			whole, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
			if err != nil || strings.TrimSpace(string(whole)) == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), whole, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// unified is where version 2 is when there is no version 1, and where the kubelet
// looks for it.
const unified = "/sys/fs/cgroup"

// delegate lets the groups below dir have the controllers that the kubelet insists
// on, as far as the kernel has them: in version 2 each has to be handed down.
func delegate(dir string) error {
	has, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var wanted []string
	for _, name := range strings.Fields(string(has)) {
		if slices.Contains([]string{"cpu", "cpuset", "hugetlb", "memory", "pids"}, name) {
			wanted = append(wanted, "+"+name)
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(strings.Join(wanted, " ")), 0o600)
}

// hierarchies are where cgroups are mounted: one of version 2, or several of 1.
func hierarchies() []string {
	var found []string
	for _, m := range mounts() {
		if m.kind == "cgroup" || m.kind == "cgroup2" {
			found = append(found, m.at)
		}
	}
	return found
}

type mount struct{ at, kind string }

func mounts() []mount {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	var found []mount
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 2 {
			found = append(found, mount{fields[1], fields[2]})
		}
	}
	return found
}

// cgroups are ours, the innermost first.
func cgroups() []string {
	var found []string
	for _, dir := range hierarchies() {
		_ = filepath.WalkDir(filepath.Join(dir, cgroup), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				found = append(found, path)
			}
			return nil // it may go while we look
		})
	}
	slices.Reverse(found)
	return found
}

func removeCgroups() error {
	var errs []error
	for _, dir := range cgroups() {
		if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// ours reports whether a path is one of the cluster's.
func (c *cluster) ours(path string) bool { return strings.HasPrefix(path, c.dir+"/") }

// leftProcesses are the nodes, what is in our cgroups, and what names our files:
// but neither whoever called us by such a name, nor who reads a log.
func (c *cluster) leftProcesses() []string {
	var members []int
	for _, dir := range cgroups() {
		list, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue // it has gone
		}
		for number := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(number); err == nil {
				members = append(members, pid)
			}
		}
	}
	callers := ancestors(os.Getpid())
	var left []string
	for _, p := range processes() {
		if !slices.Contains(callers, p.pid) && (slices.Contains(members, p.pid) || p.isNode() || slices.ContainsFunc(p.args, c.inUse)) {
			left = append(left, p.String())
		}
	}
	return left
}

// inUse reports whether a path is one of the cluster's that only its own
// processes have to do with.
func (c *cluster) inUse(path string) bool {
	return c.ours(path) && !strings.HasPrefix(path, filepath.Join(c.dir, "log")+"/")
}

type process struct {
	pid  int
	args []string
}

// isNode reports whether it is a node's first process, of any checkout.
func (p process) isNode() bool {
	return len(p.args) == 2 && p.args[1] == nodeCommand && filepath.IsAbs(p.args[0]) && filepath.Base(p.args[0]) == "cluster"
}

func (p process) String() string {
	line := strings.Join(p.args, " ")
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	return fmt.Sprintf("process %d: %s", p.pid, line)
}

// processes are all that have a command line: the kernel's have none, nor has
// one that has ended.
func processes() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && len(line) > 0 {
			all = append(all, process{pid, strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")})
		}
	}
	return all
}

// ancestors are a process, who started it, who started that, and so on.
func ancestors(pid int) []int {
	var all []int
	for pid > 0 {
		all = append(all, pid)
		fields, err := stat(pid)
		if err != nil {
			break
		}
		if pid, err = strconv.Atoi(fields[1]); err != nil {
			break
		}
	}
	return all
}

// leftovers are what down should have ended or removed.
func (c *cluster) leftovers() []string {
	left := c.leftProcesses()
	for _, m := range mounts() {
		if c.ours(m.at) {
			left = append(left, "mount "+m.at)
		}
	}
	for _, path := range []string{"/sys/class/net/" + linkName, c.run, c.state} {
		if _, err := os.Lstat(path); err == nil {
			left = append(left, path)
		}
	}
	return append(left, cgroups()...)
}

// status prints what runs.
func (c *cluster) status() error {
	files, err := filepath.Glob(filepath.Join(c.run, "*.pid.json"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		fmt.Println("there is no cluster of this checkout: make cluster")
		return nil
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".pid.json")
		state := "runs"
		if !c.up(name) {
			state = "has ended; make cluster starts all anew"
		}
		fmt.Printf("  %-20s %s\n", name, state)
	}
	return nil
}
