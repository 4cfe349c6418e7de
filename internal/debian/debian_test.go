package debian_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/internal/debian"
)

// machine stands in for a Debian machine: scripts in place of its programs, and
// packages that are plain tar archives.
type machine struct {
	t   *testing.T
	dir string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t, t.TempDir()}
	m.script("apt-config", `echo 'Acquire::http::Proxy "http://proxy.test:3128";'; echo 'Dir::Etc "etc/apt";'`)
	m.script("apt-get", `echo "$@" >>`+m.dir+`/calls
case "$*" in *update*) cp "$APT_CONFIG" `+m.dir+`/seen.conf; cp "$(dirname "$APT_CONFIG")/sources.list" `+m.dir+`/seen.list
	lists="$(dirname "$APT_CONFIG")/state/lists"
	printf 'Suite: x\nDate: Sat, 11 Jul 2026 10:16:37 UTC\n' >"$lists/a_InRelease"
	printf 'Suite: x\nDate: Tue, 24 Nov 2026 02:12:15 UTC\nOther: y\n' >"$lists/b_InRelease"; exit 0 ;; esac
for a in "$@"; do case $a in *=*) cp `+m.dir+`/"$(echo "$a" | sed 's/=/_/; s/:/%3a/')"_*.deb . ;; esac; done`)
	m.script("apt-cache", "! grep -q snapshots.test "+m.dir+"/seen.list || exec cat "+m.dir+"/offered\ncat "+m.dir+"/offers")
	m.script("dpkg-deb", `cat "$2"`)
	m.write("offers", "")
	return m
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) script(name, body string) { m.write(name+".sh", body+"\n") }

func (m *machine) read(name string) string {
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		return ""
	}
	return string(data)
}

func (m *machine) archive() *debian.Archive {
	return &debian.Archive{
		Dir: filepath.Join(m.dir, "cache"), Mirror: "http://mirror.test/", Out: io.Discard,
		Command: func(ctx context.Context, name string, args ...string) *exec.Cmd {
			return exec.CommandContext(ctx, "sh", append([]string{filepath.Join(m.dir, name+".sh")}, args...)...)
		},
	}
}

