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
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

const usage = `Usage: go run ./test/cluster COMMAND

  up      bring up Kubernetes, Knative, PostgreSQL, Redis and an S3 server
  down    stop all of it and leave nothing behind but what was built
  status  say what runs

make cluster and make cluster-down call the first two. What was built stays in
.cluster/, so that the next time takes a minute or two; make cluster-clean
removes that too.
`

func main() {
	if len(os.Args) != 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := open()
	if err == nil {
		err = c.command(ctx, os.Args[1])
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

var errUsage = errors.New("expected up, down or status")

func (c *cluster) command(ctx context.Context, name string) error {
	switch name {
	case "up":
		return c.locked(func() error { return c.up(ctx) })
	case "down":
		return c.locked(func() error { return c.down(ctx) })
	case "status":
		return c.status()
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
	dir    string // what is kept: programs, images, logs, data
	run    string // what ends with it: sockets, configuration, records of processes
	*progress
}

// runDir is the same for every checkout: the namespace and the addresses are
// the machine's, and there can be one of each.
const runDir = "/run/modelserve-cluster"

func open() (*cluster, error) {
	source, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(source, "test/cluster/main.go")); err != nil {
		return nil, errors.New("run it from the repository's root")
	}
	return &cluster{source: source, dir: filepath.Join(source, ".cluster"), run: runDir, progress: newProgress(os.Stderr)}, nil
}

func (c *cluster) bin(name string) string { return filepath.Join(c.dir, "bin", name) }

// locked runs f while nobody else changes the cluster.
func (c *cluster) locked(f func() error) (err error) {
	if os.Getuid() != 0 {
		return errNotRoot
	}
	if err := os.MkdirAll(c.run, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(c.run+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.New("another make cluster, or make cluster-down, is at work on this machine; wait for it")
	}
	return f()
}

// own claims the machine for this checkout, or says whose it is.
func (c *cluster) own() error {
	file := filepath.Join(c.run, "owner")
	owner, err := os.ReadFile(file)
	if err == nil && string(owner) != c.source {
		if _, gone := os.Stat(string(owner)); gone == nil {
			return fmt.Errorf("this machine has a cluster already, of %s: make cluster-down there first", owner)
		}
	}
	return os.WriteFile(file, []byte(c.source), 0o600)
}
