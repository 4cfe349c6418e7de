//go:build linux

package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/modelserveai/modelserve/cmd/images/internal/image"
	"github.com/modelserveai/modelserve/internal/deps"
	"github.com/modelserveai/modelserve/internal/locale"
)

// shelf stands in for Debian's archive: each package has its copyright, and what
// it has besides by its path.
type shelf map[string]map[string]string

func (shelf) Fetch(context.Context, string, []string) error { return nil }

func (s shelf) Read(_ context.Context, file string) (archive, control []byte, err error) {
	deb, _, _ := strings.Cut(file, "_")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	files := map[string]string{"./usr/share/doc/" + deb + "/copyright": "of " + deb}
	for name, data := range s[deb] {
		files[name] = data
	}
	var faults []error
	for name, data := range files {
		h := tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 7, Size: int64(len(data))}
		if link, ok := strings.CutPrefix(data, "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, data = tar.TypeSymlink, link, 0, ""
		}
		if data == "device" {
			h.Typeflag, h.Size, data = tar.TypeChar, 0, ""
		}
		faults = append(faults, w.WriteHeader(&h))
		_, err := io.WriteString(w, data)
		faults = append(faults, err)
	}
	return b.Bytes(), []byte("Package: " + deb + "\n"), errors.Join(append(faults, w.Close())...)
}

// stock is what the tests look for of Debian's.
func stock() shelf {
	return shelf{
		"ca-certificates": {"./usr/share/ca-certificates/mozilla/B.crt": "B\n", "./usr/share/ca-certificates/mozilla/A.crt": "A\n"},
		"tzdata":          {"./usr/share/zoneinfo/UTC": "utc", "./usr/share/zoneinfo/localtime": "-> /etc/localtime"},
		"libc6":           {"./lib/x/libc.so.6": "c", "./lib64/ld.so": "-> /lib/x/ld.so"},
		"zlib1g":          {"./lib/x/libz.so.1": "z"},
	}
}

// wheels writes members that have their names for content.
func wheels(t *testing.T) image.Wheels {
	dir := t.TempDir()
	return func(_ context.Context, architecture string, names []string) (string, []deps.Wheel, error) {
		pinned, err := deps.Wheels("linux/" + architecture)
		gpu, _ := deps.GPUWheels("linux/" + architecture)
		wanted := slices.DeleteFunc(append(pinned, gpu...), func(w deps.Wheel) bool { return !slices.Contains(names, w.Package) })
		for _, w := range wanted {
			for _, m := range w.Members {
				at := filepath.Join(dir, m.Path)
				err = errors.Join(err, os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(m.Name), 0o600))
			}
		}
		return dir, wanted, err
	}
}

func load(t *testing.T, file string) *image.Recipe {
	t.Helper()
	r, err := image.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func shipped(t *testing.T, name string) *image.Recipe {
	t.Helper()
	return load(t, filepath.Join("../../recipes", name+".yaml"))
}

// recipe is one with that text after its name.
func recipe(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	lock, err := os.ReadFile("../../recipes/packages.sha256")
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, image.LockFile), lock, 0o600), os.WriteFile(filepath.Join(dir, "x.yaml"), []byte("name: x\n"+text), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "x.yaml")
}

func made(t *testing.T, name, architecture string) (v1.Image, v1.Config) {
	t.Helper()
	m := &image.Maker{Packages: stock(), Wheels: wheels(t)}
	img, err := m.Make(t.Context(), shipped(t, name), architecture)
	if err != nil {
		t.Fatal(err)
	}
	return img, config(t, img)
}

func config(t *testing.T, img v1.Image) v1.Config {
	t.Helper()
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Created.IsZero() || cfg.OS != "linux" && cfg.OS != "" {
		t.Errorf("configuration: %+v", cfg)
	}
	return cfg.Config
}

// files are an image's, by their path: the archive's header, and the content or
// where a link leads.
func files(t *testing.T, img v1.Image) (headers map[string]*tar.Header, content map[string]string) {
	t.Helper()
	headers, content = map[string]*tar.Header{}, map[string]string{}
	extracted := mutate.Extract(img)
	defer extracted.Close()
	for in := tar.NewReader(extracted); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return headers, content
		}
		data, readErr := io.ReadAll(in)
		if err := errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		headers[name], content[name] = h, string(data)+h.Linkname
	}
}

