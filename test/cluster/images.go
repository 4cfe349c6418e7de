//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	staticBase = registry + "/base-static"
	ownImages  = registry + "/cluster" // of what is not the product's
)

// ko runs ko in a module, whose mains it builds on the static base.
func (c *cluster) ko(ctx context.Context, dir, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.bin("ko"), args...)
	cmd.Dir = dir
	cmd.Env = append(compiling(), "KO_DOCKER_REPO="+ownImages, "KO_DEFAULTBASEIMAGE="+staticBase, "KO_DEFAULTPLATFORMS="+platform())
	return finish(cmd, input)
}

// platform is what the node runs: ko alone would build for amd64.
func platform() string { return "linux/" + runtime.GOARCH }

// bases makes the images that everything else is made on, and the one that
// every pod begins with.
func (c *cluster) bases(ctx context.Context) error {
	c.waitFor("make the base images out of Debian's packages")
	if err := c.inSource(ctx, "go", "run", "./cmd/images", "-push", registry); err != nil {
		return err
	}
	c.waitFor("make the pods' first image")
	_, err := c.ko(ctx, c.source, "", "build", "-B", "--sbom=none", "-t", "1", "./test/cluster/pause")
	return err
}

// inSource runs a command of the repository's.
func (c *cluster) inSource(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = c.source
	_, err := finish(cmd, "")
	return err
}

// resolve makes the images that manifests name, out of the module in dir, and
// returns the manifests with the images' names. It is done once for one set of
// sources: what ko finds out each time takes a minute.
func (c *cluster) resolve(ctx context.Context, name, dir, manifests string) (string, error) {
	file := filepath.Join(c.dir, "resolved", name+".yaml")
	made := func() bool { _, err := os.Stat(file); return err == nil }
	sum := func() (string, error) {
		base, err := c.digest(ctx, "base-static")
		if err != nil {
			return "", err
		}
		return sumOf(dir, []string{base, fmt.Sprintf("%x", sha256.Sum256([]byte(manifests)))})
	}
	err := c.once("resolved-"+name, made, sum, func() error {
		c.printf("  make the images of %s", name)
		c.waitFor("make the images of %s (%d of them)", name, strings.Count(manifests, "ko://"))
		out, err := c.ko(ctx, dir, manifests, "resolve", "--sbom=none", "--jobs=2", "-f", "-")
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		return os.WriteFile(file, []byte(out), 0o600)
	})
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(file)
	return string(data), err
}

// digest asks the registry for an image's.
func (c *cluster) digest(ctx context.Context, image string) (string, error) {
	res, err := get(ctx, "http://"+registry+"/v2/"+image+"/manifests/latest")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	digest := res.Header.Get("Docker-Content-Digest")
	if digest == "" {
		return "", fmt.Errorf("the registry has no %s: %s", image, res.Status)
	}
	return digest, nil
}

// get asks the registry.
func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
	return http.DefaultClient.Do(req)
}
