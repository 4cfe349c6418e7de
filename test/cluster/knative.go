//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// knative installs Serving and Eventing from their modules' own manifests.
func (c *cluster) knative(ctx context.Context) error {
	serving, eventing, err := c.knativeManifests(ctx)
	if err != nil {
		return err
	}
	names, err := manifests.ReadFile("manifest/eventing.yaml")
	if err != nil {
		return err
	}
	// Resources of a kind can be applied when the kind is known.
	kinds, rest, err := split(serving + "\n---\n" + eventing + "\n---\n" + string(names))
	if err != nil {
		return err
	}
	if err := c.apply(ctx, kinds); err != nil {
		return err
	}
	if _, err := c.kubectl(ctx, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"); err != nil {
		return err
	}
	return c.apply(ctx, rest)
}

// knativeReady waits for Knative, and configures it for this cluster.
func (c *cluster) knativeReady(ctx context.Context) error {
	settings, err := manifests.ReadFile("manifest/knative.yaml")
	if err != nil {
		return err
	}
	if err := c.available(ctx, "knative-serving"); err != nil {
		return err
	}
	// Knative checks these itself, once it runs.
	err = c.until(ctx, time.Minute, "Knative to take its settings", func(ctx context.Context) error {
		return c.applyAs(ctx, "modelserve-cluster-settings", string(settings))
	})
	if err != nil {
		return err
	}
	return c.available(ctx, "knative-eventing")
}

// knativeManifests are what the modules have, with their images made.
func (c *cluster) knativeManifests(ctx context.Context) (serving, eventing string, err error) {
	dir := func(module string) string {
		cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
		cmd.Dir, cmd.Env = c.tools(), append(os.Environ(), "GOFLAGS=")
		out, failed := finish(cmd, "")
		err = errors.Join(err, failed)
		var found struct{ Dir string }
		err = errors.Join(err, yaml.Unmarshal([]byte(out), &found))
		return found.Dir
	}
	s, e := dir("knative.dev/serving"), dir("knative.dev/eventing")
	// A module's archive has no symbolic links: what they lead to is elsewhere.
	n, i := dir("knative.dev/networking"), dir("knative.dev/caching")
	if err != nil {
		return "", "", err
	}
	raw, err := read(filepath.Join(s, "config/core"), filepath.Join(n, "config"), filepath.Join(i, "config/image.yaml"))
	if err != nil {
		return "", "", err
	}
	if serving, err = c.resolve(ctx, "serving", c.tools(), raw); err != nil {
		return "", "", err
	}
	raw, err = read(filepath.Join(e, "config/core"), filepath.Join(e, "config/channels/in-memory-channel"), filepath.Join(e, "config/brokers/mt-channel-broker"))
	if err != nil {
		return "", "", err
	}
	eventing, err = c.resolve(ctx, "eventing", c.tools(), raw)
	return serving, eventing, err
}

// read reads every manifest below the paths into one text.
func read(paths ...string) (string, error) {
	var all []string
	for _, path := range paths {
		err := filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(file) != ".yaml" {
				return err
			}
			data, err := os.ReadFile(file)
			all = append(all, string(data))
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return strings.Join(all, "\n---\n"), nil
}

// split takes apart what has to be known first: kinds of resources and
// namespaces. What is left asks for next to no processor time: the node has two
// processors, and what Knative asks for would leave none to what is to be tried.
func split(text string) (first, rest string, err error) {
	var a, b []string
	for document := range strings.SplitSeq("\n"+text, "\n---") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			return "", "", fmt.Errorf("%w in\n%s", err, document)
		}
		if len(object) == 0 {
			continue
		}
		kind, _, _ := unstructured.NestedString(object, "kind")
		modest(object)
		out, err := yaml.Marshal(object)
		if err != nil {
			return "", "", err
		}
		if kind == "CustomResourceDefinition" || kind == "Namespace" {
			a = append(a, string(out))
		} else {
			b = append(b, string(out))
		}
	}
	return strings.Join(a, "---\n"), strings.Join(b, "---\n"), nil
}

// modest lowers the requests for processor time of a workload's containers. One
// that is left out would be as high as the limit.
func modest(object map[string]any) {
	containers, ok, err := unstructured.NestedSlice(object, "spec", "template", "spec", "containers")
	if !ok || err != nil {
		return
	}
	for _, one := range containers {
		if container, ok := one.(map[string]any); ok {
			_ = unstructured.SetNestedField(container, "1m", "resources", "requests", "cpu") // there is a container
		}
	}
	_ = unstructured.SetNestedSlice(object, containers, "spec", "template", "spec", "containers") // it was there
}
