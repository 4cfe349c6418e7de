package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// writeOverlay writes manifests like those of a local platform, in which each of the
// services has one process, always, with more environment.
func writeOverlay(dir string, services []string, environment ...string) (string, error) {
	overlay := filepath.Join(dir, "overlay")
	if err := os.MkdirAll(overlay, 0o755); err != nil {
		return "", err
	}
	at, err := filepath.EvalSymlinks(overlay)
	if err != nil {
		return "", err
	}
	here, err := filepath.Abs("config/overlays/local")
	if err != nil {
		return "", err
	}
	base, err := filepath.Rel(at, here)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "resources: [%s]\npatches:\n", base)
	for _, service := range services {
		fmt.Fprintf(&b, `  - target: {kind: Service, name: %s}
    patch: |
      - {op: add, path: /spec/template/metadata/annotations/autoscaling.knative.dev~1min-scale, value: "1"}
      - {op: add, path: /spec/template/metadata/annotations/autoscaling.knative.dev~1max-scale, value: "1"}
`, service)
		for pair := range slices.Chunk(environment, 2) {
			fmt.Fprintf(&b, "      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: %s, value: %s}}\n", pair[0], pair[1])
		}
	}
	return overlay, os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(b.String()), 0o600)
}
