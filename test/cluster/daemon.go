//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is a process that outlives the command that started it. All but the
// node itself end with the node.
type daemon struct {
	name string
	args []string // the program first
	host bool     // in the machine's network, not the node's
}

// record is what is known of a process that was started. The start time
// distinguishes it from a later one with its number.
type record struct {
	PID     int      `json:"pid"`
	Started string   `json:"started"` // in clock ticks since the machine's start
	Args    []string `json:"args"`
}

func (c *cluster) recordFile(name string) string { return filepath.Join(c.run, name+".pid.json") }

func (c *cluster) recorded(name string) (r record, err error) {
	data, err := os.ReadFile(c.recordFile(name))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}

// up reports whether the very process that was started still runs.
func (c *cluster) up(name string) bool {
	r, err := c.recorded(name)
	return err == nil && r.alive()
}

func (r record) alive() bool {
	started, err := startTime(r.PID)
	return err == nil && started == r.Started
}

// startTime is the 22nd field of a process's stat.
func startTime(pid int) (string, error) {
	fields, err := stat(pid)
	if err != nil {
		return "", err
	}
	if fields[0] == "Z" {
		return "", errors.New("not a living process")
	}
	return fields[19], nil
}

// stat has a process's fields (proc(5)) from the third on, its state: the second
// is a name that may have anything.
func stat(pid int) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	end := strings.LastIndex(string(data), ") ")
	if end < 0 {
		return nil, errors.New("not a process's stat")
	}
	fields := strings.Fields(string(data)[end+2:])
	if len(fields) < 20 {
		return nil, errors.New("not a process's stat")
	}
	return fields, nil
}

// start starts a daemon in the node's namespaces.
func (c *cluster) start(d daemon) error {
	n, err := c.recorded(node)
	if err != nil {
		return err
	}
	args := []string{"nsenter", "--target", strconv.Itoa(n.PID), "--pid", "--mount", "--uts", "--ipc"}
	if !d.host {
		args = append(args, "--net")
	}
	return c.spawn(d.name, append(append(args, "--"), d.args...), nil)
}

// spawn starts a process with its log, and keeps record of it. The log of the one
// before is kept, and shows why that ended.
func (c *cluster) spawn(name string, args []string, attr *syscall.SysProcAttr) error {
	if err := os.Rename(c.logFile(name), c.logFile(name)+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	log, err := os.Create(c.logFile(name))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...) // it outlives us
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.source
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PATH=") }),
		"PATH="+filepath.Join(c.dir, "bin")+":"+os.Getenv("PATH"), "OTEL_TRACES_EXPORTER=none")
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	attr.Setsid = true
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	if err := c.keep(name, cmd.Process.Pid, args); err != nil {
		_, _ = cmd.Process.Kill(), cmd.Wait() // nobody would know of it
		return fmt.Errorf("start %s: %w\n%s", name, err, c.logTail(name))
	}
	return cmd.Process.Release()
}

// keep keeps record of a process.
func (c *cluster) keep(name string, pid int, args []string) error {
	started, err := startTime(pid)
	if err != nil {
		return err
	}
	data, err := json.Marshal(record{pid, started, args})
	if err != nil {
		return err
	}
	return replace(c.recordFile(name), data)
}

// replace writes a file whole or not at all.
func replace(file string, data []byte) error {
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// restart kills a daemon, as a crash would, and starts it again.
func (c *cluster) restart(ctx context.Context, name string) error {
	r, err := c.recorded(name)
	if err != nil || name == node {
		return fmt.Errorf("expected one of %s, got %q", strings.Join(daemons()[1:], ", "), name)
	}
	// What was started is nsenter; the daemon is its child, in the node.
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", r.PID))
	if err != nil {
		return err
	}
	for child := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(child)
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	err = c.until(ctx, 10*time.Second, name+" to end", func(context.Context) error {
		if r.alive() {
			return errors.New("it has not")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.spawn(name, r.Args, nil)
}

// check fails when a daemon has ended, with the end of its log.
func (c *cluster) check(names ...string) error {
	for _, name := range names {
		if !c.up(name) {
			return fatalError{fmt.Errorf("%s has ended; the end of %s:\n%s", name, c.logFile(name), c.logTail(name))}
		}
	}
	return nil
}

// fatalError is one that waiting does not mend.
type fatalError struct{ error }

// kill ends a process that was started, and its record. A record that cannot be
// read is none.
func (c *cluster) kill(name string) error {
	r, err := c.recorded(name)
	if err != nil {
		return os.RemoveAll(c.recordFile(name))
	}
	for end := time.Now().Add(20 * time.Second); r.alive(); time.Sleep(20 * time.Millisecond) {
		_ = syscall.Kill(r.PID, syscall.SIGKILL) // it may end meanwhile
		if time.Now().After(end) {
			return fmt.Errorf("%s, process %d, does not end", name, r.PID)
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
