//go:build linux

// Cluster brings up a real Kubernetes with a real Knative on this machine, for
// tests and for anything that must be believed: one node in a network namespace
// of its own, and everything but containerd and runc built from Go modules.
//
// It is for one machine and one user. What runs on it comes from config/, the
// same as anywhere else; nothing here is part of the product.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const usage = `Usage: go run ./test/cluster COMMAND

  up            bring up Kubernetes, Knative, PostgreSQL, Redis and an S3 server
  down          stop all of it and leave nothing behind but what was built
  status        show what runs
  restart NAME  kill one of its processes, and start it again

make cluster and make cluster-down call the first two. What was built stays in
.cluster/, so that the next time takes a minute or two; rm -r .cluster removes
that too, once the cluster is down.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := open()
	if err == nil {
		err = exceptFromProxies()
	}
	if err == nil {
		err = c.command(ctx, os.Args[1:])
	}
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2) //nolint:gocritic // nothing is left to stop
	case err != nil:
		fmt.Fprintf(os.Stderr, "cluster: %v\n", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("expected up, down, status or restart")

func (c *cluster) command(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == "restart" {
		return c.locked(func() error { return c.restart(ctx, args[1]) })
	}
	if len(args) != 1 {
		return errUsage
	}
	switch args[0] {
	case "up":
		return c.locked(func() error { return c.bringUp(ctx) })
	case "down":
		return c.locked(func() error { return c.down(ctx) })
	case "status":
		return c.status()
	case nodeCommand: // not for people
		return c.beNode()
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	default:
		return errUsage
	}
}

// cluster is what one machine can have one of.
type cluster struct {
	source string // the checkout
	dir    string // all that it makes: .cluster
	run    string // in it, what ends with the cluster: keys, configuration, records of processes
	state  string // in it, what Kubernetes keeps; ends with the cluster too
	*progress
}

// lockFile is the machine's: the addresses are, and there can be one of each. It
// names the checkout whose cluster runs.
const lockFile = "/run/modelserve-cluster.lock"

func open() (*cluster, error) {
	source, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(source, "test/cluster/main.go")); err != nil {
		return nil, errors.New("run it from the repository's root")
	}
	dir := filepath.Join(source, ".cluster")
	return &cluster{
		source: source, dir: dir, run: filepath.Join(dir, "run"), state: filepath.Join(dir, "state"),
		progress: newProgress(os.Stderr),
	}, nil
}

func (c *cluster) bin(name string) string { return filepath.Join(c.dir, "bin", name) }

// locked runs f while nobody else changes this machine's cluster, which must be
// this checkout's.
func (c *cluster) locked(f func() error) (err error) {
	if os.Getuid() != 0 {
		return errNotRoot
	}
	lock, err := os.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.New("another make cluster, or make cluster-down, is at work on this machine; wait for it")
	}
	owner, err := io.ReadAll(lock)
	if err != nil {
		return err
	}
	if other := string(owner); other != "" && other != c.source {
		theirs := &cluster{run: filepath.Join(other, ".cluster/run")}
		if theirs.up(node) {
			return fmt.Errorf("this machine's cluster is that of %s: make cluster-down there first", other)
		}
	}
	if err := errors.Join(lock.Truncate(0), writeAt(lock, c.source)); err != nil {
		return err
	}
	return f()
}

// exceptFromProxies has this process, and all that it starts, reach the
// cluster without the proxies that the environment may name.
func exceptFromProxies() error {
	upper, lower := withoutProxy(os.Getenv("NO_PROXY"), os.Getenv("no_proxy"))
	return errors.Join(os.Setenv("NO_PROXY", upper), os.Setenv("no_proxy", lower))
}

// withoutProxy adds the cluster to what is reached without a proxy, which some
// programs read by one name and some by the other.
func withoutProxy(upper, lower string) (string, string) {
	with := func(had, other string) string {
		if had == "" {
			had = other
		}
		all := strings.FieldsFunc(had, func(r rune) bool { return r == ',' || r == ' ' })
		for _, own := range []string{linkNet, serviceIP, podCIDR, ".svc", ".test"} {
			if !slices.Contains(all, own) {
				all = append(all, own)
			}
		}
		return strings.Join(all, ",")
	}
	return with(upper, lower), with(lower, upper)
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}
