//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

const contractService = "e2e-contract"

// TestClusterRuntimeContract holds a function's container to Knative's runtime
// contract (knative.dev/specs, serving/runtime-contract.md) as far as it is the
// container's: its port, user, file system, concurrency and end. The function
// takes a second for an answer, so that there is something to see.
func TestClusterRuntimeContract(t *testing.T) {
	if os.Getenv("MODELSERVE_CLUSTER") == "" {
		t.Fatal("MODELSERVE_CLUSTER is not set: this test looks at processes of the cluster that `make cluster` made")
	}
	p := cluster(t)
	const port, limit = "9191", 2
	err := knService(t, "apply", contractService, imageOf(t, "text-detect"), "text-detect@1",
		"--port", "h2c:"+port, "--concurrency-limit", fmt.Sprint(limit), "--scale-max", "1")
	if err != nil {
		t.Fatal(err)
	}
	read := request{host: p.Host(contractService), path: "/", body: testdata(t, "functions/text-detect/testdata/page.png"), header: map[string]string{"Content-Type": "image/png"}}
	p.eventually(t, "it answers", func() error { return answers(t, p, read) })

	t.Run("its environment", func(t *testing.T) {
		environ := environOf(t, processOf(t, contractService, "user-container"))
		for _, want := range []string{"PORT=" + port, "K_SERVICE=" + contractService, "K_CONFIGURATION=" + contractService, "K_REVISION=" + latest(t, contractService)} {
			if !slices.Contains(environ, want) {
				t.Errorf("no %s in its environment", want)
			}
		}
	})
	t.Run("a function of config", func(t *testing.T) {
		p.eventually(t, "it answers", func() error { return answers(t, p, classify(p)) })
		proc := processOf(t, "content-detect", "function")
		isConfined(t, proc)
		hasHugePages(t, proc)
	})
	t.Run("the gateway", func(t *testing.T) {
		isConfined(t, processOf(t, "gateway", "gateway"), "/tmp")
	})
	t.Run("concurrency", func(t *testing.T) {
		done := callTogether(t, p, read, 8)
		most := 0
		for n := range inFlight(t, done) {
			most = max(most, n)
		}
		// Less would mean that this looks in the wrong place.
		if most != limit {
			t.Errorf("at most %d calls were in the container at once, expected %d", most, limit)
		}
	})
	t.Run("SIGTERM", func(t *testing.T) {
		done := callTogether(t, p, read, limit)
		for n := range inFlight(t, done) {
			if n == limit {
				mustTool(t, "kubectl", "delete", "pods", "-l", "serving.knative.dev/service="+contractService, "--wait=false")
				break
			}
		}
		<-done
		p.eventually(t, "another pod answers", func() error { return answers(t, p, read) })
	})
}

// callTogether calls n times at once, each of which has to be answered.
func callTogether(t *testing.T, p *platform, r request, n int) (done chan struct{}) {
	t.Helper()
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() {
			if err := answers(t, p, r); err != nil {
				t.Error(err)
			}
		})
	}
	done = make(chan struct{})
	go func() { calls.Wait(); close(done) }()
	return done
}

// inFlight asks the service's one pod again and again how many calls are in it,
// until done.
func inFlight(t *testing.T, done <-chan struct{}) func(func(int) bool) {
	t.Helper()
	pods, err := podsOf(t, contractService)
	if err != nil || len(pods) != 1 {
		t.Fatalf("%d pods (%v), expected one", len(pods), err)
	}
	return func(yield func(int) bool) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			n, err := callsIn(t, &pods[0])
			if err != nil {
				t.Error(err)
				return
			}
			if !yield(n) {
				return
			}
		}
	}
}

var inFlightLine = regexp.MustCompile(`(?m)^modelserve_requests_in_flight(?:\{[^}]*\})? (\d+)$`)