// offer has the archive offer a package that holds content, and pins it.
func (m *machine) offer(name, version string, content []byte) debian.Package {
	sum := sha256.Sum256(content)
	p := debian.Package{Name: name, Version: version, Architecture: "arm64", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
	m.write(name+"_"+strings.ReplaceAll(version, ":", "%3a")+"_arm64.deb", string(content))
	m.write("offers", m.read("offers")+"Package: "+name+"\nArchitecture: arm64\nVersion: "+version+"\nSize: 7\nSHA256: "+p.SHA256+"\nDescription: of\n Package: no\n\n")
	return p
}

func TestFetchOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	packages := []debian.Package{m.offer("libc6", "2.36-9", []byte("libc")), m.offer("redis-tools", "5:7.0", []byte("redis"))}
	var paths []string
	for range 3 {
		var err error
		if paths, err = m.archive().Fetch(t.Context(), "arm64", packages); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"libc", "redis"} {
		if got, err := os.ReadFile(paths[i]); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", paths[i], got, err)
		}
	}
	if got := m.read("calls"); strings.Count(got, "download") != 1 || strings.Count(got, "update") != 1 {
		t.Errorf("apt was called for what is there: %s", got)
	}
	if left, _ := filepath.Glob(filepath.Join(m.dir, "cache", "download-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(paths[0], []byte("cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.archive().Fetch(t.Context(), "arm64", packages); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(paths[0]); string(got) != "libc" {
		t.Errorf("a damaged package was kept: %q", got)
	}
}

// Nothing of the machine's apt is used but its proxies, and nothing is changed.
func TestAptHasARootOfItsOwn(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	root := filepath.Join(m.dir, "cache", "apt", "arm64")
	m.write("cache/apt/arm64/apt.conf", "of before")
	if err := os.Chmod(filepath.Join(root, "apt.conf"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.archive().Fetch(t.Context(), "arm64", []debian.Package{m.offer("libc6", "2.36-9", []byte("libc"))}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`Dir::Etc::parts "/dev/null"`, `Dir::Etc::main "/dev/null"`, `Dir::State "` + root + `/state"`, `Dir::Cache "` + root + `/cache"`,
		`Dir::State::status "` + root + `/status"`, `APT::Architecture "arm64"`, `APT::Architectures { "arm64"; }`, `Acquire::http::Proxy "http://proxy.test:3128"`,
	} {
		if !strings.Contains(m.read("seen.conf"), want) {
			t.Errorf("apt's configuration lacks %s:\n%s", want, m.read("seen.conf"))
		}
	}
	for _, name := range []string{"apt.conf", "sources.list"} { // which may have passwords
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if strings.Contains(m.read("seen.conf"), "etc/apt") {
		t.Error("more than proxies is taken from the machine's apt")
	}
	for _, want := range []string{"[arch=arm64 signed-by=", "http://mirror.test/debian bookworm main", "http://mirror.test/debian-security bookworm-security main"} {
		if !strings.Contains(m.read("seen.list"), want) {
			t.Errorf("the sources lack %s:\n%s", want, m.read("seen.list"))
		}
	}
}

func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*machine, *debian.Package)
		want   string
	}{
		"a version that is replaced":  {func(_ *machine, p *debian.Package) { p.Version = "2.36-8" }, "libc6 2.36-8 (arm64): Debian has replaced it by 2.36-9"},
		"and how to pin the new one":  {func(_ *machine, p *debian.Package) { p.Version = "2.36-8" }, "-pin"},
		"a package that is not there": {func(_ *machine, p *debian.Package) { p.Name = "libc7" }, "has none of that name"},
		"another sha256 in the list":  {func(_ *machine, p *debian.Package) { p.SHA256 = strings.Repeat("0", 64) }, "is pinned"},
		"other bytes":                 {func(m *machine, _ *debian.Package) { m.write("libc6_2.36-9_arm64.deb", "evil") }, "what was fetched has sha256"},
		"no network":                  {func(m *machine, _ *debian.Package) { m.script("apt-get", "echo 'E: no route' >&2; exit 100") }, "E: no route"},
		"a machine that is no Debian": {func(m *machine, _ *debian.Package) { m.script("apt-config", "exit 127") }, "the machine's proxies"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			p := m.offer("libc6", "2.36-9", []byte("libc"))
			tc.change(m, &p)
			_, err := m.archive().Fetch(t.Context(), "arm64", []debian.Package{p})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to say %q", err, tc.want)
			}
			if kept, _ := filepath.Glob(filepath.Join(m.dir, "cache", "packages", "*")); len(kept) != 0 {
				t.Errorf("kept: %v", kept)
			}
		})
	}
}

