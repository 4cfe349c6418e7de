package assemble_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/modelserveai/modelserve/cmd/images/internal/assemble"
	"github.com/modelserveai/modelserve/cmd/images/internal/elftest"
	"github.com/modelserveai/modelserve/cmd/images/internal/recipe"
	"github.com/modelserveai/modelserve/cmd/images/internal/rootfs"
	"github.com/modelserveai/modelserve/internal/debian"
	"github.com/modelserveai/modelserve/internal/deps"
	"github.com/modelserveai/modelserve/internal/locale"
)

// shelf stands in for Debian's archive: packages' entries by name.
type shelf map[string][]debian.Entry

func (shelf) Fetch(_ context.Context, _ string, packages []debian.Package) ([]string, error) {
	var paths []string
	for _, p := range packages {
		paths = append(paths, p.Name)
	}
	return paths, nil
}

func (s shelf) Read(_ context.Context, deb string) ([]debian.Entry, error) {
	return s[deb], nil
}

const libs = "lib/x86_64-linux-gnu/"

func entry(path string, data []byte) debian.Entry {
	return debian.Entry{Path: path, Mode: 0o644, Data: data}
}

func library(path string, o elftest.Object) debian.Entry { return entry(path, o.Bytes()) }

// stock is what the shipped recipes take of Debian, in little.
func stock() shelf {
	s := shelf{
		"ca-certificates": {entry("usr/share/ca-certificates/mozilla/B.crt", []byte("B\n")), entry("usr/share/ca-certificates/mozilla/A.crt", []byte("A\n"))},
		"tzdata": {
			entry("usr/share/zoneinfo/UTC", []byte("utc")), entry("usr/share/zoneinfo/right/UTC", []byte("r")), entry("usr/share/zoneinfo/posix/UTC", []byte("p")),
			{Path: "usr/share/zoneinfo/localtime", Mode: os.ModeSymlink | 0o777, Link: "/etc/localtime"},
		},
		"libc6": {
			library(libs+"libc.so.6", elftest.Object{Needs: []string{"ld-linux-x86-64.so.2"}, Defines: []string{"GLIBC_2.36"}}),
			library(libs+"ld-linux-x86-64.so.2", elftest.Object{}), library(libs+"libresolv.so.2", elftest.Object{}), library(libs+"libm.so.6", elftest.Object{}), library(libs+"libnss_hesiod.so.2", elftest.Object{}),
			{Path: "lib64/ld-linux-x86-64.so.2", Mode: os.ModeSymlink | 0o777, Link: "/" + libs + "ld-linux-x86-64.so.2"},
		},
		"libstdc++6":  {library("usr/"+libs+"libstdc++.so.6", elftest.Object{Needs: []string{"libm.so.6", "libc.so.6"}})},
		"libgcc-s1":   {library(libs+"libgcc_s.so.1", elftest.Object{})},
		"gcc-12-base": {entry("usr/share/doc/gcc-12-base/README", []byte("r"))},
		"zlib1g":      {library(libs+"libz.so.1", elftest.Object{Needs: []string{"libc.so.6"}})},
	}
	for name := range s {
		s[name] = append(s[name], entry("usr/share/doc/"+name+"/copyright", []byte("copyright of "+name)))
	}
	return s
}

// wheels lays down members that are what their names say, and nothing of their
// bytes.
func wheels(t *testing.T, objects map[string]elftest.Object) assemble.Wheels {
	dir := t.TempDir()
	return func(_ context.Context, _ string, names []string) (string, []deps.Wheel, error) {
		pinned, err := deps.Wheels("linux/amd64")
		if err != nil {
			return "", nil, err
		}
		gpu, err := deps.GPUWheels("linux/amd64")
		if err != nil {
			return "", nil, err
		}
		var wanted []deps.Wheel
		for _, name := range names {
			for _, w := range append(pinned, gpu...) {
				if w.Package == name {
					wanted = append(wanted, w)
				}
			}
		}
		for _, w := range wanted {
			for _, m := range w.Members {
				path := filepath.Join(dir, m.Path)
				data := []byte(m.Name)
				if strings.Contains(m.Path, ".so") {
					o := objects[filepath.Base(m.Path)]
					data = o.Bytes()
				}
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					return "", nil, err
				}
				if err := os.WriteFile(path, data, 0o600); err != nil {
					return "", nil, err
				}
			}
		}
		return dir, wanted, nil
	}
}

