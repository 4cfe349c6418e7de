//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// bringUp brings up what does not run yet. What was interrupted goes on where it
// was; a node that lost a process is made anew.
func (c *cluster) bringUp(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(c.dir, "log"), 0o755); err != nil {
		return err
	}
	err := c.steps(ctx,
		step{"look what this machine has", c.preflight},
		step{"build the programs (ten minutes the first time)", c.build},
	)
	if err != nil {
		return err
	}
	if why := c.whole(); why != nil {
		if err := c.renew(ctx, why); err != nil {
			return err
		}
	}
	err = c.steps(ctx,
		step{"make the images of PostgreSQL and Redis", c.images},
		step{"install Knative (some minutes the first time)", c.knative},
		step{"start the ingress", c.ingress},
		step{"start PostgreSQL, Redis and the S3 server", c.services},
		step{"publish the shipped models", c.models}, // while Knative starts
		step{"wait for Knative", c.knativeReady},
	)
	if err != nil {
		return err
	}
	return c.announce()
}

// whole returns why the node has to be made anew, unless it runs with all its
// processes and is of this configuration.
func (c *cluster) whole() error {
	sum, err := c.nodeSum()
	if err != nil {
		return err
	}
	had, err := os.ReadFile(filepath.Join(c.run, "sum"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("it was never finished, or its records are gone")
	case err != nil:
		return err
	case string(had) != sum:
		return errors.New("it was made of other programs, or configured otherwise")
	}
	return c.check(daemons()...)
}

// daemons are the node's processes, in the order they start.
func daemons() []string {
	return []string{
		node, "registry", "registry-node", "etcd", "apiserver", "controller-manager", "scheduler",
		"containerd", "kubelet", "proxy", "coredns",
	}
}

// renew starts the node, after removing what is left of one before; why is
// the reason, which it prints.
func (c *cluster) renew(ctx context.Context, why error) error {
	if len(c.leftovers()) > 0 {
		c.printf("the node is made anew, and the models and databases in it are lost: %v", why)
		if err := c.step(ctx, step{"remove what is left of the node before", c.end}); err != nil {
			return err
		}
	}
	sum, err := c.nodeSum()
	if err != nil {
		return err
	}
	for _, dir := range []string{c.run, c.state} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	err = c.steps(ctx,
		step{"start the node's namespaces", c.startNode},
		step{"start the registry", c.registries},
		step{"make the base images", c.bases},
		step{"start Kubernetes", func(ctx context.Context) error {
			// The environment is for whoever wants to see what the rest waits for.
			return errors.Join(c.pki(), c.controlPlane(ctx), c.writeEnvironment())
		}},
		step{"start the node", c.node},
	)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.run, "sum"), []byte(sum), 0o600)
}

// nodeSum is of what the node is made of: it is made anew when that changes.
func (c *cluster) nodeSum() (string, error) {
	sum := sha256.New()
	for _, name := range configuration() {
		text, err := conf.ReadFile("conf/" + name)
		if err != nil {
			return "", err
		}
		sum.Write(text)
	}
	for _, m := range modules() {
		for _, name := range m.programs {
			info, err := os.Stat(c.bin(name))
			if err != nil {
				return "", err
			}
			fmt.Fprintln(sum, name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}
