package manifest_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/modelserveai/modelserve/local/manifest"
)

// overlays of the repository, from here.
const overlays = "../../config/overlays"

// empty is an overlay without anything, for tests of single manifests.
func empty(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "kustomization.yaml", "kind: Kustomization\nresources: [settings.yaml]\n")
	write(t, dir, "settings.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: unused}\n")
	return dir
}

// load has what is left out for an error.
func load(t *testing.T, source manifest.Source) (manifest.Set, manifest.Snapshot, error) {
	t.Helper()
	set, snapshot, skipped, err := manifest.Load(t.Context(), source, manifest.Set{})
	return set, snapshot, errors.Join(err, skipped)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The files that ship can be followed, and agree with the documentation.
func TestShippedLocalOverlay(t *testing.T) {
	t.Parallel()
	set, _, err := load(t, manifest.Source{Overlay: filepath.Join(overlays, "local")})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, s := range set.Services {
		for _, e := range s.Env {
			if e.Name == "MODELSERVE_MODELS" {
				names[s.Name] = e.Value
			}
		}
		if s.Container().ReadinessProbe.HTTPGet.Path != "/readyz" {
			t.Errorf("%s: probe %v", s.Name, s.Container().ReadinessProbe)
		}
		if s.Object.Labels["networking.knative.dev/visibility"] != "cluster-local" {
			t.Errorf("%s can be reached past the gateway", s.Name)
		}
		target := s.Object.Spec.Template.Annotations["autoscaling.knative.dev/target"]
		if want := map[string]string{"pool": "32"}[s.Name]; target != want {
			t.Errorf("%s: a second process starts at %s at once, on the same machine", s.Name, target)
		}
		if folder := strings.TrimPrefix(s.Import, "github.com/modelserveai/modelserve/"); folder == s.Import {
			t.Errorf("%s: image of %s", s.Name, s.Import)
		} else if _, err := os.Stat(filepath.Join("../..", folder)); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	want := map[string]string{
		"text-detect": "text-detect@1", "text-orient": "text-orient@1", "text-recognize": "text-recognize@1",
		"speech-detect": "speech-detect@1", "content-detect": "content-detect@1", "pool": "*",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("functions (-want +got):\n%s", diff)
	}
	a := set.Autoscaler
	if !a.AllowZeroInitialScale || a.InitialScale != 0 || a.StableWindow+a.ScaleToZeroGracePeriod != 30*time.Second || a.MaxScale == 0 {
		t.Errorf("autoscaler settings %+v", a)
	}
}

// What is only for clusters is refused by name.
// TestWithoutAnOverlayThePoolIsThatOfTheLocalOverlay holds what runs where there is no overlay to
// config/overlays/local.
func TestWithoutAnOverlayThePoolIsThatOfTheLocalOverlay(t *testing.T) {
	t.Parallel()
	whole, _, _, err := manifest.Load(t.Context(), manifest.Source{Overlay: filepath.Join(overlays, "local")}, manifest.Set{})
	if err != nil {
		t.Fatal(err)
	}
	alone, _, _, err := manifest.Load(t.Context(), manifest.Source{}, manifest.Set{})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(whole.Services, func(s manifest.Service) bool { return s.Name == "pool" })
	if at < 0 || len(alone.Services) != 1 {
		t.Fatalf("%d services, and the pool at %d of the overlay's", len(alone.Services), at)
	}
	want, got := whole.Services[at], alone.Services[0]
	if diff := cmp.Diff(want.Object.Spec, got.Object.Spec); diff != "" {
		t.Errorf("spec (-overlay +alone):\n%s", diff)
	}
	if diff := cmp.Diff(want.Env, got.Env); diff != "" {
		t.Errorf("environment (-overlay +alone):\n%s", diff)
	}
	if diff := cmp.Diff(whole.Autoscaler, alone.Autoscaler); diff != "" {
		t.Errorf("autoscaler (-overlay +alone):\n%s", diff)
	}
}

// TestFunctionsOfOtherModules holds that a folder's service.yaml is run beside the
// rest, built by that folder's module, and watched; that one with a fault leaves
// the others alone.
func TestFunctionsOfOtherModules(t *testing.T) {
	t.Parallel()
	good, bad := t.TempDir(), t.TempDir()
	text, err := os.ReadFile("../../examples/function/service.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for dir, text := range map[string][]byte{good: text, bad: []byte("kind: Nothing\n")} {
		if err := os.WriteFile(filepath.Join(dir, manifest.FunctionFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := manifest.Source{Functions: []string{good, bad}}
	set, snapshot, skipped, err := manifest.Load(t.Context(), source, manifest.Set{})
	if err != nil {
		t.Fatal(err)
	}
	if skipped == nil || !strings.Contains(skipped.Error(), bad) || strings.Contains(skipped.Error(), good) {
		t.Errorf("skipped %v, want it to name only %s", skipped, bad)
	}
	if len(set.Services) != 2 || set.Services[0].Name != "language-detect" {
		t.Fatalf("got %+v, want language-detect and the pool", set.Services)
	}
	function := set.Services[0]
	if got := function.Object.Spec.Template.Annotations[manifest.ModuleAnnotation]; got != good || function.Import != "example.com/language-detect" {
		t.Errorf("%s is built in %q, want %s", function.Import, got, good)
	}
	if snapshot.Changed() {
		t.Error("nothing has changed")
	}
	if err := os.WriteFile(filepath.Join(bad, manifest.FunctionFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if !snapshot.Changed() {
		t.Error("a change is not noticed")
	}
}

func TestClusterOverlaysAreForClusters(t *testing.T) {
	t.Parallel()
	_, _, err := load(t, manifest.Source{Overlay: filepath.Join(overlays, "gpu")})
	for _, want := range []string{
		`resources.limits["nvidia.com/gpu"]: not supported`, "spec.template.spec.runtimeClassName: not supported",
		"NetworkPolicy functions of networking.k8s.io/v1: not supported", "ResourceQuota modelserve of v1: not supported",
		"ConfigMap config-domain: not supported",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error:\n%v\nwant in it: %s", err, want)
		}
	}
}

func TestGood(t *testing.T) {
	t.Parallel()
	set, _, err := load(t, manifest.Source{Overlay: empty(t), Folder: "testdata/good"})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Services) != 3 || set.Services[0].Name != "everything" || set.Services[1].Name != "merged" || set.Services[2].Name != "minimal" {
		t.Fatalf("services %v", set.Services)
	}
	all, minimal := set.Services[0], set.Services[2]
	want := []corev1.EnvVar{
		{Name: "SHARED_COLOUR", Value: "green"},
		{Name: "PLAIN", Value: "yes"},
		{Name: "FROM_MAP", Value: "green"},
		{Name: "FROM_SECRET", Value: "t0ken"},
	}
	if diff := cmp.Diff(want, all.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if all.Import != "example.com/functions/everything" || all.File != "testdata/good/everything.yaml" {
		t.Errorf("import %q of %q", all.Import, all.File)
	}
	spec := minimal.Object.Spec.Template.Spec
	if *spec.TimeoutSeconds != 300 || *spec.ContainerConcurrency != 0 || minimal.Container().ReadinessProbe.TCPSocket == nil {
		t.Errorf("Knative's defaults are not filled in: %+v", spec)
	}
	if traffic := minimal.Object.Spec.Traffic; len(traffic) != 1 || *traffic[0].Percent != 100 {
		t.Errorf("traffic %+v", traffic)
	}
}

// Each bad file lists in comments what its error must hold.
func TestBad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			write(t, dir, filepath.Base(file), string(text))
			set, _, err := load(t, manifest.Source{Overlay: empty(t), Folder: dir})
			if err == nil {
				t.Fatalf("followed: %+v", set.Services)
			}
			for line := range strings.Lines(string(text)) {
				want, ok := strings.CutPrefix(strings.TrimSpace(line), "# want: ")
				if ok && !strings.Contains(err.Error(), want) {
					t.Errorf("error:\n%v\nwant in it: %s", err, want)
				}
			}
			if !strings.Contains(err.Error(), filepath.Base(file)) {
				t.Errorf("error does not name the file: %v", err)
			}
		})
	}
}

// A start leaves out what it cannot follow, by name, and runs the rest.
func TestLoad(t *testing.T) {
	t.Parallel()
	minimal, err := os.ReadFile("testdata/good/minimal.yaml")
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := os.ReadFile("testdata/bad/volumes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	overlay, dir := empty(t), t.TempDir()
	write(t, dir, "a.yaml", string(minimal))
	write(t, dir, "cut.yaml", "a: [")
	write(t, dir, "twin.yaml", string(minimal))
	write(t, dir, "volumes.yaml", string(volumes))
	set, snapshot, skipped, err := manifest.Load(t.Context(), manifest.Source{Overlay: overlay, Folder: dir}, manifest.Set{})
	if err != nil || len(set.Services) != 1 || set.Services[0].File != filepath.Join(dir, "a.yaml") || snapshot.Changed() {
		t.Fatalf("services %v, %v", set.Services, err)
	}
	for _, file := range []string{"cut.yaml", "twin.yaml", "volumes.yaml"} {
		if skipped == nil || !strings.Contains(skipped.Error(), filepath.Join(dir, file)+":") {
			t.Errorf("%s is not reported: %v", file, skipped)
		}
	}
	write(t, overlay, "settings.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: unused}\n")
	if _, _, _, err := manifest.Load(t.Context(), manifest.Source{Overlay: overlay, Folder: dir}, manifest.Set{}); err == nil || !strings.Contains(err.Error(), "Pod unused") {
		t.Errorf("a fault of the overlay: %v", err)
	}
}

// A fault in an overlay is reported with the file it is in, not the overlay's.
func TestFaultNamesTheFileBehindTheOverlay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, d := range []string{"base", "top"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("testdata/bad/volumes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "base/Kustomization", "resources: [wrong.yaml]\n")
	write(t, dir, "base/wrong.yaml", string(text))
	write(t, dir, "top/Kustomization", "resources: [../base]\nnamespace: default\n")
	_, _, err = load(t, manifest.Source{Overlay: filepath.Join(dir, "top")})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "base", "wrong.yaml")+":9: Service bad: spec.template.spec.volumes") {
		t.Errorf("error: %v", err)
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	overlay, folder := empty(t), t.TempDir()
	read := func() manifest.Snapshot {
		_, snapshot, _ := load(t, manifest.Source{Overlay: overlay, Folder: folder})
		return snapshot
	}
	expect := func(s manifest.Snapshot, changed bool, after string) {
		t.Helper()
		if s.Changed() != changed {
			t.Errorf("after %s: changed is %v", after, !changed)
		}
	}
	s := read()
	expect(s, false, "nothing")
	write(t, overlay, "settings.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: unused2}\n")
	expect(s, true, "an edit in the overlay")
	s = read()
	write(t, folder, "new.yaml", "a: [")
	expect(s, true, "a new file")
	s = read() // cannot be followed
	expect(s, false, "nothing, with a bad file")
	write(t, folder, "new.yaml", "")
	expect(s, true, "mending the bad file")
	s = read()
	if err := os.Remove(filepath.Join(folder, "new.yaml")); err != nil {
		t.Fatal(err)
	}
	expect(s, true, "removing a file")
	s = read()
	if err := os.Remove(filepath.Join(overlay, "settings.yaml")); err != nil {
		t.Fatal(err)
	}
	expect(s, true, "removing a file of the overlay")
	s = read() // cannot be built
	write(t, overlay, "settings.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: unused}\n")
	expect(s, true, "putting it back")
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := manifest.Decode(t.Context(), "x.yaml", []byte(text))
		for _, s := range set.Services {
			if err == nil && (s.Import == "" || s.Object.Spec.Template.Spec.TimeoutSeconds == nil) {
				t.Errorf("a Service without an import or defaults: %+v", s)
			}
		}
	})
}
