//go:build linux

package main

import (
	"bufio"
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

// makeCgroups makes the root below which the kubelet keeps its pods: one of our
// own, so that what is below it is ours.
func (c *cluster) makeCgroups() error {
	for _, dir := range hierarchies() {
		dir = filepath.Join(dir, cgroup)
		if err := os.Mkdir(dir, 0o755); errors.Is(err, os.ErrExist) {
			continue
		} else if err != nil {
			return err
		}
		// A new group of a cpuset hierarchy (version 1) has no processors.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			whole, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
			if err != nil || len(strings.TrimSpace(string(whole))) == 0 {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), whole, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
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

// down stops everything, whatever state it is in, and looks that nothing is
// left. What was built stays, and so do the images and the published models.
func (c *cluster) down(ctx context.Context) error {
	err := c.steps(ctx,
		step{"stop the node's and Kubernetes' processes", c.stopDaemons},
		step{"end the containers", c.endContainers},
		step{"unmount, and remove network and state", func(ctx context.Context) error {
			return errors.Join(c.stopLast(ctx), c.unmount(), c.removePodNetworks(ctx), c.removeNetwork(ctx), c.removeCgroups(), c.removeState())
		}},
	)
	if err != nil {
		return err
	}
	if left := c.leftovers(); len(left) > 0 {
		return fmt.Errorf("this is left:\n  %s", strings.Join(left, "\n  "))
	}
	c.say("nothing is left but .cluster/, with what was built and published")
	return nil
}

// stopDaemons stops what would start containers again, then containerd.
func (c *cluster) stopDaemons(ctx context.Context) error {
	var errs []error
	for _, name := range []string{"kubelet", "proxy", "scheduler", "controller-manager", "coredns"} {
		errs = append(errs, c.stop(ctx, name, 5*time.Second))
	}
	return errors.Join(errs...)
}

// stopLast stops what others needed to end: an API server without its etcd
// never does.
func (c *cluster) stopLast(ctx context.Context) error {
	var errs []error
	for _, name := range []string{"containerd", "apiserver", "etcd", "registry-node", "registry"} {
		errs = append(errs, c.stop(ctx, name, 3*time.Second))
	}
	return errors.Join(errs...)
}

// endContainers kills what is in our cgroups, then the shims, which end when
// their containers have.
func (c *cluster) endContainers(ctx context.Context) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		pids := append(c.contained(), c.shims()...)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("processes that do not end: %v", pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// contained are the processes in our cgroups.
func (c *cluster) contained() []int {
	var pids []int
	for _, dir := range c.cgroups() {
		file, err := os.Open(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for scan := bufio.NewScanner(file); scan.Scan(); {
			if pid, err := strconv.Atoi(scan.Text()); err == nil {
				pids = append(pids, pid)
			}
		}
		file.Close()
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// cgroups are ours, the innermost first.
func (c *cluster) cgroups() []string {
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

// shims are containerd's processes that hold containers of ours: they name our
// socket.
func (c *cluster) shims() []int {
	socket := filepath.Join(c.run, "containerd.sock")
	return processes(func(args []string) bool {
		return strings.Contains(filepath.Base(args[0]), "containerd-shim") && slices.Contains(args, socket)
	})
}

func processes(wanted func(args []string) bool) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(line) == 0 {
			continue
		}
		if wanted(strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ours reports whether a path is one of the cluster's.
func (c *cluster) ours(path string) bool {
	return strings.HasPrefix(path, c.dir+"/") || strings.HasPrefix(path, c.run+"/")
}

func (c *cluster) unmount() error {
	var errs []error
	for _, m := range slices.Backward(mounts()) {
		if c.ours(m.at) {
			errs = append(errs, syscall.Unmount(m.at, syscall.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// podNetworks are the namespaces of pods, which have our node's bridge at their
// other end: containerd's CNI names them so.
func podNetworks() []string {
	found, _ := filepath.Glob("/run/netns/cni-*") // the pattern is right
	return found
}

func (c *cluster) removePodNetworks(ctx context.Context) error {
	var errs []error
	for _, path := range podNetworks() {
		errs = append(errs, run(ctx, "ip", "netns", "del", filepath.Base(path)))
	}
	return errors.Join(errs...)
}

func (c *cluster) removeCgroups() error {
	var errs []error
	for _, dir := range c.cgroups() {
		if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

func (c *cluster) removeState() error {
	return errors.Join(
		os.RemoveAll(filepath.Join(c.dir, "state")),
		os.RemoveAll(filepath.Join(c.dir, "env")),
		os.RemoveAll(c.run),
	)
}

// leftovers are what down should have ended or removed.
func (c *cluster) leftovers() []string {
	var left []string
	for _, pid := range processes(func(args []string) bool {
		return slices.ContainsFunc(args, c.ours)
	}) {
		if pid != os.Getpid() {
			left = append(left, fmt.Sprintf("process %d", pid))
		}
	}
	for _, m := range mounts() {
		if c.ours(m.at) {
			left = append(left, "mount "+m.at)
		}
	}
	for _, path := range append(podNetworks(), netnsFile, "/sys/class/net/"+cable, c.run) {
		if _, err := os.Lstat(path); err == nil {
			left = append(left, path)
		}
	}
	return append(left, c.cgroups()...)
}

// status says what runs.
func (c *cluster) status() error {
	files, err := filepath.Glob(filepath.Join(c.run, "*.pid.json"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		fmt.Println("there is no cluster on this machine: make cluster")
		return nil
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".pid.json")
		state := "runs"
		if err := c.check(name); err != nil {
			state = "has ended; make cluster starts it again"
		}
		fmt.Printf("  %-20s %s\n", name, state)
	}
	return nil
}
