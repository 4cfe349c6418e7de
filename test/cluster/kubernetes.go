//go:build linux

package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

// conf has what the daemons are configured with, as templates over settings.
//
//go:embed conf
var conf embed.FS

const (
	nodeName = "node0"
	registry = "localhost:5000" // on the machine, for ko; and in the node, for containerd
)

// configuration are the names of what the daemons are configured with.
func configuration() []string {
	return []string{
		"kubeconfig", "containerd.toml", "kubelet.yaml", "cni/10-pods.conflist", "Corefile", "registry.yaml", "registry-node.yaml",
	}
}

// settings are the values of the templates.
type settings struct {
	Dir, Run, State, PKI               string
	NodeIP, NodeName, Registry, Cgroup string
	PodCIDR                            string
}

func (c *cluster) settings() settings {
	return settings{
		Dir: c.dir, Run: c.run, State: c.state, PKI: filepath.Join(c.run, "pki"),
		NodeIP: nodeIP, NodeName: nodeName, Registry: registry, Cgroup: cgroup, PodCIDR: podCIDR,
	}
}

// configure writes what comes of a template into the run folder.
func (c *cluster) configure(name string) error {
	text, err := conf.ReadFile("conf/" + name)
	if err != nil {
		return err
	}
	t, err := template.New(name).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, c.settings()); err != nil {
		return err
	}
	file := filepath.Join(c.run, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o600)
}

