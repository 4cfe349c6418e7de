package ort_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// square is an input for onnxtest.Slow.
func square(n int) infer.Tensor {
	return floats("x", []int64{int64(n), int64(n)}, make([]float32, n*n)...)
}

func TestRunCancelled(t *testing.T) {
	t.Parallel()
	s := load(t, open(t), onnxtest.Slow(20_000).Write(t)) // tens of seconds
	for name, end := range map[string]struct {
		context func() (context.Context, context.CancelFunc)
		want    error
	}{
		"before": {func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, cancel
		}, context.Canceled},
		"by deadline": {func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 20*time.Millisecond)
		}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := end.context()
			defer cancel()
			begin := time.Now()
			_, release, err := s.Run(ctx, memory.Unbounded{}, []infer.Tensor{square(256)}, nil)
			if !errors.Is(err, end.want) || release != nil {
				t.Errorf("Run: %v", err)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("Run returned after %v", took)
			}
			out, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{square(1)}, nil) // it is usable still
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			if diff := cmp.Diff([]int64{1, 1}, out[0].Shape); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCloseDuringRuns(t *testing.T) {
	t.Parallel()
	l := open(t)
	s, err := l.Open(onnxtest.Slow(50).Write(t), ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for first := true; ; first = false {
				_, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{square(64)}, nil)
				if first {
					started <- struct{}{}
				}
				if errors.Is(err, ort.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				release()
			}
		})
	}
	for range 8 {
		<-started
	}
	for range 2 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Metadata(); !errors.Is(err, ort.ErrClosed) {
		t.Errorf("Metadata: %v", err)
	}
}

func TestConcurrentRuns(t *testing.T) {
	t.Parallel()
	s := load(t, open(t), onnxtest.Scale(2, 3).Write(t))
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 200 {
				v, n := float32(worker*1000+i), int64(1+i%5)
				in, want := floats("x", []int64{n, 2}), floats("y", []int64{n, 2})
				for range n {
					in.Data = append(in.Data, floats("", nil, v, -v).Data...)
					want.Data = append(want.Data, floats("", nil, 3*v, -3*v).Data...)
				}
				out, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{in}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if diff := cmp.Diff([]infer.Tensor{want}, out); diff != "" {
					t.Error(diff)
				}
				release()
			}
		})
	}
	wg.Wait()
}

func TestLibraryClose(t *testing.T) {
	t.Parallel()
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	l, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Open(onnxtest.Scale(1, 1).Write(t), ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err == nil {
		t.Error("closed with a session open")
	}
	for range 2 {
		if err := errors.Join(s.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	}
	if _, err := l.Open(onnxtest.Scale(1, 1).Write(t), ort.Options{}); !errors.Is(err, ort.ErrClosed) {
		t.Errorf("Open: %v", err)
	}
}

func TestOpenLibraryRefuses(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := os.WriteFile(text, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"missing": text + ".1", "no library": text} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := ort.Open(path); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

// The tests below look at a whole process, so each runs in one of its own:
// this binary again, with the variable naming what it is to do.
const childVariable = "ORT_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case "":
		if err := os.Setenv(ort.PoisonVariable, "buffers"); err != nil {
			exitOn(err)
		}
		os.Exit(m.Run())
	case "unwritten":
		exitOn(unwritten())
	case "thousand":
		exitOn(thousandLoads())
	case "cycles":
		exitOn(cycles())
	case "memory":
		exitOn(measured())
	case "quiet":
		exitOn(quiet())
	}
}

func exitOn(err error) {
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

func child(t *testing.T, what string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lib, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), append(env, childVariable+"="+what, ort.LibraryVariable+"="+lib,
		"MODEL="+model(t, shipped[1]))...)
	return cmd
}

func TestThousandLoads(t *testing.T) {
	t.Parallel()
	if out, err := child(t, "thousand").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// thousandLoads loads, runs and closes, plain and mapped in turn, and compares
// the objects and the memory left.
func thousandLoads() error {
	l, err := ort.Open(os.Getenv(ort.LibraryVariable))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ort")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	paths := []string{filepath.Join(dir, "model.onnx"), filepath.Join(dir, "model.ort")}
	if err := os.WriteFile(paths[0], onnxtest.Slow(20).Marshal(), 0o600); err != nil {
		return err
	}
	if err := l.Optimize(paths[0], paths[1]); err != nil {
		return err
	}
	var settled int64
	for i := range 1000 {
		if err := loadOnce(l, paths[i%2]); err != nil {
			return err
		}
		if i == 200 {
			settled = resident()
		}
	}
	if live := l.Live(); live != (ort.Live{}) {
		return errors.New("objects are left: " + cmp.Diff(ort.Live{}, live))
	}
	if grown := resident() - settled; grown > 8<<20 {
		return errors.New("800 loads grew the process by bytes: " + strconv.FormatInt(grown, 10))
	}
	return l.Close()
}

func loadOnce(l *ort.Library, path string) error {
	s, err := l.Open(path, ort.Options{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range 2 {
		_, release, err := s.Run(ctx, memory.Unbounded{}, []infer.Tensor{square(64)}, nil)
		if err != nil {
			return err
		}
		release()
	}
	// A run and a load that fail must free what they had made too.
	if _, _, err := s.Run(ctx, memory.Unbounded{}, []infer.Tensor{square(2), square(2)}, nil); err == nil {
		return errors.New("an input given twice was accepted")
	}
	if _, err := l.Open(path+".missing", ort.Options{}); err == nil {
		return errors.New("a missing model was loaded")
	}
	return s.Close()
}

// resident is the process's resident bytes, after a collection.
func resident() int64 {
	// A sync.Pool keeps what it has over one collection, a finalizer what it is
	// for over another, and a goroutine that has ended its stack for a moment.
	for range 6 {
		runtime.GC()
		runtime.Gosched()
	}
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0 // not Linux: the objects are counted all the same
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

func TestNoTelemetry(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	cmd := child(t, "quiet", "HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home,
		"TMPDIR="+home, "ORT_DISABLE_TELEMETRY=")
	cmd.Dir = home
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	err := filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if path != home {
			t.Errorf("a file appeared: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// quiet loads and runs a model, and looks for sockets for a while: the upload
// begins some time after the start.
func quiet() error {
	l, err := ort.Open(os.Getenv(ort.LibraryVariable))
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); {
		s, err := l.Open(os.Getenv("MODEL"), ort.Options{})
		if err != nil {
			return err
		}
		_, release, err := s.Run(context.Background(), memory.Unbounded{}, samples(shipped[1]), nil)
		if err != nil {
			return err
		}
		release()
		if err := errors.Join(s.Close(), noSockets()); err != nil {
			return err
		}
	}
	return l.Close()
}

func noSockets() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return nil // not Linux
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			return errors.New("a socket is open: " + to)
		}
	}
	return nil
}
