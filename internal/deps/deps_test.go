package deps_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/deps"
)

const content = "the model's bytes"

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// publish makes a wheel with one member in dir and returns its pin.
func publish(t *testing.T, dir string) deps.Wheel {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	member, err := w.Create("thing/model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := member.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "some_thing-1.0-py3-none-any.whl"), buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return deps.Wheel{
		Package: "some-thing", Version: "1.0", Platform: "any", SHA256: sum(buf.Bytes()), Size: int64(buf.Len()),
		Members: []deps.Member{{Name: "thing/model.onnx", Path: "models/thing/model.onnx", SHA256: sum([]byte(content)), Size: int64(len(content))}},
	}
}

// pip is a script in pip's place: it counts its calls and runs body with DEST.
func pip(t *testing.T, body string) (command []string, calls func() int) {
	t.Helper()
	dir := t.TempDir()
	log, script := filepath.Join(dir, "calls"), filepath.Join(dir, "pip.sh")
	text := "#!/bin/sh\necho call >>" + log + "\nwhile [ $# -gt 0 ]; do [ \"$1\" = --dest ] && DEST=$2; shift; done\n" + body + "\n"
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"sh", script}, func() int {
		data, err := os.ReadFile(log)
		if err != nil {
			return 0
		}
		return strings.Count(string(data), "call")
	}
}