// What Debian has replaced comes from the snapshot of when it was pinned.
func TestFetchWhatIsReplaced(t *testing.T) {
	t.Parallel()
	const at = "20261124T141215Z"
	for name, tc := range map[string]struct {
		snapshots, at string
		gone          bool // from the snapshot too
		want          string
	}{
		"from a snapshot":           {"http://snapshots.test/archive/", at, false, ""},
		"nobody says where":         {"", at, false, "Debian has replaced it by 2.36-9"},
		"and how to":                {"", at, false, "-snapshots URL fetches them as of " + at},
		"nobody wrote down when":    {"http://snapshots.test/archive", "", false, "Debian has replaced it by 2.36-9"},
		"not in the snapshot":       {"http://snapshots.test/archive", at, true, "Debian has replaced it by 2.36-9"},
		"and what the snapshot has": {"http://snapshots.test/archive", at, true, "and in the snapshot of " + at + ":\npackage libc6 2.36-8 (arm64): Debian 12 has none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			p := m.offer("libc6", "2.36-8", []byte("libc"))
			p.Snapshot = tc.at
			m.write("offered", m.read("offers"))
			m.write("offers", "")
			m.offer("libc6", "2.36-9", []byte("newer"))
			if tc.gone {
				m.write("offered", "")
			}
			a := m.archive()
			a.Snapshots = tc.snapshots
			paths, err := a.Fetch(t.Context(), "arm64", []debian.Package{p})
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v, want it to say %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(paths[0]); err != nil || string(got) != "libc" {
				t.Errorf("%q, %v", got, err)
			}
			for _, want := range []string{
				" check-valid-until=no] http://snapshots.test/archive/debian/" + at + " bookworm main\n", "/debian/" + at + " bookworm-updates main\n",
				"http://snapshots.test/archive/debian-security/" + at + " bookworm-security main\n",
			} {
				if !strings.Contains(m.read("seen.list"), want) {
					t.Errorf("the sources lack %s:\n%s", want, m.read("seen.list"))
				}
			}
		})
	}
}

func TestNoDebian(t *testing.T) {
	t.Parallel()
	a := newMachine(t).archive()
	a.Command = func(ctx context.Context, name string, _ ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "no-such-program-"+name)
	}
	if _, err := a.Newest(t.Context(), "amd64", []string{"libc6"}); !errors.Is(err, debian.ErrNoDebian) {
		t.Errorf("without apt: %v", err)
	}
	if _, err := a.Read(t.Context(), "x.deb"); !errors.Is(err, debian.ErrNoDebian) {
		t.Errorf("without dpkg-deb: %v", err)
	}
}

