//go:build linux

package cli

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine stands in for a Debian machine, with scripts in place of its programs.
type machine struct {
	t   *testing.T
	dir string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t, t.TempDir()}
	m.write("bin/apt-config", `echo 'Acquire::http::Proxy "http://proxy.test:3128";'; echo 'Dir::Etc "etc/apt";'`)
	m.write("bin/apt-get", `cd() { :; }
echo "$@" >>`+m.dir+`/calls
case "$*" in
*indextargets*) cat `+m.dir+`/targets ;;
*update*) cat "$APT_CONFIG" >`+m.dir+`/seen.conf; cat "$(dirname "$APT_CONFIG")/sources.list" >`+m.dir+`/seen.list ;;
*--print-uris*) cat `+m.dir+`/uris ;;
*) for a in "$@"; do case $a in *=*) cp `+m.dir+`/"$(echo "$a" | sed 's/=/_/; s/:/%3a/')"_*.deb . || exit 100 ;; esac; done ;; esac`)
	m.write("bin/dpkg-deb", `echo "$@"`)
	m.write("targets", "http://one.test/other/ubuntu/\nhttp://one.test/some/debian-security/\nhttp://one.test/some/debian/\n")
	return m
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	if strings.HasPrefix(name, "bin/") {
		text = "#!/bin/sh\n" + text + "\n"
	}
	path := filepath.Join(m.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o700)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) read(name string) string {
	data, _ := os.ReadFile(filepath.Join(m.dir, name)) // what is not there has nothing
	return string(data)
}

// run runs debian.sh.
func (m *machine) run(input string, args ...string) (string, error) {
	args = append([]string{"../../debian.sh", args[0], filepath.Join(m.dir, "cache"), "arm64"}, args[1:]...)
	cmd := exec.CommandContext(m.t.Context(), "bash", args...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(m.dir, "bin")+":"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// offer has the archive offer a package that holds content, and returns how it is
// pinned.
func (m *machine) offer(file, content string) string {
	m.write(file, content)
	m.write("uris", m.read("uris")+"'http://mirror.test/debian/pool/"+file+"' "+file+" 7 SHA256:"+fmt.Sprintf("%x", sha256.Sum256([]byte(content)))+"\n")
	return fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(content)), file)
}

func TestFetchOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	lines := m.offer("libc6_2.36-9_arm64.deb", "libc") + m.offer("redis-tools_5%3a7.0_arm64.deb", "redis")
	fetch := func() {
		t.Helper()
		if out, err := m.run(lines, "fetch", ""); err != nil {
			t.Fatal(out, err)
		}
		if m.read("cache/packages/libc6_2.36-9_arm64.deb") != "libc" || m.read("cache/packages/redis-tools_5%3a7.0_arm64.deb") != "redis" {
			t.Error("something else is there")
		}
	}
	fetch()
	fetch()
	if got := m.read("calls"); strings.Count(got, "update") != 1 || !strings.Contains(got, "download -- libc6=2.36-9 redis-tools=5:7.0\n") {
		t.Errorf("apt was called for what is there: %s", got)
	}
	m.write("cache/packages/libc6_2.36-9_arm64.deb", "damaged")
	fetch()
}

// Nothing of the machine's apt is used but its proxies and its mirror, and nothing
// is changed.
func TestAptHasARootOfItsOwn(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	root := filepath.Join(m.dir, "cache", "apt", "arm64")
	m.write("cache/apt/arm64/apt.conf", "of before")
	if out, err := m.run(m.offer("libc6_2.36-9_arm64.deb", "libc"), "fetch", ""); err != nil {
		t.Fatal(out, err)
	}
	for _, want := range []string{
		`Dir::Etc::parts "/dev/null"`, `Dir::Etc::main "/dev/null"`, `Dir::Etc::sourceparts "/dev/null"`, `Dir::State "` + root + `/state"`, `Dir::Cache "` + root + `/cache"`,
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
	for _, want := range []string{"[arch=arm64 signed-by=/", " check-valid-until=no] http://one.test/some/debian bookworm main\n", "] http://one.test/some/debian bookworm-updates main\n", "] http://one.test/some/debian-security bookworm-security main\n"} {
		if !strings.Contains(m.read("seen.list"), want) {
			t.Errorf("the sources lack %s:\n%s", want, m.read("seen.list"))
		}
	}
}

func TestMirror(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ targets, named, want string }{
		"named":      {"http://one.test/debian/\n", "http://two.test/", "http://two.test/debian bookworm"},
		"the user's": {"http://one.test/debian/\n", "", "http://one.test/debian bookworm"},
		"Debian's":   {"", "", "http://deb.debian.org/debian-security bookworm-security"},
	} {
		m := newMachine(t)
		m.write("targets", tc.targets)
		if out, err := m.run(m.offer("libc6_2.36-9_arm64.deb", "libc"), "fetch", tc.named); err != nil || !strings.Contains(m.read("seen.list"), tc.want) {
			t.Errorf("%s: %s, %v: %s", name, out, err, m.read("seen.list"))
		}
	}
}

func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*machine)
		want   string
	}{
		"a version that is replaced": {func(m *machine) { _ = os.Remove(filepath.Join(m.dir, "libc6_2.36-9_arm64.deb")) }, "-pin"},
		"other bytes":                {func(m *machine) { m.write("libc6_2.36-9_arm64.deb", "evil") }, "not what is pinned"},
		"no network":                 {func(m *machine) { m.write("bin/apt-get", "echo 'E: no route' >&2; exit 100") }, "E: no route"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			line := m.offer("libc6_2.36-9_arm64.deb", "libc")
			tc.change(m)
			if out, err := m.run(line, "fetch", ""); err == nil || !strings.Contains(out, tc.want) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestPin(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	want := m.offer("libc6_2.36-9_arm64.deb", "libc") + m.offer("redis-tools_5%3a7.0_arm64.deb", "redis")
	out, err := m.run("", "pin", "", "libc6", "redis-tools")
	if _, err := m.run("", "pin", "", "libc6"); err == nil {
		t.Error("another number of packages than was asked for is taken")
	}
	if err != nil || !strings.HasSuffix(out, want) || !strings.Contains(m.read("calls"), "--print-uris -- libc6 redis-tools\n") || strings.Contains(m.read("seen.list"), "check-valid-until") {
		t.Errorf("%s, %v; want %s", out, err, want)
	}
}