func TestFetchOnceAndAgainAfterDamage(t *testing.T) {
	t.Parallel()
	index, dir := t.TempDir(), t.TempDir()
	wheel := publish(t, index)
	command, calls := pip(t, "cp "+index+"/*.whl $DEST/")
	f := &deps.Fetcher{Dir: dir, Pip: command, Out: new(bytes.Buffer)}
	path := filepath.Join(dir, "models/thing/model.onnx")
	for range 3 {
		if err := f.Fetch(t.Context(), []deps.Wheel{wheel}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Fatalf("%q, %v", got, err)
	}
	if calls() != 1 {
		t.Errorf("pip called %d times for one wheel", calls())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "wheels", "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(path, []byte("cut short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Fetch(t.Context(), []deps.Wheel{wheel}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != content {
		t.Errorf("a damaged file was kept: %q", got)
	}
}

// A copy of the folder has other times, and no other bytes.
func TestFetchKnowsACopy(t *testing.T) {
	t.Parallel()
	index, dir := t.TempDir(), t.TempDir()
	wheel := publish(t, index)
	command, calls := pip(t, "cp "+index+"/*.whl $DEST/")
	f := &deps.Fetcher{Dir: dir, Pip: command, Out: new(bytes.Buffer)}
	path, stamp := filepath.Join(dir, "models/thing/model.onnx"), filepath.Join(dir, ".stamps", "some-thing.json")
	fetch := func(wantCalls int, after string) {
		t.Helper()
		if err := f.Fetch(t.Context(), []deps.Wheel{wheel}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("after %s: %q, %v", after, got, err)
		}
		if calls() != wantCalls {
			t.Errorf("after %s: pip called %d times, want %d", after, calls(), wantCalls)
		}
	}
	fetch(1, "nothing")
	before, err := os.ReadFile(stamp)
	if err != nil {
		t.Fatal(err)
	}
	copied := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(path, copied, copied); err != nil {
		t.Fatal(err)
	}
	fetch(1, "a copy")
	if after, err := os.ReadFile(stamp); err != nil || bytes.Equal(before, after) {
		t.Errorf("not stamped again: %s, %v", after, err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), len(content)), 0o600); err != nil {
		t.Fatal(err)
	}
	fetch(2, "damage of the same size")
}

func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*deps.Wheel)
		script string // with %s for the index folder
		want   string
	}{
		"a wheel with another hash":     {func(w *deps.Wheel) { w.SHA256 = sum(nil) }, "cp %s/*.whl $DEST/", "its sha256 is"},
		"a member with another hash":    {func(w *deps.Wheel) { w.Members[0].SHA256 = sum(nil) }, "cp %s/*.whl $DEST/", "member thing/model.onnx: its sha256 is"},
		"a member larger than pinned":   {func(w *deps.Wheel) { w.Members[0].Size-- }, "cp %s/*.whl $DEST/", "member thing/model.onnx: it has"},
		"a member that is not there":    {func(w *deps.Wheel) { w.Members[0].Name = "thing/other" }, "cp %s/*.whl $DEST/", "take out thing/other"},
		"a pip that finds no network":   {func(*deps.Wheel) {}, "echo 'ERROR: no route'; exit 1", "ERROR: no route"},
		"a pip that brings nothing":     {func(*deps.Wheel) {}, "true", "pip downloaded no wheel"},
		"a download that is cut short":  {func(*deps.Wheel) {}, "head -c 40 %s/*.whl >$DEST/some_thing-1.0-py3-none-any.whl", "no wheel"},
		"no network, and what to do":    {func(*deps.Wheel) {}, "exit 1", "bring the wheel of some-thing 1.0"},
		"no network, and its sha256":    {func(*deps.Wheel) {}, "exit 1", "its sha256 is"},
		"no network, and where it goes": {func(*deps.Wheel) {}, "exit 1", "wheels"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index, dir := t.TempDir(), t.TempDir()
			wheel := publish(t, index)
			tc.change(&wheel)
			command, _ := pip(t, strings.ReplaceAll(tc.script, "%s", index))
			err := (&deps.Fetcher{Dir: dir, Pip: command, Out: new(bytes.Buffer)}).Fetch(t.Context(), []deps.Wheel{wheel})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to say %q", err, tc.want)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "models/thing/*")); len(left) != 0 {
				t.Errorf("half done: %v", left)
			}
		})
	}
}

func TestFetchTakesUpWhatWasStopped(t *testing.T) {
	t.Parallel()
	index, dir := t.TempDir(), t.TempDir()
	wheel := publish(t, index)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	command, calls := pip(t, "cp "+index+"/*.whl $DEST/")
	f := &deps.Fetcher{Dir: dir, Pip: command, Out: new(bytes.Buffer)}
	if err := f.Fetch(ctx, []deps.Wheel{wheel}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	// A wheel put in place by hand needs no pip, and stays.
	byHand := filepath.Join(dir, "wheels", "some_thing-1.0-py3-none-any.whl")
	data, err := os.ReadFile(filepath.Join(index, filepath.Base(byHand)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(byHand, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Fetch(t.Context(), []deps.Wheel{wheel}); err != nil {
		t.Fatal(err)
	}
	if calls() != 0 {
		t.Errorf("pip called %d times", calls())
	}
	if _, err := os.Stat(byHand); err != nil {
		t.Error(err)
	}
}

// TestPins holds every pin to its form; the fetch holds them to their bytes.
func TestPins(t *testing.T) {
	t.Parallel()
	hash := regexp.MustCompile(`^[0-9a-f]{64}$`)
	for _, platform := range []string{"linux/amd64", "linux/arm64", "darwin/arm64"} {
		wheels, err := deps.Wheels(platform)
		if err != nil {
			t.Fatal(err)
		}
		if gpu, err := deps.GPUWheels(platform); err == nil {
			wheels = append(wheels, gpu...)
		}
		paths, packages := map[string]bool{}, map[string]bool{}
		for _, w := range wheels {
			if packages[w.Package] {
				t.Errorf("%s: %s is pinned twice", platform, w.Package)
			}
			packages[w.Package] = true
			if !hash.MatchString(w.SHA256) || w.Size == 0 || len(w.Members) == 0 {
				t.Errorf("%s: bad pin of %s", platform, w.Package)
			}
			for _, m := range w.Members {
				if !hash.MatchString(m.SHA256) || m.Size == 0 || paths[m.Path] || !filepath.IsLocal(m.Path) {
					t.Errorf("%s: bad pin of %s", platform, m.Name)
				}
				paths[m.Path] = true
			}
		}
		if paths[deps.GPULibrary] != (platform == "linux/amd64") {
			t.Errorf("%s: the library for CUDA is pinned: %v", platform, paths[deps.GPULibrary])
		}
	}
	if _, err := deps.Wheels("plan9/386"); err == nil || !strings.Contains(err.Error(), "linux/amd64") {
		t.Errorf("an unknown platform: %v", err)
	}
}
