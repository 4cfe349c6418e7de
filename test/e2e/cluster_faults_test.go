//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// These break parts of the cluster, one at a time: they are not parallel.

// classify is a call that any text of Go answers.
func classify(p *platform) request {
	return request{
		host: p.Host("content-detect"), path: "/", body: []byte("package main\n\nfunc main() {}\n"),
		header: map[string]string{"Content-Type": "application/octet-stream"},
	}
}

// away is what a call may get while something is down: an answer that asks to come
// back, or none at all; never one that blames the caller.
var away = regexp.MustCompile(`^(429|502|503|504) |EOF|connection reset|connection refused`)

// through breaks something while a function is called all the time, and wants the
// service's pods replaced, the calls to be answered again by themselves, and
// nothing but what away allows between.
func through(t *testing.T, what, service string, breakIt func()) {
	t.Helper()
	p := cluster(t)
	p.eventually(t, "the function answers", func() error { return answers(t, p, classify(p)) })
	stop := p.steady(t, classify(p), 2)
	before, err := podsOf(t, service)
	if err != nil || len(before) == 0 {
		t.Fatalf("%s has %d pods (%v)", service, len(before), err)
	}
	breakIt()
	p.eventually(t, "the pods are others after "+what, func() error { return replaced(t, service, before) })
	p.eventually(t, "the function answers again after "+what, func() error { return answers(t, p, classify(p)) })
	good, failed := stop()
	t.Logf("%s: %d answered, %d not", what, good, len(failed))
	for _, err := range failed {
		if !away.MatchString(err.Error()) {
			t.Errorf("after %s: %v", what, err)
			return
		}
	}
	if good == 0 {
		t.Errorf("nothing was answered")
	}
}

