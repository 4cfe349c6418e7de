//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// errNotRoot does not say sudo make: sudo hides a Go that is not the system's, and
// root's files would be there for the next command that is not root's.
var errNotRoot = errors.New("this needs root: it makes a network namespace and runs containers. Become root, with Go in\n" +
	"PATH, and stay so for what comes after: what this makes, and .cluster/env with its keys, is root's.\n" +
	`  sudo -E env PATH="$PATH" bash`)

// needed are Debian's packages that have what is not built here.
func needed() map[string]string {
	return map[string]string{
		"containerd":       "containerd",
		"runc":             "runc",
		"ip":               "iproute2",
		"nft":              "nftables",
		"/usr/lib/cni/ptp": "containernetworking-plugins",
		"iptables":         "iptables", // the portmap plugin's
		"nsenter":          "util-linux",
		"sysctl":           "procps",
	}
}

// preflight says why it cannot work here, all of it at once, and what to do.
func (c *cluster) preflight(ctx context.Context) error {
	if missing := missingPackages(); len(missing) > 0 {
		if err := c.install(ctx, missing); err != nil {
			return err
		}
	}
	var faults []error
	if info, err := os.Stat("/proc/sys/net/ipv4/ip_forward"); err != nil || info.IsDir() {
		faults = append(faults, errors.New("no network namespaces here: is /proc mounted?"))
	}
	if _, err := os.Stat("/sys/fs/cgroup"); err != nil {
		faults = append(faults, errors.New("no cgroups at /sys/fs/cgroup"))
	}
	if !c.up("registry") {
		if l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", registry); err != nil {
			faults = append(faults, fmt.Errorf("the registry's address %s is taken: make cluster-down, or stop what listens there (%w)", registry, err))
		} else {
			l.Close()
		}
	}
	faults = append(faults, c.foreignAddresses())
	return errors.Join(faults...)
}

// foreignAddresses refuses addresses that this machine has from elsewhere.
func (c *cluster) foreignAddresses() error {
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, link := range links {
		addresses, err := link.Addrs()
		if err != nil || link.Name == cable {
			continue
		}
		for _, a := range addresses {
			if network, ok := a.(*net.IPNet); ok && network.Contains(net.ParseIP(nodeIP)) {
				return fmt.Errorf("the node's address %s is in the network of %s (%s)", nodeIP, link.Name, network)
			}
		}
	}
	return nil
}

func missingPackages() []string {
	var missing []string
	for program, name := range needed() {
		var err error
		if filepath.IsAbs(program) {
			_, err = os.Stat(program)
		} else {
			_, err = exec.LookPath(program)
		}
		if err != nil {
			missing = append(missing, name)
		}
	}
	return missing
}

// install brings Debian's packages, or says how.
func (c *cluster) install(ctx context.Context, packages []string) error {
	list := strings.Join(packages, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("install first, by this system's means: %s", list)
	}
	c.say("  install %s", list)
	c.waitFor("apt-get install")
	if err := run(ctx, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	args := append([]string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"}, packages...)
	if err := run(ctx, args...); err != nil {
		return fmt.Errorf("install it yourself (apt-get install %s): %w", list, err)
	}
	if missing := missingPackages(); len(missing) > 0 {
		return fmt.Errorf("still not here after installing them: %s", strings.Join(missing, " "))
	}
	return nil
}