// registries serve one folder: to the machine, where ko pushes, and in the
// node, where containerd pulls under the same name and cannot write.
func (c *cluster) registries(ctx context.Context) error {
	for _, name := range []string{"registry", "registry-node"} {
		if err := c.configure(name + ".yaml"); err != nil {
			return err
		}
	}
	c.collectGarbage(ctx)
	for _, name := range []string{"registry", "registry-node"} {
		err := c.start(daemon{name, []string{c.bin("registry"), "serve", filepath.Join(c.run, name+".yaml")}, name == "registry"})
		if err != nil {
			return err
		}
	}
	return c.until(ctx, 20*time.Second, "the registry", func(ctx context.Context) error {
		if err := c.check("registry", "registry-node"); err != nil {
			return err
		}
		res, err := get(ctx, "http://"+registry+"/v2/")
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
}

// collectGarbage frees the registry, while it does not run, of what no tag leads
// to any more: images that were made again. It can do without.
func (c *cluster) collectGarbage(ctx context.Context) {
	if _, err := os.Stat(filepath.Join(c.dir, "registry/docker/registry/v2/repositories")); err != nil {
		return // nothing was pushed yet
	}
	if err := run(ctx, c.bin("registry"), "garbage-collect", "--delete-untagged", "--quiet", filepath.Join(c.run, "registry.yaml")); err != nil {
		c.printf("  the registry keeps its old images: %v", err)
	}
}

// controlPlane starts etcd and the API server with its controllers.
func (c *cluster) controlPlane(ctx context.Context) error {
	pki := func(name string) string { return filepath.Join(c.run, "pki", name) }
	if err := c.configure("kubeconfig"); err != nil {
		return err
	}
	if err := os.MkdirAll(c.state, 0o700); err != nil {
		return err
	}
	err := c.start(daemon{name: "etcd", args: []string{
		c.bin("etcd"), "--data-dir", filepath.Join(c.state, "etcd"), "--log-level", "warn",
		"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "http://127.0.0.1:2380",
		"--unsafe-no-fsync", // nothing here outlives the machine
	}})
	if err != nil {
		return err
	}
	err = c.start(daemon{name: "apiserver", args: []string{
		c.bin("kube-apiserver"), "--etcd-servers", "http://127.0.0.1:2379",
		"--service-cluster-ip-range", serviceIP, "--advertise-address", nodeIP, "--bind-address", nodeIP, "--secure-port", "6443",
		"--tls-cert-file", pki("apiserver.crt"), "--tls-private-key-file", pki("apiserver.key"), "--client-ca-file", pki("ca.crt"),
		"--service-account-key-file", pki("sa.pub"), "--service-account-signing-key-file", pki("sa.key"),
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--authorization-mode", "Node,RBAC", "--allow-privileged",
		"--kubelet-client-certificate", pki("admin.crt"), "--kubelet-client-key", pki("admin.key"),
		"--kubelet-certificate-authority", pki("ca.crt"), "--kubelet-preferred-address-types", "InternalIP",
	}})
	if err != nil {
		return err
	}
	err = c.until(ctx, 2*time.Minute, "the API server", func(ctx context.Context) error {
		if err := c.check("etcd", "apiserver"); err != nil {
			return err
		}
		_, err := c.kubectl(ctx, "", "get", "--raw", "/readyz")
		return err
	})
	if err != nil {
		return err
	}
	kubeconfig := c.kubeconfig()
	return errors.Join(
		c.start(daemon{name: "controller-manager", args: []string{
			c.bin("kube-controller-manager"), "--kubeconfig", kubeconfig, "--leader-elect=false", "--use-service-account-credentials",
			"--service-account-private-key-file", pki("sa.key"), "--root-ca-file", pki("ca.crt"),
			"--cluster-signing-cert-file", pki("ca.crt"), "--cluster-signing-key-file", pki("ca.key"),
		}}),
		c.start(daemon{name: "scheduler", args: []string{
			c.bin("kube-scheduler"), "--kubeconfig", kubeconfig, "--leader-elect=false",
		}}),
	)
}

// node starts what a node has: containerd, the kubelet, the proxy and DNS.
func (c *cluster) node(ctx context.Context) error {
	for _, name := range []string{"containerd.toml", "kubelet.yaml", "cni/10-pods.conflist", "Corefile"} {
		if err := c.configure(name); err != nil {
			return err
		}
	}
	if err := makeCgroups(); err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(c.run, name) }
	err := c.start(daemon{name: "containerd", args: []string{"containerd", "-c", in("containerd.toml")}})
	if err != nil {
		return err
	}
	err = c.until(ctx, 30*time.Second, "containerd", func(context.Context) error {
		if err := c.check("containerd"); err != nil {
			return err
		}
		_, err := os.Stat(in("containerd.sock"))
		return err
	})
	if err != nil {
		return err
	}
	err = errors.Join(
		c.start(daemon{name: "kubelet", args: []string{
			c.bin("kubelet"), "--config", in("kubelet.yaml"), "--kubeconfig", c.kubeconfig(),
			"--hostname-override", nodeName, "--node-ip", nodeIP, "--root-dir", filepath.Join(c.state, "kubelet"),
		}}),
		c.start(daemon{name: "proxy", args: []string{
			c.bin("kube-proxy"), "--kubeconfig", c.kubeconfig(), "--proxy-mode", "nftables", "--cluster-cidr", podCIDR,
			"--hostname-override", nodeName, "--nodeport-addresses", nodeIP + "/32",
			"--conntrack-max-per-core=0", // cannot be written in a network namespace
		}}),
		c.start(daemon{name: "coredns", args: []string{c.bin("coredns"), "-conf", in("Corefile")}}),
	)
	if err != nil {
		return err
	}
	return c.until(ctx, 2*time.Minute, "the node", func(ctx context.Context) error {
		if err := c.check("kubelet", "proxy", "coredns", "controller-manager", "scheduler"); err != nil {
			return err
		}
		ready, err := c.kubectl(ctx, "", "get", "node", nodeName, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && ready != "True" {
			err = errors.New("the node is not Ready")
		}
		return err
	})
}

func (c *cluster) kubeconfig() string { return filepath.Join(c.run, "kubeconfig") }

// kubectl runs kubectl with an input and returns what it printed.
func (c *cluster) kubectl(ctx context.Context, input string, args ...string) (string, error) {
	return output(ctx, input, append([]string{c.bin("kubectl"), "--kubeconfig", c.kubeconfig(), "--cache-dir", filepath.Join(c.run, "cache")}, args...)...)
}

// apply applies manifests, whoever had their fields before.
func (c *cluster) apply(ctx context.Context, manifests string) error {
	return c.applyAs(ctx, "modelserve-cluster", manifests)
}

// applyAs applies manifests under a name. What was applied to an object under
// that name before, and is not in them, is taken from it; what others have stays.
func (c *cluster) applyAs(ctx context.Context, name, manifests string) error {
	_, err := c.kubectl(ctx, manifests, "apply", "--server-side", "--force-conflicts", "--field-manager="+name, "-f", "-")
	return err
}

// available waits until every Deployment and StatefulSet of a namespace is.
func (c *cluster) available(ctx context.Context, namespace string) error {
	return c.until(ctx, 5*time.Minute, "what runs in "+namespace, func(ctx context.Context) error {
		lines, err := c.kubectl(ctx, "", "-n", namespace, "get", "deployments,statefulsets", "-o",
			`jsonpath={range .items[*]}{.kind}/{.metadata.name} {.spec.replicas} {.status.readyReplicas}{"\n"}{end}`)
		if err != nil {
			return err
		}
		var waiting []string
		for line := range strings.Lines(lines) {
			fields := strings.Fields(line)
			if len(fields) < 2 || fields[1] != "0" && (len(fields) < 3 || fields[1] != fields[2]) {
				waiting = append(waiting, strings.ToLower(fields[0]))
			}
		}
		if len(waiting) > 0 {
			c.waitFor("wait in %s for %s", namespace, strings.Join(waiting, ", "))
			return fmt.Errorf("not ready: %s; `. .cluster/env && kubectl -n %s get pods` shows more", strings.Join(waiting, ", "), namespace)
		}
		return nil
	})
}
