package e2e

import (
	"archive/tar"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/modelserveai/modelserve/test/platformtest"
)

// TestKoMakesAnImageOfTheExampleFunction has ko resolve the manifest of
// examples/function from outside the repository, with the settings that lie beside
// it, and looks for the program in the image.
func TestKoMakesAnImageOfTheExampleFunction(t *testing.T) {
	t.Parallel()
	root, home := platformtest.Root(t), t.TempDir()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	base, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	push(t, host+"/base-ort", base)

	folder := copyExample(t, home)
	ko := filepath.Join(home, "ko")
	build := exec.CommandContext(t.Context(), "go", "build", "-modfile="+filepath.Join("tools", "go.mod"), "-o", ko, "github.com/google/ko")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build ko: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), ko, "resolve", "--sbom=none", "--platform=linux/"+runtime.GOARCH, "-f", "service.yaml")
	cmd.Dir = folder
	cmd.Env = append(outside(t, home), "KO_DOCKER_REPO="+host, "KO_DEFAULTBASEIMAGE="+host+"/base-ort")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	resolved, err := cmd.Output()
	if err != nil {
		t.Fatalf("ko resolve: %v\n%s", err, stderr.String())
	}
	_, image, ok := strings.Cut(string(resolved), "image: ")
	if image, _, _ = strings.Cut(image, "\n"); !ok || !strings.HasPrefix(image, host+"/") {
		t.Fatalf("ko named no image in %s:\n%s", host, resolved)
	}
	if program := "ko-app/language-detect"; !inImage(t, image, program) {
		t.Errorf("%s has no %s", image, program)
	}
}

func push(t *testing.T, at string, image v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// inImage reports whether an image has a file.
func inImage(t *testing.T, at, path string) bool {
	t.Helper()
	ref, err := name.ParseReference(at)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(image)
	defer files.Close()
	for r := tar.NewReader(files); ; {
		header, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return false
		case err != nil:
			t.Fatal(err)
		case strings.TrimPrefix(header.Name, "/") == path:
			return true
		}
	}
}

// copyExample copies examples/function out of the repository, whose checkout its
// copy names.
func copyExample(t *testing.T, home string) string {
	t.Helper()
	root, folder := platformtest.Root(t), filepath.Join(home, "function")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "examples", "function"))); err != nil {
		t.Fatal(err)
	}
	edit := exec.CommandContext(t.Context(), "go", "mod", "edit", "-replace=github.com/modelserveai/modelserve="+root)
	edit.Dir = folder
	if out, err := edit.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return folder
}
