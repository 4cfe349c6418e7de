//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// errNotRoot does not suggest sudo make: sudo hides a Go that is not the system's, and
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
		// What the platform itself is built and fetched with.
		"cc":                   "gcc",
		"/usr/include/stdio.h": "libc6-dev",
		"pip3":                 "python3-pip",
	}
}

// preflight returns why it cannot work here, all of it at once, and what to do.
func (c *cluster) preflight(ctx context.Context) error {
	if missing := missingPackages(); len(missing) > 0 {
		if err := c.install(ctx, missing); err != nil {
			return err
		}
	}
	faults := []error{mayMakeNamespaces(ctx), mayMakeCgroups(), c.room()}
	if !c.up("registry") {
		if l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", registry); err != nil {
			faults = append(faults, fmt.Errorf("the registry's address %s is taken: make cluster-down, or stop what listens there (%w)", registry, err))
		} else {
			l.Close()
		}
	}
	return errors.Join(append(faults, foreignAddresses())...)
}

// mayMakeNamespaces tries what the node begins with.
func mayMakeNamespaces(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: ownNamespaces}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("no namespaces can be made here; a container has to be a privileged one (%w)", err)
	}
	return nil
}

func mayMakeCgroups() error {
	dirs := hierarchies()
	if len(dirs) == 0 {
		return errors.New("no cgroups are mounted here")
	}
	for _, dir := range dirs {
		try := filepath.Join(dir, cgroup+"-try")
		if err := errors.Join(os.Mkdir(try, 0o755), syscall.Rmdir(try)); err != nil {
			return fmt.Errorf("no cgroups can be made here; a container has to be a privileged one (%w)", err)
		}
	}
	return nil
}

// room asks for the disk that building takes, where nothing is built yet, and
// for what a cluster takes: 4 GiB in its folder and 1 of what the tests build. With
// them go the sources of Kubernetes and Knative, and what Go keeps of compiling them.
func (c *cluster) room() error {
	wanted := uint64(12 << 30)
	if _, err := os.Stat(c.bin("kubelet")); err == nil {
		wanted = 6 << 30
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(c.dir, &disk); err != nil {
		return fmt.Errorf("look for room at %s: %w", c.dir, err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < wanted {
		return fmt.Errorf("%d GiB are free at %s, and this takes up to %d GiB", free>>30, c.dir, wanted>>30)
	}
	return nil
}

// foreignAddresses refuses a machine that has something else at the cluster's
// addresses.
func foreignAddresses() error {
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	var faults []error
	for _, link := range links {
		found, err := link.Addrs()
		if err != nil || link.Name == linkName {
			continue
		}
		for _, a := range found {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				faults = append(faults, takenBy(prefix, link.Name))
			}
		}
	}
	table, err := os.ReadFile("/proc/net/route")
	servers, errServers := os.ReadFile("/etc/resolv.conf")
	if errors.Is(errServers, os.ErrNotExist) {
		errServers = nil
	}
	return errors.Join(append(faults, err, errServers, takenRoutes(string(table)), takenServers(string(servers)))...)
}

func addresses() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix(linkNet), netip.MustParsePrefix(serviceIP), netip.MustParsePrefix(podCIDR)}
}

// takenBy reports an interface that has one of the cluster's addresses, or is in
// a network that has the node's.
func takenBy(prefix netip.Prefix, link string) error {
	for _, own := range addresses() {
		if own.Contains(prefix.Addr()) || prefix.Contains(netip.MustParseAddr(nodeIP)) {
			return fmt.Errorf("%s of the interface %s is among the cluster's addresses %s", prefix, link, own)
		}
	}
	return nil
}

// takenRoutes reports the routes in /proc/net/route that lead some of the
// cluster's addresses elsewhere. A wider one gives way to the cluster's.
func takenRoutes(table string) error {
	var faults []error
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[0] == linkName {
			continue
		}
		to, err := strconv.ParseUint(fields[1], 16, 32)
		mask, errMask := strconv.ParseUint(fields[7], 16, 32)
		if err != nil || errMask != nil {
			continue // the headings
		}
		var at [4]byte
		binary.NativeEndian.PutUint32(at[:], uint32(to))
		route := netip.PrefixFrom(netip.AddrFrom4(at), bits.OnesCount32(uint32(mask)))
		for _, own := range addresses() {
			if own.Contains(route.Addr()) && route.Bits() >= own.Bits() {
				faults = append(faults, fmt.Errorf("the route to %s by %s takes some of the cluster's addresses %s", route, fields[0], own))
			}
		}
	}
	return errors.Join(faults...)
}

// takenServers reports the name servers that would be looked for in the cluster.
func takenServers(resolv string) error {
	var faults []error
	for line := range strings.Lines(resolv) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		server, err := netip.ParseAddr(fields[1])
		for _, own := range addresses() {
			if err == nil && own.Contains(server) {
				faults = append(faults, fmt.Errorf("the name server %s of /etc/resolv.conf is among the cluster's addresses %s", server, own))
			}
		}
	}
	return errors.Join(faults...)
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

// install brings Debian's packages, or returns how to.
func (c *cluster) install(ctx context.Context, packages []string) error {
	list := strings.Join(packages, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("install first, by this system's means: %s", list)
	}
	c.printf("  install %s", list)
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
