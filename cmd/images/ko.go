package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/cmd/images/internal/recipe"
)

// koRegistry is the registry that .ko.yaml names: the one of `make cluster`.
const koRegistry = "localhost:5000"

// koGPU are the lines of .ko.yaml after which the GPU's base is named, and what
// is built on it.
const (
	koOverrides = "baseImageOverrides:\n"
	koGPU       = "  github.com/modelserveai/modelserve/functions/onnx: "
)

// koConfig writes ko's configuration for bases that .ko.yaml does not name, and
// says how ko is told of it.
func (o *options) koConfig(pushed []*recipe.Recipe) error {
	bases := slices.ContainsFunc(pushed, func(r *recipe.Recipe) bool { return r.Name == "base-ort" })
	if !bases || o.push == koRegistry && !o.gpu {
		return nil
	}
	data, err := os.ReadFile(".ko.yaml")
	if err != nil {
		return fmt.Errorf("read ko's configuration: %w", err)
	}
	text, err := koFor(string(data), o.push, o.gpu)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(filepath.Join(o.dir, "ko"))
	if err != nil {
		return fmt.Errorf("find the folder for ko's configuration: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the user names the folder
		return fmt.Errorf("make the folder for ko's configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".ko.yaml"), []byte(text), 0o644); err != nil { //nolint:gosec // the same folder
		return fmt.Errorf("write ko's configuration: %w", err)
	}
	o.print("For ko to build on these:\n  export KO_CONFIG_PATH=%s KO_DOCKER_REPO=%s", dir, o.push)
	return nil
}

// koFor is .ko.yaml with the bases of another registry, and with the GPU's.
func koFor(text, registry string, gpu bool) (string, error) {
	if !strings.Contains(text, ": "+koRegistry+"/base-") || !strings.Contains(text, koOverrides) {
		return "", errors.New(".ko.yaml names no base images of " + koRegistry)
	}
	if gpu {
		text = strings.Replace(text, koOverrides, koOverrides+koGPU+koRegistry+"/base-ort-cuda\n", 1)
	}
	return strings.ReplaceAll(text, ": "+koRegistry+"/base-", ": "+registry+"/base-"), nil
}
