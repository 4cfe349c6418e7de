//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// daemon is a process that outlives the command that started it.
type daemon struct {
	name string
	args []string // the program first
	node bool     // in the node's network namespace
	more []string // of its environment
	grace time.Duration
}

// record is what is known of a daemon that was started. The start time tells a
// process from a later one with its number.
type record struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // in clock ticks since the machine's start
	Sum     string `json:"sum"`     // of its arguments and configuration
}

func (c *cluster) recordFile(name string) string { return filepath.Join(c.run, name+".pid.json") }

func (c *cluster) recorded(name string) (r record, err error) {
	data, err := os.ReadFile(c.recordFile(name))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}

// alive reports whether the very process still runs.
func (r record) alive() bool {
	started, err := startTime(r.PID)
	return err == nil && started == r.Started
}

// startTime is the 22nd field of a process's stat (proc(5)).
func startTime(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	_, rest, ok := strings.Cut(string(data), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 || fields[0] == "Z" {
		return "", errors.New("not a living process")
	}
	return fields[19], nil
}

// daemon starts d, unless it runs already as it should; what it depends on
// besides its arguments is in config. It says whether it started it.
func (c *cluster) start(ctx context.Context, d daemon, config ...string) error {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(slices.Concat(d.args, d.more, config), "\x00"))))
	if r, err := c.recorded(d.name); err == nil && r.alive() {
		if r.Sum == sum {
			return nil
		}
		c.say("  %s changed: start it again", d.name)
		if err := c.stop(ctx, d.name, d.grace); err != nil {
			return err
		}
	}
	args := d.args
	if d.node {
		// Only its network: `ip netns exec` would also remount /sys, and hide the
		// cgroups from the kubelet and runc.
		args = append([]string{"nsenter", "--net=" + netnsFile}, args...)
	}
	if err := os.MkdirAll(filepath.Join(c.dir, "log"), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(c.logFile(d.name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec,noctx // ours, and to outlive us
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.Env = slices.Concat(os.Environ(), []string{"PATH=" + filepath.Join(c.dir, "bin") + ":" + os.Getenv("PATH")}, d.more)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", d.name, err)
	}
	started, err := startTime(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("start %s: %w\n%s", d.name, err, c.logTail(d.name))
	}
	data, err := json.Marshal(record{cmd.Process.Pid, started, sum})
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(c.recordFile(d.name), data, 0o600), cmd.Process.Release())
}

// check fails when the daemon has ended, with the end of its log.
func (c *cluster) check(name string) error {
	r, err := c.recorded(name)
	if err == nil && r.alive() {
		return nil
	}
	return fmt.Errorf("%s has ended: %s\n%s", name, c.logFile(name), c.logTail(name))
}

// stop ends a daemon, if it is there, and its record.
func (c *cluster) stop(ctx context.Context, name string, grace time.Duration) error {
	r, err := c.recorded(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if grace <= 0 {
		grace = 10 * time.Second
	}
	if r.alive() {
		_ = syscall.Kill(r.PID, syscall.SIGTERM) // it may end meanwhile
		deadline := time.Now().Add(grace)
		for r.alive() && time.Now().Before(deadline) && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		if r.alive() {
			_ = syscall.Kill(r.PID, syscall.SIGKILL)
		}
		for end := time.Now().Add(5 * time.Second); r.alive(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("%s, process %d, does not end", name, r.PID)
			}
		}
	}
	return os.Remove(c.recordFile(name))
}

func (c *cluster) logFile(name string) string { return filepath.Join(c.dir, "log", name+".log") }

// logTail is the end of a daemon's log.
func (c *cluster) logTail(name string) string {
	data, err := os.ReadFile(c.logFile(name))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-8):], "\n    ")
}
