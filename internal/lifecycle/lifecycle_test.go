package lifecycle_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// get asks over HTTP/1.1 or h2c and returns the body.
func get(ctx context.Context, t *testing.T, h2c bool, address string) (string, error) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2c)
	protocols.SetUnencryptedHTTP2(h2c)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
	if err != nil {
		return "", err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.Proto + " " + string(body), err
}

func TestServeDrains(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		h2c  bool
		want string
	}{"HTTP/1.1": {false, "HTTP/1.1 done"}, "h2c": {true, "HTTP/2.0 done"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began, finish := make(chan struct{}), make(chan struct{})
			server := lifecycle.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				close(began)
				<-finish
				_, _ = io.WriteString(w, "done")
			}), lifecycle.DefaultLimits())
			l := listen(t)
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() {
				served <- lifecycle.Serve(ctx, server, l, time.Minute, func() { close(finish) })
			}()
			answered := make(chan string, 1)
			go func() {
				body, err := get(t.Context(), t, tc.h2c, l.Addr().String())
				if err != nil {
					body = err.Error()
				}
				answered <- body
			}()
			<-began
			cancel() // the request is running; only the drain lets it finish
			if got := <-answered; got != tc.want {
				t.Errorf("answer %q, want %q", got, tc.want)
			}
			if err := <-served; err != nil {
				t.Errorf("drain: %v", err)
			}
		})
	}
}

func TestServeCutsWhatOutlastsTheGrace(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	server := lifecycle.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	}), lifecycle.DefaultLimits())
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- lifecycle.Serve(ctx, server, l, time.Millisecond, nil) }()
	go func() { _, _ = get(t.Context(), t, false, l.Addr().String()) }()
	<-began
	cancel()
	if err := <-served; err == nil {
		t.Error("a request was cut off without an error")
	}
}

// TestContextHelper is not a test: it is the process that the tests below end.
func TestContextHelper(t *testing.T) {
	if os.Getenv("LIFECYCLE_HELPER") == "" {
		return
	}
	ctx, stop := lifecycle.Context(context.Background())
	_, _ = os.Stdout.WriteString("up\n")
	<-ctx.Done()
	stop()
	os.Exit(0)
}

func TestContext(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *exec.Cmd, *os.File){
		"SIGTERM":         func(t *testing.T, c *exec.Cmd, _ *os.File) { t.Helper(); signal(t, c, syscall.SIGTERM) },
		"SIGINT":          func(t *testing.T, c *exec.Cmd, _ *os.File) { t.Helper(); signal(t, c, syscall.SIGINT) },
		"the parent dies": func(_ *testing.T, _ *exec.Cmd, life *os.File) { life.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			defer write.Close()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestContextHelper$")
			cmd.Env = append(os.Environ(), "LIFECYCLE_HELPER=1", lifecycle.ParentVariable+"=3")
			cmd.ExtraFiles = []*os.File{read}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			end(t, cmd, write)
			if err := cmd.Wait(); err != nil {
				t.Errorf("exit: %v", err)
			}
		})
	}
}

func signal(t *testing.T, cmd *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
