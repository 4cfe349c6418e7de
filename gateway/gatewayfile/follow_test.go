package gatewayfile_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/internal/logtest"
)

// followed is a file in a bubble of time, and what was put in force of it.
type followed struct {
	*gatewayfile.Follower
	t       *testing.T
	path    string
	log     logtest.Log
	applied []time.Duration
	refuse  error
	stop    func() // and waits
}

func follow(t *testing.T, path string) (*followed, error) {
	t.Helper()
	f := &followed{t: t, path: path}
	var err error
	f.Follower, err = gatewayfile.Follow(t.Context(), f.path, func(file *gatewayfile.File) error {
		if f.refuse != nil {
			return f.refuse
		}
		f.applied = append(f.applied, file.Stale)
		return nil
	}, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&f.log, nil)))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	f.stop = func() {
		cancel()
		running.Wait()
	}
	return f, nil
}

// looks lets the file be looked at n times.
func looks(n int) {
	time.Sleep(time.Duration(n)*time.Second + 100*time.Millisecond)
	synctest.Wait()
}

// put writes a file in place.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rename writes a file beside its place first.
func rename(t *testing.T, path, text string) {
	t.Helper()
	put(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func (f *followed) want(generation int64, stale time.Duration, bad string) {
	f.t.Helper()
	is := f.InForce()
	if is.Generation != generation || is.File.Stale != stale || (bad == "") != (is.Bad == "") || !strings.Contains(is.Bad, bad) {
		f.t.Errorf("in force %+v with %v, want generation %d, %v, bad %q", is, is.File, generation, stale, bad)
	}
}

func gatewayYAML(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "gateway.yaml")
}

func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := gatewayYAML(t)
		f, err := follow(t, path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.stop()
		write := func(text string) {
			rename(t, path, text)
			looks(2)
		}
		write(head + "stale: 5s\n")
		write(head + "stale: ") // half written
		f.want(2, 5*time.Second, "line 3")
		write("")
		f.want(2, 5*time.Second, "empty")
		f.refuse = errors.New("an expression does not compile")
		write(head + "stale: 7s\n")
		f.want(2, 5*time.Second, "does not compile")
		f.refuse = nil
		write(head + "stale: 5s\n") // as before
		f.want(2, 5*time.Second, "")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		looks(2)
		f.want(3, 30*time.Second, "")
		if is := f.InForce(); is.Digest != "" {
			t.Errorf("in force %+v: a file that is gone means defaults", is)
		}
		if diff := cmp.Diff([]time.Duration{30 * time.Second, 5 * time.Second, 30 * time.Second}, f.applied); diff != "" {
			t.Error(diff)
		}
	})
}

// TestWhatIsReadOnceIsNotInForce holds a file that is written in place, line by line,
// to come in force when it is whole, at the start and later; and that one which is
// gone between two looks stays in force.
func TestWhatIsReadOnceIsNotInForce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := gatewayYAML(t)
		put(t, path, head) // of which the defaults would be in force
		go func() {
			time.Sleep(50 * time.Millisecond)
			put(t, path, head+"stale: 5s\n")
		}()
		f, err := follow(t, path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.stop()
		f.want(1, 5*time.Second, "")
		put(t, path, head)
		looks(1)
		f.want(1, 5*time.Second, "")
		put(t, path, head+"stale: 7s\n")
		looks(2)
		f.want(2, 7*time.Second, "")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		looks(1)
		put(t, path, head+"stale: 9s\n")
		looks(2)
		f.want(3, 9*time.Second, "")
		if diff := cmp.Diff([]time.Duration{5 * time.Second, 7 * time.Second, 9 * time.Second}, f.applied); diff != "" {
			t.Error(diff)
		}
	})
}

// TestAFileThatKeepsChangingIsABadOne holds that it is reported, once.
func TestAFileThatKeepsChangingIsABadOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := gatewayYAML(t)
		f, err := follow(t, path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.stop()
		time.Sleep(500 * time.Millisecond) // so that it is written between two looks
		for n := range 20 {
			put(t, path, head+"stale: "+strconv.Itoa(n+1)+"s\n")
			time.Sleep(time.Second)
		}
		f.want(1, 30*time.Second, "changes from one look to the next")
		if n := strings.Count(f.log.String(), "is a bad one"); n != 1 {
			t.Errorf("reported %d times", n)
		}
		looks(2)
		f.want(2, 20*time.Second, "")

		over := make(chan struct{})
		go func() {
			time.Sleep(5 * time.Millisecond)
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				case <-time.After(30 * time.Millisecond):
					put(t, path, head+"#"+strconv.Itoa(n)+"\n")
				}
			}
		}()
		if _, err := follow(t, path); err == nil || !strings.Contains(err.Error(), "changes from one look to the next") {
			t.Errorf("at the start: error %v", err)
		}
		close(over)
	})
}

// TestWhatIsNoRegularFileIsABadOne holds a FIFO, a device and a folder in the file's
// place to be bad files, which are looked at again and keep nothing from ending.
func TestWhatIsNoRegularFileIsABadOne(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		make func(path string) error
		want string
	}{
		"a FIFO":             {func(path string) error { return syscall.Mkfifo(path, 0o600) }, "got a FIFO"},
		"a link to a device": {func(path string) error { return os.Symlink("/dev/zero", path) }, "got a device"},
		"a folder":           {func(path string) error { return os.Mkdir(path, 0o700) }, "got a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path := gatewayYAML(t)
				put(t, path, head+"stale: 5s\n")
				f, err := follow(t, path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.stop()
				swap := func() {
					if err := errors.Join(os.Remove(path), tc.make(path)); err != nil {
						t.Fatal(err)
					}
				}
				swap()
				looks(5)
				f.want(1, 5*time.Second, tc.want)
				if _, err := follow(t, path); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("at the start: error %v", err)
				}
				if n := strings.Count(f.log.String(), "is a bad one"); n != 1 {
					t.Errorf("reported %d times", n)
				}
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				put(t, path, head+"stale: 7s\n")
				looks(2)
				f.want(2, 7*time.Second, "")
				swap() // and ends with it
				looks(2)
			})
		})
	}
}

func TestABadFileAtTheStartIsAnError(t *testing.T) {
	t.Parallel()
	path := gatewayYAML(t)
	put(t, path, "stale: 1s\n")
	if _, err := follow(t, path); err == nil || !strings.Contains(err.Error(), "apiVersion") {
		t.Errorf("error %v", err)
	}
}
