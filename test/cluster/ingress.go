//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// lego is Traefik's client of public certificate authorities.
const lego = "github.com/go-acme/lego/v4"

// noProviders takes the place of its DNS providers; it is a file of the tools'.
const noProviders = "lego/dns.go.txt"

// ingress starts Traefik, which answers at the node's own port 80.
func (c *cluster) ingress(ctx context.Context) error {
	dir, err := c.traefikModule(ctx)
	if err != nil {
		return fmt.Errorf("take the DNS providers out of Traefik: %w", err)
	}
	return c.deploy(ctx, "traefik", dir, "traefik", "")
}

// traefikModule makes the tools' module without the DNS providers by which lego
// proves a domain name to a public authority. They link the clients of some two
// hundred clouds, which is most of what there is to compile, and a cluster that
// nobody else can reach has no such name.
func (c *cluster) traefikModule(ctx context.Context) (string, error) {
	pinned, dir := c.tools(), filepath.Join(c.dir, "traefik")
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", lego)
	cmd.Dir, cmd.Env = pinned, append(os.Environ(), "GOFLAGS=")
	out, err := finish(cmd, "")
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &module); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS(pinned)); err != nil {
		return "", err
	}
	if err := os.CopyFS(filepath.Join(dir, "lego"), without{os.DirFS(module.Dir), "providers"}); err != nil {
		return "", err
	}
	providers := filepath.Join(dir, "lego/providers/dns")
	if err := os.MkdirAll(providers, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(dir, noProviders), filepath.Join(providers, "dns.go")); err != nil {
		return "", err
	}
	edit := exec.CommandContext(ctx, "go", "mod", "edit", "-replace="+lego+"=./lego")
	edit.Dir = dir
	_, err = finish(edit, "")
	return dir, err
}

// without is a file system without one of its root's entries.
type without struct {
	fs.FS

	name string
}

// ReadDir implements fs.ReadDirFS.
func (w without) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.FS, name)
	kept := entries[:0]
	for _, e := range entries {
		if name != "." || e.Name() != w.name {
			kept = append(kept, e)
		}
	}
	return kept, err
}
