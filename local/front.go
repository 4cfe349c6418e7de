package local

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/local/pipelines"
	"github.com/modelserveai/modelserve/local/screen"
)

// front is the platform's public side: the gateway, and what it and the screen
// know of the functions.
type front struct {
	platform *platform
	handler  http.Handler
	limits   lifecycle.Limits
	update   func([]FunctionStatus) error // of the gateway's routes
	closers  []func() error
	key      string
	metrics  string // the URL of the gateway's
	redis    string // the URL of what the gateway counts in, a secret

	pipelines *pipelines.Service

	dirty chan struct{}
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

func newFront(ctx context.Context, p *platform) (*front, error) {
	f := &front{platform: p, dirty: make(chan struct{}, 1), stop: make(chan struct{})}
	if err := f.open(ctx); err != nil {
		return nil, errors.Join(err, f.close())
	}
	f.wg.Go(f.follow)
	return f, nil
}

// refresh has follow look at the functions. It never waits, so it may be called
// from anywhere.
func (f *front) refresh() {
	select {
	case f.dirty <- struct{}{}:
	default:
	}
}

func (f *front) follow() {
	for {
		select {
		case <-f.stop:
			return
		case <-f.dirty:
			status := f.platform.services.status()
			if err := f.update(status); err != nil {
				f.platform.screen.Problem(fmt.Errorf("the gateway cannot follow: %w", err))
			}
			f.platform.screen.Update(f.platform.rows(status))
		}
	}
}

// serve answers on the listeners until ctx ends, then drains.
func (f *front) serve(ctx context.Context, l *listeners) error {
	if err := f.update(f.platform.services.status()); err != nil {
		return fmt.Errorf("the gateway cannot follow the manifests: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := f.pipelines.Start(ctx); err != nil {
		return err //nolint:wrapcheck // it says what did not start
	}
	stopped := make(chan error, 1)
	go func() { stopped <- f.stopPipelines(ctx) }()
	failed := make(chan error, len(l.all))
	limits := f.limits
	limits.Crowd.Bytes /= int64(len(l.all))
	for _, listener := range l.all {
		go func() {
			err := lifecycle.Serve(ctx, lifecycle.NewServer(f.handler, limits), listener, stopGrace, nil)
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("requests at %s had no answer %v after the platform was to stop, and were cut off", listener.Addr(), stopGrace)
			}
			failed <- err
			cancel() // one that cannot go on ends the other
		}()
	}
	var faults []error
	for range l.all {
		faults = append(faults, <-failed)
	}
	return errors.Join(append(faults, <-stopped)...)
}

// stopFollowing ends following: from then on only the end is printed.
func (f *front) stopFollowing() {
	f.once.Do(func() { close(f.stop) })
	f.wg.Wait()
}

func (f *front) close() error {
	f.stopFollowing()
	var faults []error
	for _, c := range f.closers {
		faults = append(faults, c())
	}
	return errors.Join(faults...)
}

// rows are the screen's form of the functions.
func (p *platform) rows(status []FunctionStatus) []screen.Function {
	rows := make([]screen.Function, len(status))
	for i, s := range status {
		rows[i] = screen.Function{
			Name: s.Name, State: s.State, Reason: s.Reason, Revision: s.Revision, Instances: s.Instances,
		}
		if !s.pool() {
			rows[i].URL = p.listeners.function(s.Name)
		}
	}
	return rows
}

// view is the first screen.
func (p *platform) view() screen.View {
	here, _ := os.Getwd() // without one every path stays as it is
	program, err := os.Executable()
	if err != nil {
		program = filepath.Join("bin", "modelserve")
	}
	return screen.View{
		Functions: p.rows(p.services.status()),
		Server:    p.listeners.url(),
		Key:       p.front.key,
		Metrics:   p.front.metrics,
		Commands: commands{
			here: here, program: program, data: string(p.dir), deps: absoluteOf(p.options.Deps),
			detect: p.listeners.function("text-detect"), shipped: p.options.Overlay != "",
		}.lines(),
	}
}

// defaultData is where a platform keeps its data by default.
const defaultData = ".modelserve"

// commands are those on the first screen, to paste.
type commands struct {
	here          string // the working directory
	program, data string // absolute
	deps          string // absolute
	detect        string // that of text-detect
	shipped       bool   // the shipped functions and models are there
}

// lines are the commands, in pairs of a line of what it does and the command. A
// platform in the working directory has the short ones, which work there, as
// the documentation has them; those of any other work wherever they are pasted.
func (c commands) lines() []string {
	path, program, data := shellQuote, shellQuote(c.program), " --data "+shellQuote(c.data)
	if c.data == filepath.Join(c.here, defaultData) {
		path = func(p string) string {
			if r, err := filepath.Rel(c.here, p); err == nil && !strings.HasPrefix(r, "..") {
				p = r
			}
			return shellQuote(p)
		}
		program, data = "bin/modelserve", ""
		if !c.shipped {
			program = "modelserve"
		}
	}
	if !c.shipped {
		return []string{"publish a model: any ONNX file", program + " models push my-model FILE.onnx" + data}
	}
	key := "-H @" + path(dir(c.data).header()) // in curl's arguments every user of the machine would see the key
	page := path(filepath.Join(c.here, "functions", "text-detect", "testdata", "page.png"))
	return []string{
		"find the lines of text on a page",
		fmt.Sprintf(`curl -fsS %s --data-binary @%s %s`, key, page, c.detect),
		"read them: a pipeline of three functions",
		program + " pipelines run read-document " + page + data,
		"publish a model: any ONNX file, here one of those that were fetched",
		program + " models push my-model " +
			path(filepath.Join(c.deps, "models", "text-orient", "ch_ppocr_mobile_v2.0_cls_mobile.onnx")) + data,
	}
}

// shellQuote quotes a path for a POSIX shell, where it needs to be.
func shellQuote(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+,", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