// replaced wants a service to have a ready pod, and none of before.
func replaced(t *testing.T, service string, before []corev1.Pod) error {
	t.Helper()
	now, err := podsOf(t, service)
	if err != nil {
		return err
	}
	ready := false
	for _, pod := range now {
		if slices.ContainsFunc(before, func(old corev1.Pod) bool { return old.UID == pod.UID }) {
			return fmt.Errorf("%s is still there", pod.Name)
		}
		for _, is := range pod.Status.Conditions {
			ready = ready || is.Type == corev1.PodReady && is.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	if !ready {
		return fmt.Errorf("none of %d pods is ready", len(now))
	}
	return nil
}

// killPods leaves a service's pods a second to end, and returns when they have. With
// --force they would be forgotten at once, and answer until they have drained.
func killPods(t *testing.T, service string) {
	t.Helper()
	mustTool(t, "kubectl", "delete", "pods", "-l", "serving.knative.dev/service="+service, "--now")
}

func TestClusterAKilledPodIsReplaced(t *testing.T) {
	through(t, "its pod was killed", "content-detect", func() { killPods(t, "content-detect") })
}

// TestClusterAKilledFunctionFailsNobody kills a function's process, as a node does
// that has no memory left. Kubernetes starts it again at once, and after ten
// seconds when it ends a second time.
func TestClusterAKilledFunctionFailsNobody(t *testing.T) {
	if os.Getenv("MODELSERVE_CLUSTER") == "" {
		t.Fatal("MODELSERVE_CLUSTER is not set: this test kills processes of the cluster that `make cluster` made")
	}
	const function = "content-detect"
	p := cluster(t)
	killPods(t, function) // whose containers were started again before wait longer
	p.eventually(t, "the function answers", func() error { return answers(t, p, classify(p)) })
	stop := p.steady(t, classify(p), 4)
	for kill := range 2 {
		killProcesses(t, "/ko-app/"+function, "")
		p.eventually(t, "it has been started again", func() error { return restarted(t, function, int32(kill+1)) })
		p.eventually(t, "the function answers again", func() error { return answers(t, p, classify(p)) })
	}
	noneFailed(t, stop)
}

// killProcesses kills every process of a program on this machine, by the path of the
// program in its container; those of one pod alone, where its UID is not "".
func killProcesses(t *testing.T, program, pod string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, link := range links {
		if path, err := os.Readlink(link); err != nil || path != program {
			continue
		}
		if of, err := os.ReadFile(filepath.Join(filepath.Dir(link), "cgroup")); err != nil || !bytes.Contains(of, []byte(pod)) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("kill %s, %d: %v", program, pid, err)
		}
		killed++
	}
	if killed == 0 {
		t.Errorf("no process of %s here", program)
	}
}

// restarted wants a ready pod of a service whose container was started again so
// many times.
func restarted(t *testing.T, service string, times int32) error {
	t.Helper()
	pods, err := podsOf(t, service)
	if err != nil {
		return err
	}
	for _, pod := range staying(pods) {
		for _, c := range pod.Status.ContainerStatuses {
			if c.Name != "queue-proxy" && c.RestartCount >= times && c.Ready {
				return nil
			}
		}
	}
	return fmt.Errorf("none of %d pods was started again %d times", len(pods), times)
}

func TestClusterAKilledGatewayIsReplaced(t *testing.T) {
	through(t, "the gateway was killed", "gateway", func() { killPods(t, "gateway") })
}

// PostgreSQL and Redis hold nothing that a call to a function needs: they may go
// and come without one that fails, and with what was written to them.
func TestClusterStoresAreRestarted(t *testing.T) {
	p := cluster(t)
	p.eventually(t, "the function answers", func() error { return answers(t, p, classify(p)) })
	written := "before " + time.Now().Format(time.RFC3339Nano)
	for _, store := range stores() {
		if out, err := store.do(t, store.write, written); err != nil {
			t.Fatalf("write to %s: %v\n%s", store.pod, err, out)
		}
		t.Cleanup(func() { _, _ = store.do(t, store.forget, "") })
	}
	stop := p.steady(t, classify(p), 2)
	mustTool(t, "kubectl", "-n", "modelserve", "rollout", "restart", "statefulset/postgres", "statefulset/redis")
	for _, name := range []string{"postgres", "redis"} {
		mustTool(t, "kubectl", "-n", "modelserve", "rollout", "status", "statefulset/"+name, "--timeout=120s")
	}
	noneFailed(t, stop)
	for _, store := range stores() {
		p.eventually(t, store.pod+" has what was written", func() error {
			out, err := store.do(t, store.read, "")
			if err == nil && strings.TrimSpace(out) != written {
				err = fmt.Errorf("it has %q, expected %q", out, written)
			}
			return err
		})
	}
}

// store is one of what the platform stands on, and the lines of shell by which its
// own client writes a text, $1, to it, reads that and removes it.
type store struct{ pod, write, read, forget string }

func stores() []store {
	const (
		psql  = `PGPASSWORD=$POSTGRES_PASSWORD psql -XqtAc `
		redis = `REDISCLI_AUTH=$REDIS_PASSWORD redis-cli -e `
	)
	return []store{
		{
			pod: "postgres-0", write: psql + `"DROP TABLE IF EXISTS e2e; CREATE TABLE e2e AS SELECT '$1' AS kept"`,
			read: psql + `"SELECT kept FROM e2e"`, forget: psql + `"DROP TABLE e2e"`,
		},
		{pod: "redis-0", write: redis + `SET e2e "$1"`, read: redis + `GET e2e`, forget: redis + `DEL e2e`},
	}
}

// do runs a line in the store's own container.
func (s *store) do(t *testing.T, line, text string) (string, error) {
	t.Helper()
	return kubectl(t, "-n", "modelserve", "exec", s.pod, "--", "sh", "-c", line, "sh", text)
}

// A pod that starts while S3 is away waits for it, and reports so; what runs goes on.
func TestClusterS3AwayWhileAPodStarts(t *testing.T) {
	p := cluster(t)
	p.eventually(t, "the function answers", func() error { return answers(t, p, classify(p)) })
	mustTool(t, "kubectl", "-n", "modelserve", "scale", "statefulset/s3", "--replicas=0")
	back := func() { mustTool(t, "kubectl", "-n", "modelserve", "scale", "statefulset/s3", "--replicas=1") }
	t.Cleanup(back)
	mustTool(t, "kubectl", "-n", "modelserve", "wait", "--for=delete", "pod/s3-0", "--timeout=60s")
	if err := answers(t, p, classify(p)); err != nil {
		t.Errorf("a function that runs, without S3: %v", err)
	}
	killPods(t, "content-detect")
	done := make(chan error, 1)
	go func() { done <- answers(t, p, classify(p)) }()
	p.eventually(t, "the new pod reports what it waits for", func() error {
		out, err := kubectl(t, "logs", "-l", "serving.knative.dev/service=content-detect", "-c", "function", "--tail=-1")
		if err == nil && !strings.Contains(out, "S3 unreachable") {
			err = fmt.Errorf("its log:\n%s", out)
		}
		return err
	})
	back()
	if err := <-done; err != nil && !away.MatchString(err.Error()) {
		t.Errorf("a call while S3 was away: %v", err)
	}
	p.eventually(t, "it answers when S3 is back", func() error { return answers(t, p, classify(p)) })
}

// TestClusterTheContainerRuntimeIsRestarted kills containerd and starts it again.
// What ran goes on; that it still starts and ends pods is seen by one more.
func TestClusterTheContainerRuntimeIsRestarted(t *testing.T) {
	if os.Getenv("MODELSERVE_CLUSTER") == "" {
		t.Fatal("MODELSERVE_CLUSTER is not set: this test restarts the container runtime of the cluster that `make cluster` made")
	}
	through(t, "the container runtime was restarted", "content-detect", func() {
		mustTool(t, os.Getenv("MODELSERVE_CLUSTER"), "restart", "containerd")
		killPods(t, "content-detect")
	})
}
