//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRecordDistinguishesAProcessFromALaterOne(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started, err := startTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	r := record{PID: cmd.Process.Pid, Started: started}
	if !r.alive() {
		t.Error("a process that runs is not alive")
	}
	if later := (record{PID: r.PID, Started: "1"}); later.alive() {
		t.Error("another process of the same number passes for the one that was started")
	}
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if r.alive() {
		t.Error("a process that has ended is alive")
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	kinds, rest, err := split(`# only a comment
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: webhook}
spec:
  template:
    spec:
      containers:
        - name: webhook
          resources: {requests: {cpu: 100m, memory: 100Mi}, limits: {cpu: 500m}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: services.serving.knative.dev}
`)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(kinds, "services.serving.knative.dev") || strings.Contains(kinds, "webhook") {
		t.Errorf("kinds: %s", kinds)
	}
	if strings.Contains(rest, "100m") || !strings.Contains(rest, "cpu: 1m") || !strings.Contains(rest, "100Mi") || !strings.Contains(rest, "500m") {
		t.Errorf("expected the request for processor time to be small, and nothing else changed:\n%s", rest)
	}
	if _, _, err := split("kind: [\n"); err == nil {
		t.Error("what is no YAML was taken")
	}
}

func TestDelegate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.controllers"), []byte("cpuset cpu io memory pids rdma\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := delegate(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil || string(got) != "+cpuset +cpu +memory +pids" {
		t.Errorf("handed down %q: %v", got, err)
	}
}

// TestTheGatewayKnowsThisClustersPods holds that the network of pods, whose addresses
// the activator and the ingress have, is the one that overlays/dev has the gateway trust.
func TestTheGatewayKnowsThisClustersPods(t *testing.T) {
	t.Parallel()
	patch, err := os.ReadFile("../../config/overlays/dev/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := "value: 127.0.0.1/32,::1/128," + podCIDR + "\n"; !strings.Contains(string(patch), want) {
		t.Errorf("config/overlays/dev/gateway.yaml has not %q", want)
	}
}

func TestWithoutProxy(t *testing.T) {
	t.Parallel()
	const own = "198.18.0.0/30,10.96.0.0/16,10.244.0.0/24,.svc,.test"
	upper, lower := withoutProxy("a.example, .svc", "")
	if want := "a.example,.svc,198.18.0.0/30,10.96.0.0/16,10.244.0.0/24,.test"; upper != want || lower != want {
		t.Errorf("got %s and %s, expected %s", upper, lower, want)
	}
	if again, other := withoutProxy(upper, "b.example"); again != upper || other != "b.example,"+own {
		t.Errorf("a second time: %s and %s", again, other)
	}
	if upper, lower := withoutProxy("", ""); upper != own || lower != own {
		t.Errorf("of none: %s and %s", upper, lower)
	}
}

func TestUntilEndsOnAFatalError(t *testing.T) {
	t.Parallel()
	p := newProgress(io.Discard)
	began := 0
	err := p.until(t.Context(), time.Hour, "a daemon", func(context.Context) error {
		if began++; began < 3 {
			return errors.New("not yet")
		}
		return errors.Join(errors.New("the log"), fatalError{errors.New("it has ended")})
	})
	if err == nil || began != 3 {
		t.Errorf("asked %d times: %v", began, err)
	}
}

func TestOnceLooksForWhatWasMade(t *testing.T) {
	t.Parallel()
	c := &cluster{dir: t.TempDir(), progress: newProgress(io.Discard)}
	file := filepath.Join(c.dir, "made")
	made := func() bool { _, err := os.Stat(file); return err == nil }
	done, sum, failed := 0, "1", error(nil)
	do := func() {
		t.Helper()
		err := c.once("x", made, func() (string, error) { return sum, nil }, func() error {
			if done++; failed != nil {
				return failed
			}
			return os.WriteFile(file, nil, 0o600)
		})
		if !errors.Is(err, failed) {
			t.Fatal(err)
		}
	}
	do()
	do()
	if done != 1 {
		t.Errorf("done %d times, expected once", done)
	}
	sum = "2"
	do()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	do()
	if done != 3 {
		t.Errorf("done %d times, expected again for another sum, and for what is gone", done)
	}
	sum, failed = "3", errors.New("interrupted")
	do()
	sum, failed = "2", nil
	do()
	if done != 5 {
		t.Errorf("done %d times, expected again for what was begun of another sum", done)
	}
}

// What is configured is configured whole: a template that names a setting there
// is none of is an error.
func TestConfigure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &cluster{dir: dir, run: filepath.Join(dir, "run"), state: filepath.Join(dir, "state"), progress: newProgress(io.Discard)}
	for _, name := range configuration() {
		if err := c.configure(name); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, err := os.ReadFile(filepath.Join(c.run, name))
		if err != nil || strings.Contains(string(text), "{{") || strings.Contains(string(text), "<no value>") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}