func TestBaseForFunctions(t *testing.T) {
	t.Parallel()
	for _, architecture := range []string{"amd64", "arm64"} {
		img, cfg := made(t, "base-ort", architecture)
		headers, got := files(t, img)
		for path, want := range map[string]string{
			"etc/ssl/certs/ca-certificates.crt": "A\nB\n",
			"usr/share/zoneinfo/UTC":            "utc",
			"lib/x/libc.so.6":                   "c",
			"lib64/ld.so":                       "/lib/x/ld.so",
			"usr/local/lib/libonnxruntime.so." + deps.ONNXRuntime: "onnxruntime/capi/libonnxruntime.so." + deps.ONNXRuntime,
			"usr/share/doc/onnxruntime/ThirdPartyNotices.txt":     "onnxruntime/ThirdPartyNotices.txt",
			"usr/share/doc/libstdc++6/copyright":                  "of libstdc++6",
			"var/lib/dpkg/status.d/libc6":                         "Package: libc6\n",
			"tmp":                                                 "",
			"home/nonroot":                                        "",
		} {
			if got[path] != want {
				t.Errorf("%s: %s has %q, want %q", architecture, path, got[path], want)
			}
		}
		for name, h := range headers {
			if h.Uid != 0 && name != "home/nonroot" || h.Mode&0o6000 != 0 || h.Uname != "" || h.ModTime.Unix() != 0 || slices.Contains([]string{"lib", "lib64", "bin"}, name) {
				t.Errorf("%s: %+v", name, h)
			}
		}
		if headers["tmp"].Mode != 0o1777 || headers["home/nonroot"].Mode != 0o700 || headers["home/nonroot"].Uid != 65532 {
			t.Errorf("folders: %+v, %+v", headers["tmp"], headers["home/nonroot"])
		}
		if cfg.User != "65532:65532" || cfg.WorkingDir != "/home/nonroot" || !slices.Contains(cfg.Env, "ORT_DISABLE_TELEMETRY=1") {
			t.Errorf("configuration: %+v", cfg)
		}
		if layers, err := img.Layers(); err != nil || len(layers) != 3 {
			t.Errorf("%d layers, %v: what is below is a layer of its own", len(layers), err)
		}
	}
}

// TestTheRuntimeIsThePinnedOne: recipes name its version where YAML must.
func TestTheRuntimeIsThePinnedOne(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"base-ort", "base-ort-cuda"} {
		_, cfg := made(t, name, "amd64")
		if cfg.Labels["org.opencontainers.image.version"] != deps.ONNXRuntime {
			t.Errorf("%s: labels %v", name, cfg.Labels)
		}
	}
}

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
		img, cfg := made(t, name, "amd64")
		_, got := files(t, img)
		for _, f := range all {
			text, there := got[path.Join(locale.Dir, f.Path)[1:]]
			if there != has || has && text != string(f.Data)+f.Link {
				t.Errorf("%s: %s: there is %t, and it is not what the programs have", name, f.Path, there)
			}
		}
		if slices.Contains(cfg.Env, "LOCPATH="+locale.Dir) != has {
			t.Errorf("%s: environment %v", name, cfg.Env)
		}
	}
}

func TestBaseForGPUs(t *testing.T) {
	t.Parallel()
	img, cfg := made(t, "base-ort-cuda", "amd64")
	_, got := files(t, img)
	gpu, err := deps.GPUWheels("linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range gpu {
		for _, m := range w.Members {
			path := "usr/local/lib/onnxruntime/" + strings.TrimPrefix(m.Path, "gpu/")
			if strings.Contains(m.Path, ".so") && got[path] == "" {
				t.Errorf("%s is missing", path)
			}
		}
	}
	i := slices.IndexFunc(cfg.Env, func(e string) bool { return strings.HasPrefix(e, "MODELSERVE_ORT_LIBRARY=/") })
	if i < 0 || got[cfg.Env[i][len("MODELSERVE_ORT_LIBRARY=/"):]] == "" {
		t.Errorf("MODELSERVE_ORT_LIBRARY names no file of the image: %v", cfg.Env)
	}
	if got["lib/x/libz.so.1"] == "" {
		t.Error("what NVIDIA's libraries need of Debian is missing")
	}
}

