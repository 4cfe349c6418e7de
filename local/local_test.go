package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/freeport"
	"github.com/modelserveai/modelserve/local"
)

// program is testdata/platform, built once.
var program string //nolint:gochecknoglobals // set by TestMain before any test

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "local-test-*")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "platform")
	// A platform builds its functions as well, with these flags; with nothing compiled
	// yet that takes longer than a call waits.
	build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-buildvcs=false", "-o", dir, "./testdata/platform", "./testdata/echo", "./testdata/step")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Println("build testdata:", err)
		return 1
	}
	return m.Run()
}

// platform is a running one with an overlay of its own.
type platform struct {
	t       *testing.T
	dir     string
	data    string
	address string
	env     []string
	cmd     *exec.Cmd
	ended   chan struct{}
	log     *log
}

// log collects what the platform prints and lets a test wait for some of it.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
	more *sync.Cond
	done bool
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	l.more.Broadcast()
	return len(p), nil
}

func (l *log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = true
	l.more.Broadcast()
}

// wait returns when the log holds text n times.
func (l *log) wait(t *testing.T, text string, n int) {
	t.Helper()
	patience := time.AfterFunc(10*time.Minute, l.end)
	defer patience.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for strings.Count(l.text.String(), text) < n {
		if l.done {
			t.Fatalf("the platform ended, or ten minutes passed, without writing %q %d times:\n%s", text, n, l.text.String())
		}
		l.more.Wait()
	}
}

const (
	manifestName = "echo.yaml"
	ready        = "Ctrl-C stops it"
)

// begin starts a platform over a copy of testdata/overlay.
func begin(t *testing.T, env ...string) *platform {
	t.Helper()
	p := prepare(t, env...)
	p.start()
	return p
}

// prepare is one that is not started yet.
func prepare(t *testing.T, env ...string) *platform {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "overlay"), os.DirFS("testdata/overlay")); err != nil {
		t.Fatal(err)
	}
	p := &platform{t: t, dir: dir, data: filepath.Join(dir, "data"), address: freeAddress(t), env: env}
	t.Cleanup(func() {
		if p.cmd == nil {
			return
		}
		p.kill()
		if t.Failed() {
			t.Logf("the platform wrote:\n%s", p.log.text.String())
		}
	})
	return p
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func (p *platform) command(address string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), program)
	root, err := filepath.Abs("..")
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.Dir = root
	cmd.Env = append(append(os.Environ(), p.env...), "ADDRESS="+address, "DATA="+p.data, "OVERLAY="+filepath.Join(p.dir, "overlay"))
	return cmd
}

func (p *platform) start() {
	p.t.Helper()
	p.log = &log{}
	p.log.more = sync.NewCond(&p.log.mu)
	p.cmd = p.command(p.address)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.ended = make(chan struct{})
	cmd, ended, out := p.cmd, p.ended, p.log
	go func() {
		_ = cmd.Wait() // its state is looked at
		out.end()
		close(ended)
	}()
	p.log.wait(p.t, ready, 1)
}

func (p *platform) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
}

func (p *platform) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// edit changes the manifest.
func (p *platform) edit(old, new string) {
	p.t.Helper()
	path := filepath.Join(p.dir, "overlay", manifestName)
	text, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		p.t.Fatalf("manifest without %q:\n%s", old, text)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// answer is what testdata/echo answers.
type answer struct {
	Revision, Service, Said, Proto, Host string
	PID                                  int
}

func (p *platform) key() string {
	text, err := os.ReadFile(filepath.Join(p.data, "key"))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// call asks a function by its host; the error has a status other than 200.
func (p *platform) call(host, path string) (answer, http.Header, error) {
	var a answer
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "http://"+p.address+path, strings.NewReader("x"))
	if err != nil {
		return a, nil, err
	}
	req.Host = host + ".default.localhost"
	req.Header.Set("X-API-Key", p.key())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return a, resp.Header, fmt.Errorf("%s: %s", resp.Status, text)
	}
	return a, resp.Header, json.Unmarshal(text, &a)
}

func (p *platform) must(host string) answer {
	p.t.Helper()
	a, _, err := p.call(host, "/")
	if err != nil {
		p.t.Fatalf("call %s: %v", host, err)
	}
	return a
}

func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// pause is between two looks at another process.
func pause(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal("the test ended first")
	case <-time.After(10 * time.Millisecond):
	}
}

