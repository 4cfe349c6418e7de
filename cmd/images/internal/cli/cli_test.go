package cli

import (
	"bytes"
	"io"
	"io/fs"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/cmd/images/internal/image"
)

const root = "../../../.."

// spec is a recipe that needs nothing of Debian.
func spec(t *testing.T, limit string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "little.yaml")
	text := "name: little\ndistroless: static:nonroot\nconfig: {Labels: {dev.modelserve.image.limit-mb: \"" + limit + "\"}}\nfiles: [{path: etc/passwd, content: \"" + strings.Repeat("x", 2000) + "\"}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func runWith(t *testing.T, args ...string) (string, error) {
	t.Helper()
	o, err := parse(args, io.Discard)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	o.out = &out
	err = do(t.Context(), o)
	return out.String(), err
}

func TestPushAndCheck(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host, dir, file := strings.TrimPrefix(server.URL, "http://"), t.TempDir(), spec(t, "1")
	digest := regexp.MustCompile(`@sha256:[0-9a-f]{64}`)
	first, err := runWith(t, "-dir", dir, "-arch", "amd64,arm64", "-push", host+"/cluster", "-spec", file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(first, host+"/cluster/little@sha256:") || strings.Count(first, "MB uncompressed") != 2 {
		t.Errorf("after a push: %s", first)
	}
	again, err := runWith(t, "-dir", dir, "-arch", "amd64,arm64", "-spec", file)
	if err != nil {
		t.Fatal(err)
	}
	if digest.FindString(first) != digest.FindString(again) {
		t.Errorf("pushed %s, then wrote %s", first, again)
	}
	if _, err := os.Stat(filepath.Join(dir, "images", "little", "index.json")); err != nil {
		t.Error(err)
	}
	checked, err := runWith(t, "-check", host+"/cluster/little")
	if err != nil || !strings.Contains(checked, "linux/amd64") || !strings.Contains(checked, "linux/arm64") {
		t.Errorf("checked: %s, %v", checked, err)
	}
	if _, err := runWith(t, "-check", host+"/cluster/none"); err == nil || !strings.Contains(err.Error(), "cluster/none") {
		t.Errorf("an image that is not there: %v", err)
	}
	server.Close()
	if _, err := runWith(t, "-dir", dir, "-push", host, "-spec", file); err == nil || !strings.Contains(err.Error(), "push "+host) {
		t.Errorf("a registry that is not there: %v", err)
	}
}

// TestOnDistroless takes its image for the architecture from where -base says.
func TestOnDistroless(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host, dir := strings.TrimPrefix(server.URL, "http://"), t.TempDir()
	index, err := random.Index(1000, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/distroless/static:nonroot")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	out, err := runWith(t, "-dir", dir, "-arch", "amd64", "-base", host+"/distroless", "-push", host, "-spec", spec(t, "1"))
	if err != nil || !strings.Contains(out, host+"/little@sha256:") {
		t.Errorf("%s, %v", out, err)
	}
	for args, want := range map[string]string{"-push registry.example.com/somebody": distrolessBase, "-push localhost:5000/x": debianBase, "": debianBase, "-push registry.example.com -base debian": debianBase} {
		if o, err := parse(strings.Fields(args), io.Discard); err != nil || o.base != want {
			t.Errorf("%s: made on %s, want %s (%v)", args, o.base, want, err)
		}
	}
	if _, err := runWith(t, "-dir", dir, "-base", host+"/none", "-spec", spec(t, "1")); err == nil || !strings.Contains(err.Error(), "-base debian") {
		t.Errorf("images that are not there: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"an argument":              {[]string{"base-ort"}, `"base-ort"`},
		"no architecture":          {[]string{"-arch", ","}, "-arch"},
		"a GPU with recipes":       {[]string{"-gpu", "-spec", "x.yaml"}, "-spec"},
		"a GPU on arm64":           {[]string{"-gpu", "-arch", "arm64"}, "amd64 alone"},
		"a scheme":                 {[]string{"-push", "http://localhost:5000"}, "without a scheme"},
		"a flag that is not there": {[]string{"-platform", "x"}, "-platform"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := parse(tc.args, io.Discard); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to say %q", err, tc.want)
			}
		})
	}
}

// ko is what tests read of .ko.yaml.
type ko struct {
	DefaultBaseImage   string
	BaseImageOverrides map[string]string
	DefaultPlatforms   []string
	Builds             []struct {
		ID, Main string
		Env      []string
		Flags    []string
		Ldflags  []string
	}
}

func readKo(t *testing.T, text string) ko {
	t.Helper()
	var k ko
	if err := yaml.Unmarshal([]byte(text), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

func koYAML(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".ko.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestKoBuildsWhatManifestsName holds .ko.yaml to the manifests and to the
// functions there are: an image that it does not list would be built without C
// or with symbols.
func TestKoBuildsWhatManifestsName(t *testing.T) {
	t.Parallel()
	k, listed := readKo(t, koYAML(t)), map[string]bool{}
	for _, b := range k.Builds {
		path := "github.com/modelserveai/modelserve/" + strings.TrimPrefix(b.Main, "./")
		listed[path] = true
		cgo := "CGO_ENABLED=1"
		if strings.HasPrefix(k.BaseImageOverrides[path], "localhost:5000/base-static") {
			cgo = "CGO_ENABLED=0"
		}
		if !slices.Contains(b.Env, cgo) || !slices.Equal(b.Flags, []string{"-trimpath"}) || !slices.Equal(b.Ldflags, []string{"-s", "-w"}) {
			t.Errorf("%s: built with %v, %v, %v; want %s, -trimpath, -s -w", b.ID, b.Env, b.Flags, b.Ldflags, cgo)
		}
	}
	mains, err := filepath.Glob(filepath.Join(root, "functions/*/main.go"))
	if err != nil || len(mains) == 0 {
		t.Fatalf("no functions: %v", err)
	}
	for _, main := range mains {
		if path := "github.com/modelserveai/modelserve/functions/" + filepath.Base(filepath.Dir(main)); !listed[path] {
			t.Errorf(".ko.yaml lists no build of %s", path)
		}
	}
	named := regexp.MustCompile(`ko://(\S+)`)
	err = filepath.WalkDir(filepath.Join(root, "config"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range named.FindAllStringSubmatch(string(data), -1) {
			if !listed[m[1]] {
				t.Errorf("%s names %s, which .ko.yaml does not list", path, m[1])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(k.DefaultPlatforms) != 0 {
		t.Error(".ko.yaml chooses platforms: --platform would be needed to build for this one")
	}
}

// TestBasesAreMade holds .ko.yaml to the recipes.
func TestBasesAreMade(t *testing.T) {
	t.Parallel()
	k := readKo(t, koYAML(t))
	for _, base := range append(slices.Collect(maps.Values(k.BaseImageOverrides)), k.DefaultBaseImage) {
		name := strings.TrimPrefix(base, "localhost:5000/")
		r, err := image.Load(filepath.Join(root, recipes, name+".yaml"))
		if err != nil || r.Name != name {
			t.Errorf("%s: %v", base, err)
		}
	}
}

// TestEveryPackageIsPinned for both architectures, in every folder of recipes.
func TestEveryPackageIsPinned(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{recipes, "test/cluster/images"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no recipes in %s: %v", dir, err)
		}
		for _, file := range files {
			r, err := image.Load(file)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, architecture := range []string{"amd64", "arm64"} {
				if _, err := r.Pinned(architecture); err != nil {
					t.Errorf("%s: %v", r.Name, err)
				}
			}
		}
	}
}

// TestExitStatus holds what scripts see of how it went.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want int
		says string
	}{
		"help":          {[]string{"-help"}, 0, "-push"},
		"a wrong flag":  {[]string{"-nothing"}, 2, "-nothing"},
		"a wrong value": {[]string{"-push", "http://a"}, 2, "without a scheme"},
		"no such file":  {[]string{"-spec", filepath.Join(t.TempDir(), "none.yaml")}, 1, "images: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var complaints bytes.Buffer
			if got := Main(tc.args, io.Discard, &complaints); got != tc.want || !strings.Contains(complaints.String(), tc.says) {
				t.Errorf("%d, want %d and %q:\n%s", got, tc.want, tc.says, &complaints)
			}
		})
	}
}
