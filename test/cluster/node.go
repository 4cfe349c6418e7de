//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The node is a process that is the first of namespaces of its own, and does
// nothing but to hold them: when it ends, the kernel ends every process that the
// cluster has, with its mounts and its network.
const (
	node        = "node"
	nodeCommand = "be-node"
)

// Its network has one link (a veth pair) to the machine, of addresses that RFC 2544 keeps for
// tests. The machine does not forward for it: nothing in it reaches beyond.
const (
	linkName  = "modelserve0"
	hostIP    = "198.18.0.1"
	nodeIP    = "198.18.0.2"
	linkNet   = "198.18.0.0/30"
	podCIDR   = "10.244.0.0/24"
	serviceIP = "10.96.0.0/16"
)

const ownNamespaces = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC

// private are folders that containerd, the kubelet and CNI write into whatever
// their configuration is: the node has its own.
func private() []string {
	return []string{"/run/containerd", "/run/netns", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods"}
}

// startNode starts the process and makes its link.
func (c *cluster) startNode(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	made, err := makeFolders(private())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.run, "folders"), []byte(strings.Join(made, "\n")), 0o600); err != nil {
		return err
	}
	ready := filepath.Join(c.run, "node.ready")
	err = c.spawn(node, []string{self, nodeCommand}, &syscall.SysProcAttr{Cloneflags: ownNamespaces})
	if err != nil {
		return err
	}
	err = c.until(ctx, 10*time.Second, "the node's namespaces", func(context.Context) error {
		if err := c.check(node); err != nil {
			return err
		}
		_, err := os.Stat(ready)
		return err
	})
	if err != nil {
		return err
	}
	return c.makeLink(ctx)
}

func (c *cluster) makeLink(ctx context.Context) error {
	n, err := c.recorded(node)
	if err != nil {
		return err
	}
	pid := strconv.Itoa(n.PID)
	in := func(args ...string) []string { return append([]string{"nsenter", "--target", pid, "--net"}, args...) }
	for _, args := range [][]string{
		{"ip", "link", "add", linkName, "type", "veth", "peer", "name", "eth0", "netns", pid},
		{"ip", "addr", "add", hostIP + "/30", "dev", linkName},
		{"ip", "link", "set", linkName, "up"},
		{"sysctl", "-qw", "net.ipv4.conf." + linkName + ".forwarding=0"}, // whatever the machine does elsewhere
		in("ip", "addr", "add", nodeIP+"/30", "dev", "eth0"),
		in("ip", "link", "set", "lo", "up"),
		in("ip", "link", "set", "eth0", "up"),
		in("ip", "route", "add", "default", "via", hostIP), // Kubernetes wants one
		in("sysctl", "-qw", "net.ipv4.ip_forward=1"),
		// From the machine to what the cluster has, as long as the link is there.
		{"ip", "route", "add", serviceIP, "via", nodeIP},
		{"ip", "route", "add", podCIDR, "via", nodeIP},
	} {
		if err := run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// makeFolders makes those that are not there, and returns which it made, the
// innermost first.
func makeFolders(folders []string) (made []string, err error) {
	for _, folder := range folders {
		for at := folder; at != "/"; at = filepath.Dir(at) {
			if _, err := os.Stat(at); !errors.Is(err, os.ErrNotExist) {
				break
			}
			made = append(made, at)
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return made, err
		}
	}
	return made, nil
}

// beNode is the node's process: it gives the node its own view of the machine,
// then waits for its children, as the first process of a namespace has to.
func (c *cluster) beNode() error {
	if os.Getpid() != 1 {
		return errUsage
	}
	err := errors.Join(
		// What is mounted here stays here, and is seen by every container that asks.
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, ""),
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""),
		syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""),
		syscall.Sethostname([]byte(nodeName)),
	)
	for _, folder := range private() {
		own := filepath.Join(c.state, "private", folder)
		err = errors.Join(err, os.MkdirAll(own, 0o755))
		err = errors.Join(err, syscall.Mount(own, folder, "", syscall.MS_BIND, ""))
	}
	if err != nil {
		return fmt.Errorf("make the node's view of the machine: %w", err)
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	if err := os.WriteFile(filepath.Join(c.run, "node.ready"), nil, 0o600); err != nil {
		return err
	}
	for range children {
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}

// run runs a command to its end; what it printed is in the error.
func run(ctx context.Context, args ...string) error {
	_, err := output(ctx, "", args...)
	return err
}

// output runs a command with an input and returns what it wrote.
func output(ctx context.Context, input string, args ...string) (string, error) {
	return finish(exec.CommandContext(ctx, args[0], args[1:]...), input)
}

func finish(cmd *exec.Cmd, input string) (string, error) {
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		return out.String(), fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:min(len(cmd.Args), 6)], " "), err,
			strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	return out.String(), nil
}
