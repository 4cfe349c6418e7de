package rootfs_test

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/cmd/images/internal/elftest"
	"github.com/modelserveai/modelserve/cmd/images/internal/rootfs"
)

func file(path, content string) *rootfs.File {
	return &rootfs.File{Path: path, Mode: 0o644, Data: []byte(content)}
}

func link(path, to string) *rootfs.File {
	return &rootfs.File{Path: path, Mode: fs.ModeSymlink | 0o777, Link: to}
}

func object(path string, o elftest.Object) *rootfs.File {
	return &rootfs.File{Path: path, Mode: 0o755, Data: o.Bytes()}
}

func tree(t *testing.T, files ...*rootfs.File) *rootfs.Tree {
	t.Helper()
	var tree rootfs.Tree
	for _, f := range files {
		if err := tree.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	return &tree
}

// paths are those of a tree, folders aside.
func paths(tree *rootfs.Tree) []string {
	var all []string
	for _, f := range tree.Files() {
		if !f.Mode.IsDir() {
			all = append(all, f.Path)
		}
	}
	return all
}

func TestPathsAreAsDebianHasThem(t *testing.T) {
	t.Parallel()
	got := tree(t, file("./lib/x86_64-linux-gnu/libc.so.6", "c"), file("../../bin/true", "t"), file("etc/passwd", "p"), link("/lib64/ld.so", "/lib/x86_64-linux-gnu/libc.so.6"))
	want := []string{"bin", "etc/passwd", "lib", "lib64", "usr/bin/true", "usr/lib/x86_64-linux-gnu/libc.so.6", "usr/lib64/ld.so"}
	if diff := cmp.Diff(want, paths(got)); diff != "" {
		t.Error(diff)
	}
	if f := got.Lookup("/lib64/ld.so"); f == nil || string(f.Data) != "c" {
		t.Errorf("through links: %v", f)
	}
	if err := got.Add(file("etc/passwd", "another")); err == nil {
		t.Error("a second file took the first's place")
	}
	if err := got.Add(file("etc/passwd/below", "x")); err == nil {
		t.Error("a file went below a file")
	}
}

func TestPick(t *testing.T) {
	t.Parallel()
	from := tree(t, file("usr/share/zoneinfo/UTC", "u"), file("usr/share/zoneinfo/right/UTC", "r"), file("usr/share/zoneinfo/Europe/Vienna", "v"),
		link("usr/bin/server", "check"), file("usr/bin/check", "c"))
	for name, tc := range map[string]struct {
		patterns []string
		want     []string
		fault    string
	}{
		"all below, but some": {[]string{"usr/share/zoneinfo/**", "!usr/share/zoneinfo/right/**"}, []string{"usr/share/zoneinfo/Europe/Vienna", "usr/share/zoneinfo/UTC"}, ""},
		"of one folder":       {[]string{"/usr/share/zoneinfo/*"}, []string{"usr/share/zoneinfo/UTC"}, ""},
		"a link with its end": {[]string{"bin/server"}, []string{"bin", "usr/bin/check", "usr/bin/server"}, ""},
		"nothing":             {[]string{"usr/bin/serve"}, nil, `"usr/bin/serve" names no file`},
		"nothing to take out": {[]string{"usr/bin/*", "!usr/lib/*"}, nil, "names no file"},
		"no pattern":          {[]string{"usr/[bin"}, nil, "syntax error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got rootfs.Tree
			err := got.Pick(from, tc.patterns...)
			if tc.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fault) {
					t.Errorf("error %v, want %q", err, tc.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, paths(&got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

const libs = "usr/lib/x86_64-linux-gnu/"

func TestClose(t *testing.T) {
	t.Parallel()
	candidates := func(t *testing.T) *rootfs.Tree {
		return tree(t, link(libs+"libz.so.1", "libz.so.1.2"), object(libs+"libz.so.1.2", elftest.Object{Needs: []string{"libc.so.6"}}),
			object(libs+"libc.so.6", elftest.Object{Defines: []string{"GLIBC_2.28", "GLIBC_2.36"}}),
			object("usr/lib64/ld.so", elftest.Object{}), object(libs+"libunused.so", elftest.Object{}),
			object("opt/lib/libown.so", elftest.Object{}), object(libs+"libarm.so", elftest.Object{Machine: elf.EM_AARCH64}))
	}
	for name, tc := range map[string]struct {
		file  *rootfs.File
		want  []string // what is added
		fault string
	}{
		"what is needed, and what that needs": {
			object("app", elftest.Object{Needs: []string{"libz.so.1"}}),
			[]string{"lib", libs + "libc.so.6", libs + "libz.so.1", libs + "libz.so.1.2"},
			"",
		},
		"the loader": {object("app", elftest.Object{Loader: "/lib64/ld.so"}), []string{"lib64", "usr/lib64/ld.so"}, ""},
		"beside it by its own path": {
			object("opt/app", elftest.Object{Needs: []string{"libown.so"}, RunPath: "$ORIGIN/lib"}),
			[]string{"opt/lib/libown.so"},
			"",
		},
		"where programs open it":       {object("app", elftest.Object{Needs: []string{"libprovided.so"}}), nil, ""},
		"what the host brings":         {object("app", elftest.Object{Needs: []string{"libcuda.so.1"}}), nil, ""},
		"a version that is there":      {object("app", elftest.Object{Needs: []string{"libc.so.6"}, Asks: map[string][]string{"libc.so.6": {"GLIBC_2.28"}}}), []string{"lib", libs + "libc.so.6"}, ""},
		"no program":                   {file("app", "#!/bin/sh"), nil, ""},
		"a library that nothing has":   {object("app", elftest.Object{Needs: []string{"libgone.so.1"}}), nil, "app needs libgone.so.1"},
		"a loader that nothing has":    {object("app", elftest.Object{Loader: "/lib/ld-musl.so"}), nil, "app is loaded by /lib/ld-musl.so"},
		"a newer C library":            {object("app", elftest.Object{Needs: []string{"libc.so.6"}, Asks: map[string][]string{"libc.so.6": {"GLIBC_2.28", "GLIBC_2.38"}}}), nil, "GLIBC_2.38, which it has not"},
		"a library of another machine": {object("app", elftest.Object{Needs: []string{"libarm.so"}}), nil, "EM_AARCH64"},
		"a program of another machine": {object("app", elftest.Object{Machine: elf.EM_AARCH64}), nil, "EM_AARCH64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			linker, err := rootfs.LinkerFor("amd64")
			if err != nil {
				t.Fatal(err)
			}
			linker.Path, linker.Host = []string{"srv/lib"}, []string{"libcuda.so.1"}
			below, got := tree(t, object("srv/lib/libprovided.so", elftest.Object{})), tree(t, tc.file)
			before := paths(got)
			err = linker.Close(got, candidates(t), below)
			if tc.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fault) {
					t.Errorf("error %v, want %q", err, tc.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			added := map[string]bool{}
			for _, path := range append(before, tc.want...) {
				added[path] = true
			}
			have := map[string]bool{}
			for _, path := range paths(got) {
				have[path] = true
			}
			if diff := cmp.Diff(added, have); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := rootfs.LinkerFor("s390x"); err == nil {
		t.Error("an architecture of no images has a linker")
	}
}

func TestLinksMustLeadSomewhere(t *testing.T) {
	t.Parallel()
	good := tree(t, link("usr/bin/sh", "dash"), file("usr/bin/dash", ""), link("etc/alternatives/x", "/bin/sh"), link("var/run", "/run"), file("run/keep", ""), link("etc/mtab", "/proc/mounts"))
	if err := good.CheckLinks(); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]*rootfs.Tree{
		"away":   tree(t, link("usr/bin/sh", "bash")),
		"itself": tree(t, link("a", "b"), link("b", "a")),
	} {
		if err := bad.CheckLinks(); err == nil {
			t.Errorf("a link that leads to %s is accepted", name)
		}
	}
}

func TestTarIsTheSameBytes(t *testing.T) {
	t.Parallel()
	all := []*rootfs.File{
		{Path: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Path: "home/nonroot", Mode: fs.ModeDir | 0o700, Owner: 65532},
		file("usr/share/a", "a"), link("usr/share/b", "a"), file("etc/passwd", "below"),
	}
	below := tree(t, file("etc/passwd", "below"), file("usr/share/other", ""))
	var first bytes.Buffer
	if err := tree(t, all...).WriteTar(&first, below); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		var again bytes.Buffer
		turned := append(append([]*rootfs.File{}, all[i:]...), all[:i]...)
		if err := tree(t, turned...).WriteTar(&again, below); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), again.Bytes()) {
			t.Fatalf("another order of the same files gives other bytes (%d)", i)
		}
	}
	got, err := rootfs.ReadTar(&first)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"usr/share/a", "usr/share/b"}, paths(got)); diff != "" {
		t.Errorf("what the tree below has is written again: %s", diff)
	}
	if f := got.Lookup("tmp"); f.Mode != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("/tmp has mode %v", f.Mode)
	}
	if f := got.Lookup("home/nonroot"); f.Owner != 65532 || f.Mode.Perm() != 0o700 {
		t.Errorf("a home is of user %d with mode %v", f.Owner, f.Mode)
	}
}