func TestFromZeroAndBack(t *testing.T) {
	t.Parallel()
	p := begin(t)
	a, header, err := p.call("echo", "/")
	if err != nil {
		t.Fatal(err)
	}
	if a.Service != "echo" || a.Revision != "echo-00001" || a.Said != "one" || a.Host != "echo.default.svc.cluster.local" {
		t.Errorf("answer %+v", a)
	}
	timing := strings.Join(header.Values("Server-Timing"), ", ")
	for _, part := range []string{"schedule;dur=", "start;dur=", "infer;dur=1.5"} {
		if !strings.Contains(timing, part) {
			t.Errorf("Server-Timing %q without %s", timing, part)
		}
	}
	p.log.wait(t, "first answer from zero in", 1)
	p.log.wait(t, "Metrics are at http://127.0.0.1:", 1)
	p.log.wait(t, "request bytes=", 1) // the access log
	for alive(a.PID) {                 // until it is at zero again
		pause(t)
	}
	if b := p.must("echo"); b.PID == a.PID || b.Revision != a.Revision {
		t.Errorf("second start: %+v", b)
	}
	p.signal(os.Interrupt)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d after Ctrl-C", code)
	}
	if _, err := os.Stat(filepath.Join(p.data, "platform.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("platform.json is left: %v", err)
	}
}

// While a new revision takes over no request fails, and the old one ends.
func TestNewRevisionTakesOver(t *testing.T) {
	t.Parallel()
	p := begin(t)
	first := p.must("echo")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var answers atomic.Int64
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := p.call("echo", "/?pause=5ms"); err != nil {
					t.Errorf("during the change: %v", err)
					return
				}
				answers.Add(1)
			}
		})
	}
	p.edit("value: one", "value: two")
	for p.must("echo").Said != "two" {
		pause(t)
	}
	close(stop)
	wg.Wait()
	for alive(first.PID) {
		pause(t)
	}
	if answers.Load() == 0 {
		t.Error("nothing was asked during the change")
	}
	if a := p.must("echo"); a.Revision != "echo-00002" || a.Said != "two" {
		t.Errorf("answer %+v", a)
	}
}

// A revision that cannot start takes no traffic from the one that can; one that
// cannot be read changes nothing.
func TestBadEditsChangeNothing(t *testing.T) {
	t.Parallel()
	p := begin(t)
	p.must("echo")
	p.edit("- name: ECHO_SAY", "- {name: ECHO_FAIL, value: no model there}\n            - name: ECHO_SAY")
	p.log.wait(t, `reason="it exited with status 3"`, 1)
	p.log.wait(t, "no model there", 1)
	if a := p.must("echo"); a.Revision != "echo-00001" {
		t.Errorf("answer %+v", a)
	}
	p.edit("timeoutSeconds", "volumes: []\n      runtimeClassName: x\n      timeoutSeconds")
	p.log.wait(t, "Service echo: spec.template.spec.runtimeClassName: not supported by the local platform", 1)
	if a := p.must("echo"); a.Revision != "echo-00001" {
		t.Errorf("answer %+v", a)
	}
}

func TestTrafficAndTags(t *testing.T) {
	t.Parallel()
	p := begin(t)
	p.must("echo")
	p.edit("value: one", "value: two")
	for p.must("echo").Said != "two" {
		pause(t)
	}
	p.edit("spec:\n", `spec:
  traffic:
    - {revisionName: echo-00001, percent: 90, tag: stable}
    - {latestRevision: true, percent: 10}
    - {latestRevision: true, percent: 0, tag: canary}
`)
	for {
		if a, _, err := p.call("stable-echo", "/"); err == nil && a.Revision == "echo-00001" {
			break
		}
		pause(t)
	}
	const calls = 1000
	said := map[string]int{}
	for range calls {
		said[p.must("echo").Said]++
	}
	// 90 % of 1000 within five standard deviations (9.5 each).
	if said["one"] < 852 || said["one"] > 948 || said["one"]+said["two"] != calls {
		t.Errorf("answers %v, want about 900 to 100", said)
	}
	if a := p.must("canary-echo"); a.Said != "two" {
		t.Errorf("canary answers %+v", a)
	}
}