// callsIn is the sum of the function's calls in flight, of all protocols.
func callsIn(t *testing.T, pod *corev1.Pod) (int, error) {
	t.Helper()
	text, err := fetch(t, pod, "9464", "/metrics")
	if err != nil {
		return 0, err
	}
	found := inFlightLine.FindAllSubmatch(text, -1)
	if found == nil {
		return 0, fmt.Errorf("the metrics of %s have no %s", pod.Name, inFlightLine)
	}
	sum := 0
	for _, line := range found {
		n, err := strconv.Atoi(string(line[1]))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func environOf(t *testing.T, proc string) []string {
	t.Helper()
	return strings.Split(string(readFile(t, filepath.Join(proc, "environ"))), "\x00")
}

// isConfined looks at a process of config/ from the machine: it may write to
// nothing but what is named.
func isConfined(t *testing.T, proc string, writable ...string) {
	t.Helper()
	status := map[string]string{}
	for line := range strings.Lines(string(readFile(t, filepath.Join(proc, "status")))) {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.Join(strings.Fields(value), " ")
	}
	const user, none = "65532 65532 65532 65532", "0000000000000000"
	for name, want := range map[string]string{
		"Uid": user, "Gid": user, "CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
		"NoNewPrivs": "1", "Seccomp": "2",
	} {
		if status[name] != want {
			t.Errorf("%s: %q, expected %q", name, status[name], want)
		}
	}
	if cwd, err := os.Readlink(filepath.Join(proc, "cwd")); err != nil || cwd != "/home/nonroot" {
		t.Errorf("working directory %q (%v), expected that of the base images", cwd, err)
	}
	if diff := cmp.Diff(writable, writableMounts(t, proc)); diff != "" {
		t.Errorf("what it may write to, -want +got:\n%s", diff)
	}
}

// writableMounts are the file systems that a function's user may write to, in
// order, without those of the kernel.
func writableMounts(t *testing.T, proc string) []string {
	t.Helper()
	var found []string
	for scan := bufio.NewScanner(bytes.NewReader(readFile(t, filepath.Join(proc, "mountinfo")))); scan.Scan(); {
		// 36 35 98:0 /root /mount/point options shared:… - type source superoptions (proc(5))
		fields := strings.Fields(scan.Text())
		dash, at := slices.Index(fields, "-"), fields[4]
		readOnly := slices.Contains(strings.Split(fields[5], ","), "ro") || slices.Contains(strings.Split(fields[dash+3], ","), "ro")
		if readOnly || regexp.MustCompile(`^/(proc|sys|dev)(/|$)`).MatchString(at) {
			continue
		}
		var info syscall.Stat_t
		if err := syscall.Stat(filepath.Join(proc, "root", at), &info); err != nil {
			t.Fatal(err)
		}
		if info.Mode&0o002 != 0 || info.Uid == 65532 && info.Mode&0o200 != 0 || info.Gid == 65532 && info.Mode&0o020 != 0 {
			found = append(found, at)
		}
	}
	slices.Sort(found)
	return found
}

// hasHugePages holds that a function asks for huge pages, and has some where the
// kernel gives them to who asks.
func hasHugePages(t *testing.T, proc string) {
	t.Helper()
	if !slices.Contains(environOf(t, proc), "GLIBC_TUNABLES=glibc.malloc.hugetlb=1") {
		t.Error("it does not ask for huge pages")
	}
	if mode, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err != nil || !bytes.Contains(mode, []byte("[madvise]")) {
		return // all have them, or none
	}
	_, huge, _ := strings.Cut(string(readFile(t, filepath.Join(proc, "smaps_rollup"))), "AnonHugePages:")
	if fields := strings.Fields(huge); len(fields) == 0 || fields[0] == "0" {
		t.Errorf("nothing of it is in huge pages: %q", fields)
	}
}

// processOf is the folder in /proc of a container of a service's first pod.
func processOf(t *testing.T, service, container string) string {
	t.Helper()
	id := strings.TrimPrefix(strings.TrimSpace(mustTool(t, "kubectl", "get", "pods", "-l", "serving.knative.dev/service="+service,
		"-o", `jsonpath={.items[0].status.containerStatuses[?(@.name=="`+container+`")].containerID}`)), "containerd://")
	if id == "" {
		t.Fatalf("%s has no container %s", service, container)
	}
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range groups {
		if data, err := os.ReadFile(group); err == nil && bytes.Contains(data, []byte(id)) { // others end meanwhile
			return filepath.Dir(group)
		}
	}
	t.Fatalf("no process in a cgroup of %s", id)
	return ""
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
