//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// The node's network: a namespace with one cable to the machine, of addresses
// that RFC 2544 keeps for tests. The machine does not forward for it, so
// nothing in the cluster reaches beyond.
const (
	netns     = "modelserve-node"
	netnsFile = "/run/netns/" + netns
	cable     = "modelserve0"
	hostIP    = "198.18.0.1"
	nodeIP    = "198.18.0.2"
	podCIDR   = "10.244.0.0/24"
	serviceIP = "10.96.0.0/16"
)

func (c *cluster) network(ctx context.Context) error {
	if _, err := os.Stat(netnsFile); err == nil {
		return nil
	}
	in := func(args ...string) []string { return append([]string{"nsenter", "--net=" + netnsFile}, args...) }
	for _, args := range [][]string{
		{"ip", "netns", "add", netns},
		{"ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", netns},
		{"ip", "addr", "add", hostIP + "/30", "dev", cable},
		{"ip", "link", "set", cable, "up"},
		in("ip", "addr", "add", nodeIP+"/30", "dev", "eth0"),
		in("ip", "link", "set", "lo", "up"),
		in("ip", "link", "set", "eth0", "up"),
		in("ip", "route", "add", "default", "via", hostIP), // Kubernetes wants one
		in("sysctl", "-qw", "net.ipv4.ip_forward=1"),
		{"ip", "route", "add", serviceIP, "via", nodeIP}, // goes with the cable
		{"ip", "route", "add", podCIDR, "via", nodeIP},
	} {
		if err := run(ctx, args...); err != nil {
			return errors.Join(err, c.removeNetwork(ctx))
		}
	}
	return nil
}

func (c *cluster) removeNetwork(ctx context.Context) error {
	var errs []error
	if _, err := os.Stat(netnsFile); err == nil {
		errs = append(errs, run(ctx, "ip", "netns", "del", netns))
	}
	if _, err := os.Stat("/sys/class/net/" + cable); err == nil {
		errs = append(errs, run(ctx, "ip", "link", "del", cable))
	}
	return errors.Join(errs...)
}

// run runs a command to its end; what it printed is in the error.
func run(ctx context.Context, args ...string) error {
	_, err := output(ctx, "", args...)
	return err
}

// output runs a command with an input and returns what it wrote.
func output(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // this program's own commands
	return finish(cmd, input)
}

func finish(cmd *exec.Cmd, input string) (string, error) {
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(errs.String())
		if lines := strings.Split(said, "\n"); len(lines) > 20 {
			said = strings.Join(lines[len(lines)-20:], "\n")
		}
		return out.String(), fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:min(len(cmd.Args), 6)], " "), err, said)
	}
	return out.String(), nil
}