func TestSameInputsSameBytes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"base-static", "base-ort", "base-ort-cuda"} {
		digest := func() string {
			img, _ := made(t, name, "amd64")
			d, err := image.Index(map[string]v1.Image{"amd64": img}).Digest()
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

// TestOnDistroless: its image stands for the lowest recipe that names it, and no
// package is asked for.
func TestOnDistroless(t *testing.T) {
	t.Parallel()
	base, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	if base, err = mutate.Config(base, v1.Config{User: "65532", Env: []string{"SSL_CERT_FILE=/x"}}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		image  string
		layers int
	}{"base-static": {"static-debian12:nonroot", 1}, "base-ort": {"cc-debian12:nonroot", 2}} {
		m := &image.Maker{Wheels: wheels(t), Distroless: func(_ context.Context, asked, architecture string) (string, v1.Image, error) {
			if asked != want.image || architecture != "arm64" {
				t.Errorf("%s: asked for %s, %s", name, asked, architecture)
			}
			return "at.test/" + asked, base, nil
		}}
		img, err := m.Make(t.Context(), shipped(t, name), "arm64")
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != want.layers {
			t.Errorf("%s: %d layers, %v", name, len(layers), err)
		}
		cfg := config(t, img)
		if cfg.User != "65532" || !slices.Contains(cfg.Env, "SSL_CERT_FILE=/x") || cfg.Labels["org.opencontainers.image.base.name"] != "at.test/"+want.image || cfg.Labels["dev.modelserve.image.limit-mb"] == "" {
			t.Errorf("%s: %+v", name, cfg)
		}
	}
}

func TestOmits(t *testing.T) {
	t.Parallel()
	m := &image.Maker{Packages: stock()}
	img, err := m.Make(t.Context(), load(t, recipe(t, "packages: [tzdata]\nomit: [usr/share/zoneinfo/local*, usr/share/doc]\n")), "amd64")
	if err != nil {
		t.Fatal(err)
	}
	_, got := files(t, img)
	if got["usr/share/zoneinfo/UTC"] != "utc" || len(got) != 9 {
		t.Errorf("%v", got)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"a field that is not known":    {"package: [tzdata]\n", "package"},
		"a package that is not pinned": {"packages: [nothing]\n", "-pin"},
		"a package with a device":      {"packages: [gcc-12-base]\n", "neither a file"},
		"a member that no wheel has":   {"wheels: {onnxruntime: {onnxruntime/none: usr/lib}}\n", "names no member"},
		"a source that is not there":   {"files: [{path: a, source: none}]\n", "none"},
		"a recipe made from itself":    {"from: x.yaml\n", "from itself"},
		"a recipe that is not there":   {"from: y.yaml\n", "y.yaml"},
		"distroless that is not there": {"distroless: none\n", "no such image"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			packages := stock()
			packages["gcc-12-base"] = map[string]string{"./dev/x": "device"}
			m := &image.Maker{Packages: packages, Wheels: wheels(t), Distroless: func(context.Context, string, string) (string, v1.Image, error) {
				return "", nil, errors.New("no such image")
			}}
			r, err := image.Load(recipe(t, tc.text))
			if err == nil {
				_, err = m.Make(t.Context(), r, "amd64")
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to say %q", err, tc.want)
			}
		})
	}
}

// TestLimits: the shipped bases bound what is built on them, and what has more is
// refused.
func TestLimits(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"base-ort": "120", "base-static": "90"} {
		if _, cfg := made(t, name, "amd64"); cfg.Labels["dev.modelserve.image.limit-mb"] != want {
			t.Errorf("%s: %v", name, cfg.Labels)
		}
	}
	for name, tc := range map[string]struct{ text, want string }{
		"over its limit":  {`"1"`, "may have 1"},
		"at its limit":    {`"2"`, ""},
		"without a limit": {`""`, ""},
	} {
		m := &image.Maker{Packages: shelf{"tzdata": {"./x": strings.Repeat("x", 1e6)}}}
		img, err := m.Make(t.Context(), load(t, recipe(t, "packages: [tzdata]\nconfig: {Labels: {dev.modelserve.image.limit-mb: "+tc.text+"}}\n")), "amd64")
		if err != nil {
			t.Fatal(err)
		}
		size, err := image.Size(img)
		if size < 1e6 || (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %d bytes, %v", name, size, err)
		}
	}
}

// TestCheckLibraries has a shell in an image, with the libraries that
// the machine loads it with, without one, and with one that has other versions of
// its symbols.
func TestCheckLibraries(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	libraries := map[string]string{}
	for _, found := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		libraries[path.Base(found[1])] = found[1]
	}
	libm := filepath.Join(filepath.Dir(libraries["libc.so.6"]), "libm.so.6")
	for name, tc := range map[string]struct {
		change func(map[string]string)
		want   string
	}{
		"all it needs":        {func(map[string]string) {}, ""},
		"none of it":          {func(l map[string]string) { clear(l) }, "app needs libc.so.6, which the image has not"},
		"one of another time": {func(l map[string]string) { l["libc.so.6"] = libm }, "of libc.so.6, which the image's has not"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := map[string]string{}
			for name, at := range libraries {
				all[name] = at
			}
			tc.change(all)
			all["app"] = program
			err := image.CheckLibraries(withFiles(t, all))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("with %v: error %v, want it to say %q", all, err, tc.want)
			}
		})
	}
}

// withFiles is an image that has files of this machine.
func withFiles(t *testing.T, named map[string]string) v1.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, at := range named {
		data, err := os.ReadFile(at)
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(data))})
		}
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithCompressionLevel(gzip.NoCompression))
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	return img
}
