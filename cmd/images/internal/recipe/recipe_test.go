package recipe_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/cmd/images/internal/recipe"
)

const head = "name: x\ntitle: X\nlicenses: MIT\nlimit_mb: 1\n"

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadWithItsBase(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("a", 64)
	dir := write(t, map[string]string{
		"base.yaml":     head + "user: 65532\nworking_dir: /home\nenv: {A: \"1\", B: \"1\"}\npackages: {tzdata: []}\n",
		"x.yaml":        head + "from: base.yaml\nenv: {B: \"2\"}\npackages: {libc6: [usr/lib/*]}\nfolders: [{path: tmp, mode: \"1777\"}]\n",
		"packages.lock": "libc6 2.36-9 amd64 " + sum + " 1\n",
	})
	r, err := recipe.Load(filepath.Join(dir, "x.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "2"}, r.Env); diff != "" || r.User != 65532 || r.WorkingDir != "/home" {
		t.Errorf("of the base: user %d, %s, %s", r.User, r.WorkingDir, diff)
	}
	if got := fs.FileMode(r.Folders[0].Mode); got != fs.ModeSticky|0o777 {
		t.Errorf(`"1777" is %v`, got)
	}
	if p, err := r.Pinned("amd64"); err != nil || len(p) != 1 || p[0].Name != "libc6" {
		t.Errorf("pinned: %v, %v", p, err)
	}
	for r, architecture := range map[*recipe.Recipe]string{r: "arm64", r.Base: "amd64"} {
		if _, err := r.Pinned(architecture); err == nil || !strings.Contains(err.Error(), "-pin") {
			t.Errorf("what is not pinned: %v", err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"a field misspelt":          {head + "package: {}\n", `unknown field "package"`},
		"no name":                   {"title: X\nlicenses: MIT\nlimit_mb: 1\n", "name:"},
		"no licence":                {"name: x\ntitle: X\nlimit_mb: 1\n", "licenses"},
		"no limit":                  {"name: x\ntitle: X\nlicenses: MIT\n", "limit_mb"},
		"a mode in words":           {head + "folders: [{path: tmp, mode: rwx}]\n", "0755"},
		"a file of nothing":         {head + "files: [{path: etc/passwd}]\n", "files[0]"},
		"a file of two":             {head + "files: [{path: etc/passwd, content: x, link: y}]\n", "files[0]"},
		"a source elsewhere":        {head + "files: [{path: etc/passwd, source: ../passwd}]\n", "files[0].source"},
		"a package that is not its": {head + "concatenations: [{path: x, package: y, files: z}]\n", "concatenations[0]"},
		"itself below":              {head + "from: x.yaml\n", "adds to itself"},
		"a base that is not there":  {head + "from: y.yaml\n", "y.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"x.yaml": tc.text})
			if _, err := recipe.Load(filepath.Join(dir, "x.yaml")); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to say %q", err, tc.want)
			}
		})
	}
	dir := write(t, map[string]string{"x.yaml": head, "packages.lock": "libc6\n"})
	if _, err := recipe.Load(filepath.Join(dir, "x.yaml")); err == nil || !strings.Contains(err.Error(), "packages.lock: line 1") {
		t.Errorf("a bad list of packages: %v", err)
	}
}