func TestCrash(t *testing.T) {
	t.Parallel()
	p := begin(t)
	first := p.must("echo")
	if _, _, err := p.call("echo", "/die"); err == nil {
		t.Error("the request that killed the function was answered")
	}
	// Whoever calls in the moment of its end waits for the one that is coming.
	if again := p.must("echo"); again.PID == first.PID {
		t.Errorf("answer %+v by the one that died", again)
	}
	p.log.wait(t, `reason="it exited with status 4"`, 1)
	p.log.wait(t, `last="told to die"`, 1)
}

func TestKilledPlatformTakesItsFunctions(t *testing.T) {
	t.Parallel()
	p := begin(t)
	a := p.must("echo")
	p.signal(syscall.SIGKILL)
	for alive(a.PID) {
		pause(t)
	}
	key := p.key()
	broken := filepath.Join(p.data, "services", "broken.yaml")
	if err := os.WriteFile(broken, []byte("a: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start() // what it left is no hindrance, nor is what cannot be read
	p.log.wait(t, "services/broken.yaml:1: not YAML: ", 1)
	if b := p.must("echo"); b.Revision != "echo-00001" || p.key() != key {
		t.Errorf("after the restart: %+v", b)
	}
}

func TestSecondOneSaysWhoIsThere(t *testing.T) {
	t.Parallel()
	p := begin(t)
	pid := strconv.Itoa(p.cmd.Process.Pid)
	out, err := p.command(p.address).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "the platform that runs already: process "+pid) {
		t.Errorf("the same port: %v, %s", err, out)
	}
	out, err = p.command(freeAddress(t)).CombinedOutput()
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "another platform (process "+pid) {
		t.Errorf("the same folder: %v, %s", err, out)
	}
	foreign, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	err = local.Run(t.Context(), local.Options{Address: foreign.Addr().String(), DataDir: t.TempDir(), Out: io.Discard})
	if err == nil || !strings.Contains(err.Error(), foreign.Addr().String()+" is taken by another program") {
		t.Errorf("a port of another program: %v", err)
	}
	p.must("echo")
}

// A manifest in the data folder is followed as soon as it is there.
func TestDeployedByFile(t *testing.T) {
	t.Parallel()
	p := begin(t)
	text, err := os.ReadFile("testdata/overlay/" + manifestName)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.data, "services", "second.yaml")
	if err := os.WriteFile(path, bytes.Replace(text, []byte("name: echo"), []byte("name: second"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	p.log.wait(t, "revision second-00001, http://second.default.localhost", 1)
	if a := p.must("second"); a.Service != "second" {
		t.Errorf("answer %+v", a)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p.log.wait(t, "│ removed", 1)
	if _, _, err := p.call("second", "/"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("after it was removed: %v", err)
	}
}

// TestUnpublishedIsReportedWhenItIsRead holds that a manifest that names a version
// which nobody published is reported at the start and when it is changed, with no
// call made.
func TestUnpublishedIsReportedWhenItIsRead(t *testing.T) {
	t.Parallel()
	p := begin(t)
	p.edit("            - name: ECHO_SAY\n", "            - name: MODELSERVE_MODELS\n              value: ghost@9\n            - name: ECHO_SAY\n")
	p.log.wait(t, `echo.yaml: Service echo: MODELSERVE_MODELS names ghost@9: model "ghost" is not published`, 1)
	p.signal(os.Interrupt)
	p.start()
	p.log.wait(t, `MODELSERVE_MODELS names ghost@9: model "ghost" is not published`, 1)
	p.edit("value: ghost@9", "value: ghost@nine")
	p.log.wait(t, `MODELSERVE_MODELS names ghost@nine: expected * or name@version`, 1)
}

// One manifest that cannot be read holds up no other, and what it defined before
// stays in force.
func TestABadFileHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	p := begin(t)
	text, err := os.ReadFile("testdata/overlay/" + manifestName)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(p.data, "services", name+".yaml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	as := func(name string) []byte { return bytes.Replace(text, []byte("name: echo"), []byte("name: "+name), 1) }
	write("second", as("second"))
	p.log.wait(t, "revision second-00001", 1)
	write("second", []byte("a: ["))
	write("other", []byte("kind: Nothing"))
	p.log.wait(t, "services/second.yaml:1: ", 1)
	write("third", as("third"))
	p.log.wait(t, "revision third-00001", 1)
	for _, name := range []string{"echo", "second", "third"} {
		if a := p.must(name); a.Service != name {
			t.Errorf("answer %+v", a)
		}
	}
}
