//go:build linux && e2e

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDownLeavesNothing ends the cluster that runs, and looks for what it had:
// not by its names alone, but for the very namespaces of its node.
func TestDownLeavesNothing(t *testing.T) {
	c := clusterHere(t)
	r, err := c.recorded(node)
	if err != nil {
		t.Fatalf("no cluster runs: %v", err)
	}
	var namespaces []string
	for _, kind := range []string{"pid", "mnt", "net", "uts", "ipc"} {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", r.PID, kind))
		if err != nil {
			t.Fatal(err)
		}
		namespaces = append(namespaces, link)
	}
	if n := len(inside(t, namespaces)); n < 20 {
		t.Fatalf("%d processes are in the node's namespaces: this would see nothing", n)
	}
	if err := c.down(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := inside(t, namespaces)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for gone := time.After(10 * time.Second); len(left) > 0; left = inside(t, namespaces) { // one may still be exiting
		select {
		case <-tick.C:
			continue
		case <-gone:
		}
		t.Errorf("in the node's namespaces: %v", left)
		break
	}
	for _, path := range []string{"/sys/class/net/" + linkName, c.run, c.state, filepath.Join(c.dir, "env")} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	for _, dir := range hierarchies() {
		if _, err := os.Stat(filepath.Join(dir, cgroup)); err == nil {
			t.Errorf("the cgroup %s is left", filepath.Join(dir, cgroup))
		}
	}
	for _, m := range mounts() {
		if strings.Contains(m.at, c.dir) || strings.Contains(m.at, "/cni-") {
			t.Errorf("the mount %s is left", m.at)
		}
	}
	if err := c.down(t.Context()); err != nil {
		t.Errorf("down a second time: %v", err)
	}
}

func clusterHere(t *testing.T) *cluster {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, ".cluster")
	return &cluster{source: root, dir: dir, run: filepath.Join(dir, "run"), state: filepath.Join(dir, "state"), progress: newProgress(io.Discard)}
}

// inside are the processes that are in one of the namespaces.
func inside(t *testing.T, namespaces []string) (found []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil {
			continue // it has ended
		}
		for _, n := range namespaces {
			if to == n {
				found = append(found, link)
			}
		}
	}
	return found
}
