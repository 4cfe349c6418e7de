package instance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/local/instance"
	"github.com/modelserveai/modelserve/local/process"
)

// TestMain is also the functions of the tests.
func TestMain(m *testing.M) {
	if role := os.Getenv("INSTANCE_TEST_ROLE"); role != "" {
		serve(role)
		return
	}
	os.Exit(m.Run())
}

func serve(role string) {
	var hold []byte
	begun := time.Now()
	var probes atomic.Int64
	second := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if probes.Add(1) == 2 {
			close(second)
		}
		state := role
		if role == "slow" && time.Since(begun) > 200*time.Millisecond {
			state = "ready"
		}
		if state != "ready" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"state": state})
	})
	mux.HandleFunc("/grow", func(http.ResponseWriter, *http.Request) {
		hold = make([]byte, 256<<20)
		for i := range hold {
			hold[i] = 1
		}
	})
	mux.HandleFunc("/second-probe", func(http.ResponseWriter, *http.Request) { <-second })
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(os.Environ()) })
	if role == "failed" {
		fmt.Println(os.WriteFile(os.Getenv("MODELSERVE_TERMINATION_LOG"), []byte("fn: model.onnx: 5 bytes, 10 were promised"), 0))
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		<-ctx.Done() // it waits for better times
		return
	}
	if role == "handed" {
		role = "ready"
		fd, _ := strconv.Atoi(os.Getenv(lifecycle.ListenVariable))
		l, err := lifecycle.Inherited(fd)
		if err == nil {
			err = http.Serve(l, mux)
		}
		fmt.Println(err)
		return
	}
	err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux)
	fmt.Println(err, len(hold))
}

func launch(t *testing.T, role string, probe *corev1.Probe, memory string) *instance.Instance {
	t.Helper()
	spawner, err := process.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	l := instance.NewLauncher(spawner, t.TempDir(), []string{"A=base", "B=base", "C=base"}, []string{"C=over"}, func(string, []byte) {}, slog.New(slog.DiscardHandler))
	limits := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")}
	if memory != "" {
		limits[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	i, err := l.Start(t.Context(), instance.Spec{
		Service: "fn", Revision: "fn-00001", Program: os.Args[0], Probe: probe, Limits: limits,
		Env: []string{"B=manifest", "C=manifest", "INSTANCE_TEST_ROLE=" + role},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		i.Stop(0)
		if err := spawner.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

func httpGet() *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz"}}, SuccessThreshold: 1}
}

func get(t *testing.T, i *instance.Instance, path string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+i.Address()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := i.Transport(false).RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

func TestReady(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, role, want string
		probe            *corev1.Probe
	}{
		{"http", "ready", "", httpGet()},
		{"http, later", "slow", "", httpGet()},
		{"http, by the socket that it is handed", "handed", "", httpGet()},
		{"tcp, by the socket that it is handed", "handed", "", &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}},
		{"tcp", "ready", "", &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}},
		{"failed for good", "failed", "fn: model.onnx: 5 bytes, 10 were promised", httpGet()},
		{"failed for good, by its port", "failed", "fn: model.onnx: 5 bytes, 10 were promised", &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}},
		{"never", "loading", "too late: last probe: probe: HTTP probe did not respond Ready, got status code: 503", httpGet()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			i := launch(t, tc.role, tc.probe, "")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if tc.name == "never" {
				go func() { // the second probe comes when the first has been answered
					for {
						if _, err := get(t, i, "/second-probe"); err == nil || ctx.Err() != nil {
							break // until then it does not listen yet
						}
						runtime.Gosched()
					}
					cancel(errors.New("too late"))
				}()
			}
			err := i.Ready(ctx)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("ready: %v, want %q", err, tc.want)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	i := launch(t, "ready", httpGet(), "")
	if err := i.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := get(t, i, "/env")
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	if err := json.Unmarshal([]byte(text), &env); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(i.Address(), ":")
	if len(i.Secret()) < 26 { // 128 bits
		t.Errorf("secret %q", i.Secret())
	}
	for _, want := range []string{
		"MODELSERVE_SECRET=" + i.Secret(), "A=base", "B=manifest", "C=over", "GOMAXPROCS=2", "PORT=" + port,
		"K_SERVICE=fn", "K_CONFIGURATION=fn", "K_REVISION=fn-00001", "MODELSERVE_PARENT_FD=3", "MODELSERVE_LISTEN_FD=4",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("environment without %s: %q", want, env)
		}
	}
	for _, e := range env {
		if strings.HasPrefix(e, "HOME=") {
			t.Errorf("inherited %s", e)
		}
	}
}

// TestAHandedSocketIsWhereRequestsGo holds that a function which takes the socket
// gets its requests there, not at PORT, and that nobody is there after its end.
func TestAHandedSocketIsWhereRequestsGo(t *testing.T) {
	t.Parallel()
	i := launch(t, "handed", httpGet(), "")
	if err := i.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := get(t, i, "/env")
	if err != nil {
		t.Fatal(err)
	}
	if _, port, _ := strings.Cut(i.Address(), ":"); port == "0" || strings.Contains(text, `"PORT=`+port+`"`) {
		t.Errorf("asked at %s, the port in\n%s", i.Address(), text)
	}
	i.Stop(0)
	if text, err := get(t, i, "/env"); err == nil {
		t.Errorf("answered after its end: %s", text)
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	i := launch(t, "ready", httpGet(), "128Mi")
	if _, ok := i.Memory(); !ok {
		return // no limits on this system; the manifest says so there
	}
	if err := i.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, _ = get(t, i, "/grow") // may be cut off
	<-i.Done()
	if err := i.Err(); err == nil || !strings.Contains(err.Error(), "over its limit of 128 MiB") {
		t.Errorf("ended with %v", err)
	}
}
