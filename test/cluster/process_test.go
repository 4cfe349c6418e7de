//go:build linux

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newCluster is one of no node, in a folder of its own.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	dir := t.TempDir()
	c := &cluster{source: dir, dir: dir, run: filepath.Join(dir, "run"), state: filepath.Join(dir, "state"), progress: newProgress(io.Discard)}
	for _, folder := range []string{c.run, filepath.Join(dir, "log")} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// follow starts a process that has a file in its command line, until the test ends.
func follow(t *testing.T, file string) int {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "tail", "-f", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	return cmd.Process.Pid
}

func TestLeftProcesses(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	follow(t, filepath.Join(c.dir, "log", "etcd.log")) // a reader of logs is in nobody's way
	mine := func() []string {
		return slices.DeleteFunc(c.leftProcesses(), func(line string) bool { return !strings.Contains(line, c.dir) })
	}
	if left := mine(); len(left) > 0 {
		t.Errorf("what reads a log is left: %v", left)
	}
	used := filepath.Join(c.run, "containerd.toml")
	child := follow(t, used)
	if left := mine(); len(left) != 1 || !strings.Contains(left[0], "tail -f "+used) {
		t.Errorf("expected the command line of what uses the cluster's files, got %v", left)
	}
	if all := ancestors(child); len(all) < 3 || all[0] != child || all[1] != os.Getpid() || all[2] != os.Getppid() {
		t.Errorf("%d was started by %v, expected %d and %d", child, all, os.Getpid(), os.Getppid())
	}
	// Whoever calls us by our file's name is not left over from anything.
	named := &cluster{dir: filepath.Dir(os.Args[0])}
	for _, line := range named.leftProcesses() {
		if strings.Contains(line, os.Args[0]) {
			t.Errorf("left: %s", line)
		}
	}
}

func TestIsNode(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"/a/.cluster/bin/cluster be-node":          true,
		"/tmp/go-build12/b001/exe/cluster be-node": true,
		"/a/.cluster/bin/cluster down":             false,
		"sudo /a/.cluster/bin/cluster be-node":     false,
		"cluster be-node":                          false,
	} {
		if got := (process{args: strings.Fields(line)}).isNode(); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	if err := os.WriteFile(c.recordFile(node), []byte(`{"pid": 12`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.kill(node); err != nil {
		t.Errorf("a record cut short: %v", err)
	}
	if _, err := os.Stat(c.recordFile(node)); err == nil {
		t.Error("a record cut short is left")
	}

	// What no record can be kept of must not run. The log before stays.
	file := filepath.Join(c.dir, "followed")
	if err := os.WriteFile(c.logFile("x"), []byte("why it ended"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.run); err != nil {
		t.Fatal(err)
	}
	if err := c.spawn("x", []string{"tail", "--retry", "-f", file}, nil); err == nil {
		t.Error("spawned without a record")
	}
	if before, err := os.ReadFile(c.logFile("x") + ".old"); err != nil || string(before) != "why it ended" {
		t.Errorf("the log before: %q, %v", before, err)
	}
	for _, p := range processes() {
		if slices.Contains(p.args, file) {
			t.Errorf("runs without a record: %v", p)
		}
	}
}
