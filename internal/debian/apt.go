package debian

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNoDebian says what a machine lacks.
var ErrNoDebian = errors.New("this needs apt-get, apt-cache, apt-config and dpkg-deb, which Debian and Ubuntu have.\n" +
	"  Elsewhere run it in a container of debian:" + codename + "; the images come out the same")

// keyring has the keys that Debian signs its archive with.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// root is the folder that apt has for its own, for one architecture.
func (a *Archive) root(architecture string) string {
	return filepath.Join(a.Dir, "apt", architecture)
}

// run runs one of apt's programs on that architecture's root, in dir.
func (a *Archive) run(ctx context.Context, architecture, dir, name string, args ...string) ([]byte, error) {
	cmd := a.command(ctx, name, args...)
	cmd.Dir = dir
	config, err := filepath.Abs(filepath.Join(a.root(architecture), "apt.conf"))
	if err != nil {
		return nil, fmt.Errorf("find apt's configuration: %w", err)
	}
	cmd.Env = append(os.Environ(), "APT_CONFIG="+config, "LC_ALL=C")
	return output(cmd)
}

// command is one of the machine's programs, or its stand-in.
func (a *Archive) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := a.Command
	if command == nil {
		command = exec.CommandContext
	}
	cmd := command(ctx, name, args...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// output runs a command and returns what it wrote; what it complained of is in
// the error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%w: %w", ErrNoDebian, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w\n    %s", filepath.Base(cmd.Path), err,
			strings.ReplaceAll(strings.TrimSpace(complaint.String()), "\n", "\n    "))
	}
	return out.Bytes(), nil
}

// update makes the architecture's root and has apt read what the archive holds, or
// held at the time of a snapshot.
func (a *Archive) update(ctx context.Context, architecture, snapshot string) error {
	root, err := filepath.Abs(a.root(architecture))
	if err != nil {
		return fmt.Errorf("find apt's folder: %w", err)
	}
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return fmt.Errorf("make apt's folder: %w", err)
		}
	}
	proxies, err := a.proxies(ctx)
	if err != nil {
		return err
	}
	sources, err := a.sources(architecture, snapshot)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"status":       "",
		"sources.list": sources,
		"apt.conf":     configuration(root, architecture) + proxies,
	} {
		// Proxies and mirrors may have passwords in their URLs.
		path := filepath.Join(root, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, 0o600)); err != nil {
			return fmt.Errorf("write apt's configuration: %w", err)
		}
	}
	a.say("  apt          %s: read what the archive holds", architecture)
	if _, err := a.run(ctx, architecture, root, "apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", "update"); err != nil {
		return fmt.Errorf("read what Debian's archive holds: %w\n  (its keys are in the package debian-archive-keyring)", err)
	}
	return nil
}

func (a *Archive) sources(architecture, snapshot string) (string, error) {
	options := fmt.Sprintf("arch=%s signed-by=%s", architecture, keyring)
	archive, security, err := a.mirrors()
	if err != nil {
		return "", err
	}
	if snapshot != "" {
		options += " check-valid-until=no"
		from := strings.TrimRight(a.Snapshots, "/")
		archive, security = from+"/debian/"+snapshot, from+"/debian-security/"+snapshot
	}
	var text strings.Builder
	for _, suite := range []string{archive + " " + codename, archive + " " + codename + "-updates", security + " " + codename + "-security"} {
		fmt.Fprintf(&text, "deb [%s] %s main\n", options, suite)
	}
	return text.String(), nil
}

// snapshot names a time at which a snapshot has what apt has just read: within
// half a day of the archive's own date. Its keeper rounds down to one it has.
func (a *Archive) snapshot(architecture string) (string, error) {
	files, err := filepath.Glob(filepath.Join(a.root(architecture), "state/lists/*Release"))
	if err != nil {
		return "", fmt.Errorf("find the archive's date: %w", err)
	}
	var newest time.Time
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read the archive's date: %w", err)
		}
		_, rest, _ := strings.Cut("\n"+string(data), "\nDate: ")
		text, _, _ := strings.Cut(rest, "\n")
		date, err := time.Parse(time.RFC1123, text)
		if err != nil {
			return "", fmt.Errorf("%s: the archive's date: %w", filepath.Base(file), err)
		}
		if date.After(newest) {
			newest = date
		}
	}
	if newest.IsZero() {
		return "", fmt.Errorf("apt has read no archive for %s", architecture)
	}
	return newest.Add(12 * time.Hour).UTC().Format(snapshotForm), nil
}

// mirrors are where Debian's archive and its security updates are: at the mirror
// that was named, else where the machine's own apt finds them.
func (a *Archive) mirrors() (archive, security string, err error) {
	if a.Mirror != "" {
		mirror := strings.TrimRight(a.Mirror, "/")
		return mirror + "/debian", mirror + "/debian-security", nil
	}
	etc := cmp.Or(a.Etc, "/etc/apt")
	for _, pattern := range []string{"sources.list", "sources.list.d/*.list", "sources.list.d/*.sources"} {
		files, err := filepath.Glob(filepath.Join(etc, pattern))
		if err != nil {
			return "", "", fmt.Errorf("find apt's sources: %w", err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return "", "", fmt.Errorf("read apt's sources: %w", err)
			}
			archive = cmp.Or(archive, sourceOf(string(data), "/debian"))
			security = cmp.Or(security, sourceOf(string(data), "/debian-security"))
		}
	}
	if archive == "" || security == "" {
		return "", "", fmt.Errorf("%s names no mirror of Debian with its security updates: name one, which has /debian and /debian-security, with -mirror", etc)
	}
	return archive, security, nil
}

// sourceOf is the first source of apt's in a text whose path ends so, in either
// form that apt has (sources.list(5)).
func sourceOf(text, ending string) string {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for _, word := range strings.Fields(line) {
			if word = strings.TrimRight(word, "/"); strings.Contains(word, "://") && strings.HasSuffix(word, ending) {
				return word
			}
		}
	}
	return ""
}

// configuration keeps apt within root. It is read before the machine's own
// configuration, which it switches off with its hooks.
func configuration(root, architecture string) string {
	return fmt.Sprintf(`Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
`, root, architecture)
}

// proxies is the part of the machine's configuration of apt that says how the
// archive is reached.
func (a *Archive) proxies(ctx context.Context) (string, error) {
	dump, err := output(a.command(ctx, "apt-config", "dump"))
	if err != nil {
		return "", fmt.Errorf("read the machine's proxies: %w", err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(dump)) {
		if strings.HasPrefix(line, "Acquire::http") { // and https
			text.WriteString(line)
		}
	}
	return text.String(), nil
}