// shipped is a recipe of this repository.
func shipped(t *testing.T, name string) *recipe.Recipe {
	t.Helper()
	r, err := recipe.Load(filepath.Join("../../recipes", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func files(t *testing.T, image v1.Image) *rootfs.Tree {
	t.Helper()
	in := mutate.Extract(image)
	defer in.Close()
	tree, err := rootfs.ReadTar(in)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func ortObjects() map[string]elftest.Object {
	return map[string]elftest.Object{
		"libonnxruntime.so." + deps.ONNXRuntime: {Needs: []string{"libstdc++.so.6", "libgcc_s.so.1", "libc.so.6"}, RunPath: "$ORIGIN"},
		"libonnxruntime_providers_cuda.so":      {Needs: []string{"libcublas.so.13", "libcuda.so.1", "libc.so.6"}},
		"libcublas.so.13":                       {Needs: []string{"libcublasLt.so.13"}, RunPath: "$ORIGIN"},
		"libcudnn_ops.so.9":                     {Needs: []string{"libz.so.1", "libgcc_s.so.1", "libstdc++.so.6"}},
	}
}

func image(t *testing.T, name string) v1.Image {
	t.Helper()
	a := &assemble.Assembler{Packages: stock(), Wheels: wheels(t, ortObjects()), Source: "https://example.test/repository"}
	made, err := a.Image(t.Context(), shipped(t, name), "amd64")
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestBaseForFunctions(t *testing.T) {
	t.Parallel()
	made := image(t, "base-ort")
	var got []string
	tree := files(t, made)
	for _, f := range tree.Files() {
		if !f.Mode.IsDir() && !strings.HasPrefix(f.Path, "usr/share/doc/") && !strings.HasPrefix(f.Path, localeDir+"/") {
			got = append(got, f.Path)
		}
	}
	const usrlibs = "usr/" + libs
	want := []string{
		"etc/group", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", "lib", "lib64",
		usrlibs + "ld-linux-x86-64.so.2", usrlibs + "libc.so.6", usrlibs + "libgcc_s.so.1", usrlibs + "libm.so.6", usrlibs + "libresolv.so.2", usrlibs + "libstdc++.so.6",
		"usr/lib64/ld-linux-x86-64.so.2", "usr/local/lib/libonnxruntime.so." + deps.ONNXRuntime, "usr/share/zoneinfo/UTC",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("its files: %s", diff)
	}
	if f := tree.Lookup("etc/ssl/certs/ca-certificates.crt"); string(f.Data) != "A\nB\n" {
		t.Errorf("certificates: %q", f.Data)
	}
	for _, name := range []string{"libc6", "tzdata", "gcc-12-base", "libstdc++6"} {
		if tree.Lookup("usr/share/doc/"+name+"/copyright") == nil {
			t.Errorf("the copyright of %s is missing", name)
		}
	}
	cfg, err := made.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Config.User != "65532:65532" || !cfg.Created.IsZero() || cfg.Architecture != "amd64" || cfg.OS != "linux" || cfg.Config.WorkingDir != "/home/nonroot" {
		t.Errorf("configuration: %+v", cfg)
	}
	if env := strings.Join(cfg.Config.Env, " "); !strings.Contains(env, "ORT_DISABLE_TELEMETRY=1") || !strings.Contains(env, "PATH=") {
		t.Errorf("environment: %s", env)
	}
	labels := cfg.Config.Labels
	if labels[assemble.LabelVersion] != deps.ONNXRuntime || labels[assemble.LabelSource] != "https://example.test/repository" || labels[assemble.LabelTitle] == "" || labels[assemble.LabelLicenses] == "" || labels[assemble.LabelLimit] != "120" {
		t.Errorf("labels: %v", labels)
	}
	for _, want := range []string{"libc6 2.36", "tzdata 20", "onnxruntime " + deps.ONNXRuntime} {
		if !strings.Contains(labels[assemble.LabelPackages], want) {
			t.Errorf("the label with packages lacks %s: %s", want, labels[assemble.LabelPackages])
		}
	}
	layers, err := made.Layers()
	if err != nil || len(layers) != 2 {
		t.Errorf("%d layers, %v: the static base is a layer of its own", len(layers), err)
	}
}

// localeDir is where images have the locale, as their paths are written.
var localeDir = strings.TrimPrefix(locale.Dir, "/")

// TestTheLocaleIsInWhatRunsModels holds that what text models ask the C library
// for is in the images of functions, byte for byte what is in the programs, where
// they look for it, by both its names.
func TestTheLocaleIsInWhatRunsModels(t *testing.T) {
	t.Parallel()
	all, err := locale.Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, has := range map[string]bool{"base-ort": true, "base-ort-cuda": true, "base-static": false} {
		made := image(t, name)
		tree := files(t, made)
		for _, want := range all {
			got := tree.Lookup(path.Join(localeDir, want.Path))
			switch {
			case !has && got != nil:
				t.Errorf("%s, which runs no model, has %s", name, want.Path)
			case !has:
			case got == nil, want.Link == "" && !bytes.Equal(got.Data, want.Data):
				t.Errorf("%s: %s is not what the programs have", name, want.Path)
			}
		}
		if ctype := tree.Lookup(path.Join(localeDir, "C.utf8/LC_CTYPE")); (ctype != nil) != has {
			t.Errorf("%s: C.utf8 leads nowhere", name)
		}
		cfg, err := made.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(cfg.Config.Env, "LOCPATH="+locale.Dir) != has {
			t.Errorf("%s: environment %v", name, cfg.Config.Env)
		}
	}
}

func TestSameInputsSameBytes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"base-static", "base-ort", "base-ort-cuda"} {
		digest := func() string {
			d, err := assemble.Index(map[string]v1.Image{"amd64": image(t, name)}).Digest()
			if err != nil {
				t.Fatal(err)
			}
			return d.String()
		}
		if first, second := digest(), digest(); first != second {
			t.Errorf("%s: %s, then %s", name, first, second)
		}
	}
}

func TestBaseForGPUs(t *testing.T) {
	t.Parallel()
	made := image(t, "base-ort-cuda")
	tree := files(t, made)
	gpu, err := deps.GPUWheels("linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range gpu {
		for _, m := range w.Members {
			path := "usr/local/lib/onnxruntime/" + strings.TrimPrefix(m.Path, "gpu/")
			if strings.Contains(m.Path, ".so") && tree.Lookup(path) == nil {
				t.Errorf("%s is missing", path)
			}
		}
	}
	cfg, err := made.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range cfg.Config.Env {
		if path, ok := strings.CutPrefix(e, "MODELSERVE_ORT_LIBRARY="); ok {
			found = tree.Lookup(path) != nil
		}
	}
	if !found {
		t.Errorf("MODELSERVE_ORT_LIBRARY names no file of the image: %v", cfg.Config.Env)
	}
	if tree.Lookup("usr/lib/x86_64-linux-gnu/libz.so.1") == nil {
		t.Error("what NVIDIA's libraries need of Debian is missing")
	}
	if _, err := assemble.Check(made); err != nil {
		t.Errorf("checked: %v", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		program elftest.Object
		want    string
	}{
		"a function":              {elftest.Object{Needs: []string{"libc.so.6", "libresolv.so.2"}, Loader: "/lib64/ld-linux-x86-64.so.2", Asks: map[string][]string{"libc.so.6": {"GLIBC_2.36"}}}, ""},
		"one of a newer Debian":   {elftest.Object{Needs: []string{"libc.so.6"}, Asks: map[string][]string{"libc.so.6": {"GLIBC_2.41"}}}, "GLIBC_2.41"},
		"one with more libraries": {elftest.Object{Needs: []string{"libopenblas.so.0"}}, "libopenblas.so.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			size, err := assemble.Check(with(t, image(t, "base-ort"), "ko-app/app", tc.program.Bytes()))
			if tc.want == "" && (err != nil || size < 1000) {
				t.Errorf("%d bytes, %v", size, err)
			}
			if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want it to say %q", err, tc.want)
			}
		})
	}
}

// TestLimits: the shipped bases bound what is built on them, and what has more is
// refused.
func TestLimits(t *testing.T) {
	t.Parallel()
	if function, gateway := shipped(t, "base-ort").LimitMB, shipped(t, "base-static").LimitMB; function != 120 || gateway != 60 {
		t.Errorf("a function may have %d MB and the gateway %d", function, gateway)
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"x.yaml": "name: x\ntitle: X\nlicenses: MIT\nlimit_mb: 1\n"})
	r, err := recipe.Load(filepath.Join(dir, "x.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := (&assemble.Assembler{}).Image(t.Context(), r, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := assemble.Check(with(t, base, "app", make([]byte, 990e3))); err != nil {
		t.Error(err)
	}
	if _, err := assemble.Check(with(t, base, "app", make([]byte, 1000e3))); err == nil || !strings.Contains(err.Error(), "may have 1") {
		t.Errorf("an image over its limit: %v", err)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// with is an image with one file more, as ko adds it.
func with(t *testing.T, base v1.Image, path string, data []byte) v1.Image {
	t.Helper()
	var tree rootfs.Tree
	if err := tree.Add(&rootfs.File{Path: path, Mode: 0o755, Data: data}); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		var b bytes.Buffer
		return io.NopCloser(&b), tree.WriteTar(&b)
	})
	if err != nil {
		t.Fatal(err)
	}
	made, err := mutate.AppendLayers(base, l)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	head := "name: x\ntitle: X\nlicenses: MIT\nlimit_mb: 1\n"
	for name, tc := range map[string]struct{ text, want string }{
		"a package of which nothing is taken": {head + "packages: {zlib1g: []}\n", "zlib1g: nothing of it"},
		"a program without its libraries":     {head + "packages: {libstdc++6: [usr/lib/*/libstdc++.so.6]}\n", "libc.so.6, which no package"},
		"a pattern that names nothing":        {head + "packages: {tzdata: [usr/share/zoneinfo/Mars]}\n", "Mars"},
		"a link that leads away":              {head + "packages: {tzdata: [usr/share/zoneinfo/localtime]}\n", "/etc/localtime"},
		"a package that is not pinned":        {head + "packages: {nothing: []}\n", "-pin"},
		"two files of one path":               {head + "packages: {tzdata: [usr/share/zoneinfo/UTC]}\nfiles: [{path: usr/share/zoneinfo/UTC, content: other}]\n", "is another file"},
		"a member that no wheel has":          {head + "wheels: {onnxruntime: [{files: onnxruntime/none, to: usr/lib}]}\n", "names no member"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lock, err := os.ReadFile("../../recipes/packages.lock")
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, map[string]string{"x.yaml": tc.text, "packages.lock": string(lock)})
			r, err := recipe.Load(filepath.Join(dir, "x.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			a := &assemble.Assembler{Packages: stock(), Wheels: wheels(t, nil)}
			if _, err := a.Image(t.Context(), r, "amd64"); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to say %q", err, tc.want)
			}
		})
	}
}