func TestNewest(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	want := m.offer("libc6", "2.36-9", []byte("libc"))
	want.Size, want.Snapshot = 7, "20261124T141215Z" // half a day after the newest of the archive's dates
	got, err := m.archive().Newest(t.Context(), "arm64", []string{"libc6"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]debian.Package{want}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := m.archive().Newest(t.Context(), "arm64", []string{"libc6", "libc7"}); err == nil || !strings.Contains(err.Error(), "no package libc7") {
		t.Errorf("a package that is not there: %v", err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	deb := filepath.Join(m.dir, "x.deb")
	write := func(headers ...tar.Header) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		m.write("x.deb", b.String())
	}
	write(tar.Header{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./usr/a", Typeflag: tar.TypeReg, Mode: 0o755, Size: 3},
		tar.Header{Name: "./usr/b", Typeflag: tar.TypeSymlink, Linkname: "a"},
		tar.Header{Name: "../../usr/c", Typeflag: tar.TypeLink, Linkname: "./usr/a"})
	got, err := m.archive().Read(t.Context(), deb)
	if err != nil {
		t.Fatal(err)
	}
	want := []debian.Entry{
		{Path: "usr/a", Mode: 0o755, Data: []byte("xxx")},
		{Path: "usr/b", Mode: os.ModeSymlink, Link: "a"},
		{Path: "usr/c", Mode: 0o755, Data: []byte("xxx")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	write(tar.Header{Name: "./dev/null", Typeflag: tar.TypeChar})
	if _, err := m.archive().Read(t.Context(), deb); err == nil {
		t.Error("a device was read")
	}
	write(tar.Header{Name: "./usr/c", Typeflag: tar.TypeLink, Linkname: "./usr/a"})
	if _, err := m.archive().Read(t.Context(), deb); err == nil {
		t.Error("a link to a file that is not there was read")
	}
	m.write("x.deb", "no package")
	if _, err := m.archive().Read(t.Context(), deb); err == nil {
		t.Error("what is no package was read")
	}
	m.script("dpkg-deb", "echo 'not a Debian format archive' >&2; exit 2")
	if _, err := m.archive().Read(t.Context(), deb); err == nil || !strings.Contains(err.Error(), "not a Debian format archive") {
		t.Errorf("dpkg-deb's complaint is lost: %v", err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("a", 64)
	lock, err := debian.ParseLock(strings.NewReader("# comment\n\ntzdata 2026a-0 all " + sum + " 9\nlibc6 2.36-9 arm64 " + sum + " 8\nlibc6 2.36-9 amd64 " + sum + " 7\ntzdata 2026a-0 all " + sum + " 9\n"))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := lock.Write(&text); err != nil {
		t.Fatal(err)
	}
	want := "libc6 2.36-9 amd64 " + sum + " 7\nlibc6 2.36-9 arm64 " + sum + " 8\ntzdata 2026a-0 all " + sum + " 9\n"
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Error(diff)
	}
	for i := range lock {
		lock[i].Snapshot = []string{"20261124T141215Z", "20261124T141216Z"}[i%2]
	}
	text.Reset()
	if err := lock.Write(&text); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("snapshot 20261124T141216Z\n"+want, text.String()); diff != "" {
		t.Error(diff)
	}
	if read, err := debian.ParseLock(&text); err != nil || len(read) != 3 || read[0].Snapshot != "20261124T141216Z" || read[2].Snapshot != read[0].Snapshot {
		t.Errorf("%v, %v", read, err)
	}
	for _, architecture := range []string{"amd64", "arm64"} {
		if p, err := lock.Find("tzdata", architecture); err != nil || p.Architecture != debian.All {
			t.Errorf("tzdata for %s: %v, %v", architecture, p, err)
		}
	}
	if p, err := lock.Find("libc6", "arm64"); err != nil || p.Size != 8 {
		t.Errorf("libc6 for arm64: %v, %v", p, err)
	}
	if _, err := lock.Find("libc6", "riscv64"); err == nil {
		t.Error("libc6 is pinned for riscv64")
	}
	for name, line := range map[string]string{
		"an option for a name": "-o 1 all " + sum + " 1", "a path for a version": "libc6 1/../2 all " + sum + " 1",
		"a short sha256": "libc6 1 all abc 1", "no size": "libc6 1 all " + sum + " 0", "four fields": "libc6 1 all " + sum,
		"no time of a snapshot": "snapshot 2026/../..",
	} {
		if _, err := debian.ParseLock(strings.NewReader(line)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where nobody names a mirror, it is the machine's own, in either form of apt's
// sources; a machine that has none is told to name one.
func TestMirrorIsTheMachines(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ file, text, want string }{
		"one line each": {"sources.list", "# deb http://old.test/debian bookworm main\ndeb [arch=amd64] https://one.test/debian/ bookworm main\ndeb https://two.test/debian-security bookworm-security main\n", "https://one.test/debian bookworm main"},
		"stanzas":       {"sources.list.d/debian.sources", "Types: deb\nURIs: http://one.test/debian\nSuites: bookworm\n\nTypes: deb\nURIs: http://one.test/debian-security\nSuites: bookworm-security\n", "http://one.test/debian-security bookworm-security main"},
		"none":          {"sources.list", "deb http://one.test/ubuntu noble main\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			p := m.offer("libc6", "2.36", []byte("content"))
			a := m.archive()
			a.Mirror, a.Etc = "", filepath.Join(m.dir, "etc")
			m.write(filepath.Join("etc", tc.file), tc.text)
			_, err := a.Fetch(t.Context(), "arm64", []debian.Package{p})
			if tc.want == "" {
				if err == nil || !strings.Contains(err.Error(), "-mirror") {
					t.Errorf("%v, expected to be told of -mirror", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sources, err := os.ReadFile(filepath.Join(m.dir, "cache/apt/arm64/sources.list"))
			if err != nil || !strings.Contains(string(sources), tc.want) {
				t.Errorf("%v, expected %s in\n%s", err, tc.want, sources)
			}
		})
	}
}
