// Package local is the whole platform in one process on one machine: it reads
// the manifests of a cluster, builds and runs their functions as child
// processes that start on demand and stop when idle, keeps objects on disk, and
// has the gateway in front.
//
// It is for a first look, for development and demonstrations. It is not a
// second platform: what it needs of Knative it takes from Knative's packages,
// and what it cannot honour of a manifest it rejects by name.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/allowance"
	"github.com/modelserveai/modelserve/gateway/callers"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/local/activator"
	"github.com/modelserveai/modelserve/local/build"
	"github.com/modelserveai/modelserve/local/instance"
	"github.com/modelserveai/modelserve/local/manifest"
	"github.com/modelserveai/modelserve/local/objectstore"
	"github.com/modelserveai/modelserve/local/process"
	"github.com/modelserveai/modelserve/local/screen"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Options are what to run and where. Zero values are the defaults.
type Options struct {
	Address string // where the gateway listens: "127.0.0.1:8080", which means [::1] too
	DataDir string // ".modelserve"
	Deps    string // ".deps", what `make deps` fetched
	Version string
	Plain   bool // never redraw, as when the output is no terminal

	// Overlay is the folder of the manifests that run, of which some are of the
	// shipped functions. "" is the pool alone, without the shipped models.
	Overlay   string
	Functions []string // folders of Go modules, each with its service.yaml
	Module    string   // folder of the Go module that has all other programs: "."
	Library   string   // ONNX Runtime's, where none is in Deps

	Out io.Writer // os.Stdout
}

func (o Options) withDefaults() Options {
	setDefault(&o.Address, "127.0.0.1:8080")
	setDefault(&o.DataDir, ".modelserve")
	setDefault(&o.Deps, ".deps")
	setDefault(&o.Module, ".")
	setDefault(&o.Version, "dev")
	if o.Out == nil {
		o.Out = os.Stdout
	}
	return o
}

// Environment is all that the local platform reads of its environment, its
// gateway included, as pointers to structs that internal/env knows: for
// documentation.
func Environment() []any {
	return []any{&settings{}, &gateway.Config{}, &callers.Config{}, &allowance.Config{}, &telemetry.Config{}}
}

// settings are what the platform itself reads of its environment.
type settings struct {
	Library        string `env:"MODELSERVE_ORT_LIBRARY"`     // the ONNX Runtime library that functions get, else that of --deps
	MetricsAddress string `env:"MODELSERVE_METRICS_ADDRESS"` // where the gateway's /metrics are served, host:port; else on the first free port of 127.0.0.1 from 9464
	LogLevel       string `env:"MODELSERVE_LOG_LEVEL"`       // the least level that is logged: debug, info, warn or error
	NoColor        string `env:"NO_COLOR"`                   // set to anything, the output has no colours (https://no-color.org)
}

// stopGrace is how long functions may finish what they have when the platform
// stops, and watchInterval how often files are looked at.
const (
	stopGrace     = 10 * time.Second
	watchInterval = time.Second
)

// Metrics of each process are on the first free port from here.
const (
	metricsAddress = "127.0.0.1:9464"
	metricsTries   = 200
)

// Run runs the platform until ctx ends. Its error is for the person at the
// terminal.
func Run(ctx context.Context, options Options) error {
	p := &platform{options: options.withDefaults()}
	if err := p.open(ctx); err != nil {
		return errors.Join(err, p.close())
	}
	err := p.serve(ctx)
	return errors.Join(err, p.close())
}

// Prepare makes a data folder with what publishing into it needs, its signing
// key and its store, for a platform that has not run yet. What is there stays.
func Prepare(dataDir string) error {
	absolute, err := filepath.Abs(dataDir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	d := dir(absolute)
	if err := os.MkdirAll(d.objects(), 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	return d.ensureSigningKey()
}

// OpenStore opens the objects of a data folder without a platform. While one
// runs it returns objectstore.ErrInUse.
func OpenStore(ctx context.Context, dataDir string) (*objectstore.Store, error) {
	s, err := objectstore.Open(ctx, dir(dataDir).objects())
	if err != nil {
		return nil, fmt.Errorf("open local objects: %w", err)
	}
	return s, nil
}

// platform is what Run holds open.
type platform struct {
	options  Options
	settings settings
	dir      dir
	state    State

	listeners *listeners
	spawner   *process.Spawner
	store     *objectstore.Store
	tickets   *sign.Signer // of pipelines
	services  *services
	screen    *screen.Screen
	front     *front
	logger    *slog.Logger

	published chan struct{} // closed when the shipped models are there
	wg        sync.WaitGroup
}

// open makes everything ready to serve, in an order that fails early and leaves
// nothing behind that close does not end.
func (p *platform) open(ctx context.Context) error {
	if err := env.Parse(&p.settings); err != nil {
		return err //nolint:wrapcheck // it names the variables
	}
	absolute, err := filepath.Abs(p.options.DataDir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	p.dir = dir(absolute)
	if err := os.MkdirAll(p.dir.services(), 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if p.listeners, err = listen(ctx, p.options.Address, p.dir); err != nil {
		return err
	}
	if p.store, err = objectstore.Open(ctx, p.dir.objects()); errors.Is(err, objectstore.ErrInUse) {
		other, _ := p.dir.readState()
		return fmt.Errorf("%s is used by another platform (process %d, at %s); stop that one or give this one a folder of its own", p.options.DataDir, other.PID, other.Server)
	} else if err != nil {
		return fmt.Errorf("open objects: %w", err)
	}
	if err := p.dir.ensureSigningKey(); err != nil {
		return err
	}
	if p.tickets, err = p.dir.ensurePipelinesKey(); err != nil {
		return err
	}
	p.screen = screen.New(p.options.Out, p.options.Plain || p.settings.NoColor != "")
	p.logger = slog.New(p.screen.Handler("platform"))
	if p.spawner, err = process.NewSpawner(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	p.state = State{
		Server: p.listeners.url(), PID: os.Getpid(), StartedAt: time.Now().UTC(),
		S3: S3{
			Endpoint: p.store.Endpoint, Bucket: objectstore.Bucket, Region: objectstore.Region, PathStyle: true,
			AccessKeyID: p.store.AccessKeyID, SecretAccessKey: p.store.SecretAccessKey,
		},
		SigningKey: p.dir.signing(), PublicKey: p.dir.public(), Services: p.dir.services(), Library: p.library(),
	}
	if p.options.Overlay != "" {
		p.state.Overlay = absoluteOf(p.options.Overlay)
	}
	for _, folder := range p.options.Functions {
		p.state.Functions = append(p.state.Functions, absoluteOf(folder))
	}
	if err := writeJSON(p.dir.state(), p.state); err != nil {
		return fmt.Errorf("write the state of the platform for the commands: %w", err)
	}
	return p.openServices(ctx)
}

func (p *platform) openServices(ctx context.Context) error {
	remembered, err := openHistory(p.dir.revisions())
	if err != nil {
		return err
	}
	alive, stop := context.WithCancel(context.WithoutCancel(ctx)) // ends in close, after the gateway
	p.published = make(chan struct{})
	p.services = &services{
		ctx:     alive,
		cancel:  stop,
		builder: build.New(p.spawner, p.dir.programs(), p.options.Module, os.Environ(), p.screen.Note),
		launcher: instance.NewLauncher(p.spawner, p.dir.terminations(), append(inherited(os.Environ()), hugePages), p.given(),
			p.screen.Line, p.logger),
		table:   activator.New(route.ErrAtZero, p.screen.Cold),
		history: remembered,
		before:  p.untilThere,
		changed: p.refresh,
		logger:  p.logger,
		byName:  map[string]*service{}, retiring: map[*running]bool{},
	}
	if p.front, err = newFront(ctx, p); err != nil {
		return err
	}
	// For curl -H @FILE: every user of the machine sees the arguments of a program.
	return writeFile(p.dir.header(), []byte("X-API-Key: "+p.front.key+"\n"))
}

// serve runs until ctx ends or the gateway does.
func (p *platform) serve(ctx context.Context) error {
	source := manifest.Source{Folder: p.relative(p.dir.services())}
	if p.options.Overlay != "" {
		source.Overlay = p.relative(p.options.Overlay)
	}
	for _, folder := range p.options.Functions {
		source.Functions = append(source.Functions, p.relative(folder))
	}
	set, snapshot, skipped, err := manifest.Load(ctx, source, manifest.Set{})
	if err != nil {
		return fmt.Errorf("the manifests cannot be applied:\n%w", err)
	}
	if skipped != nil {
		p.screen.Problem(fmt.Errorf("skipped, because it cannot be applied:\n%w", skipped))
	}
	if err := p.services.apply(set); err != nil {
		p.screen.Problem(err)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	p.wg.Go(func() { p.publish(watching) })
	p.wg.Go(func() { p.watch(watching, source, set, snapshot) })
	p.reportUnpublished(watching, set)
	p.screen.Start(p.view())
	p.wg.Go(func() { // reading and compiling manifests took memory that idling does not need
		select {
		case <-watching.Done():
		case <-p.published:
			debug.FreeOSMemory()
		}
	})
	return p.front.serve(ctx, p.listeners)
}

// watch follows changes of the manifests. One that cannot be applied is reported
// and changes nothing of its own; a fault of the overlay holds up all.
func (p *platform) watch(ctx context.Context, source manifest.Source, set manifest.Set, last manifest.Snapshot) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !last.Changed() {
			continue
		}
		now, snapshot, skipped, err := manifest.Load(ctx, source, set)
		last = snapshot
		if err != nil {
			p.screen.Problem(fmt.Errorf("the manifests as they are now cannot be applied; what ran before stays in force:\n%w", err))
			continue
		}
		set = now
		if skipped != nil {
			p.screen.Problem(fmt.Errorf("this cannot be applied; what it defined before, if anything, stays in force:\n%w", skipped))
		}
		if err := p.services.apply(set); err != nil {
			p.screen.Problem(err)
		}
		p.reportUnpublished(ctx, set)
		p.refresh()
	}
}

// refresh brings the screen and the gateway's table up to date.
func (p *platform) refresh() {
	if p.front != nil {
		p.front.refresh()
	}
}

// close ends everything that open began, in the opposite order.
func (p *platform) close() error {
	var faults []error
	if p.front != nil {
		p.front.stopFollowing()
	}
	faults = append(faults, p.wait(stopGrace))
	if p.services != nil {
		p.services.close(stopGrace)
	}
	if p.front != nil {
		faults = append(faults, p.services.builder.Sweep())
	}
	if p.front != nil {
		faults = append(faults, p.front.close())
	}
	if p.spawner != nil {
		faults = append(faults, p.spawner.Close())
	}
	if p.store != nil {
		if err := os.Remove(p.dir.state()); err != nil && !errors.Is(err, os.ErrNotExist) {
			faults = append(faults, err)
		}
		faults = append(faults, p.store.Close())
	}
	if p.listeners != nil {
		p.listeners.close()
	}
	if p.screen != nil {
		p.screen.Stop()
	}
	return errors.Join(faults...)
}

// wait returns when everything in wg has ended, which serve has cancelled. What
// does not end, such as the reading of a disk that does not answer, is left to
// the end of the process.
func (p *platform) wait(limit time.Duration) error {
	ended := make(chan struct{})
	go func() { // ends with wg
		p.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("following the manifests and the published models did not end within %v, and was given up", limit)
	}
}

// hugePages is what the functions' base image sets as well (docs/adr/0010).
const hugePages = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"

// passedOn are variables of the platform's own environment that functions get
// too; all others stay here.
var passedOn = []string{ //nolint:gochecknoglobals // a constant, but Go has no constant slices
	"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
	"GODEBUG", "GOTRACEBACK", "OTEL_*",
	"MODELSERVE_LOG_LEVEL", "MODELSERVE_MAX_BODY", "MODELSERVE_MAX_PIXELS", "MODELSERVE_POISON",
}

func inherited(environment []string) []string {
	var env []string
	for _, e := range environment {
		name, _, _ := strings.Cut(e, "=")
		for _, want := range passedOn {
			prefix, wild := strings.CutSuffix(want, "*")
			if name == want || wild && strings.HasPrefix(name, prefix) {
				env = append(env, e)
			}
		}
	}
	return env
}

// given are the variables that hold where the platform is; a manifest cannot
// change them.
func (p *platform) given() []string {
	env := append(p.state.S3.env(),
		"MODELSERVE_HOST=127.0.0.1",
		"MODELSERVE_METRICS_ADDRESS="+metricsAddress, "MODELSERVE_METRICS_TRIES="+strconv.Itoa(metricsTries),
		"MODELSERVE_PUBLIC_KEY_FILE="+p.state.PublicKey,
		"MODELSERVE_PIPELINES_PUBLIC_KEY_FILE="+p.dir.pipelinesPublic(),
		"MODELSERVE_CACHE_DIR="+p.dir.cache(),
	)
	if library := p.library(); library != "" {
		env = append(env, "MODELSERVE_ORT_LIBRARY="+library)
	}
	return env
}

// library is ONNX Runtime's: as the environment says, as `make deps` put it, or
// as the options have it.
func (p *platform) library() string {
	if p.settings.Library != "" {
		return p.settings.Library
	}
	found, _ := filepath.Glob(filepath.Join(p.options.Deps, "onnxruntime", "libonnxruntime*")) // the pattern is valid
	for _, path := range found {
		if absolute, err := filepath.Abs(path); err == nil && !strings.Contains(filepath.Base(path), "providers") {
			return absolute
		}
	}
	return p.options.Library
}

// absoluteOf is a path that means the same in every folder, where one can be
// found.
func absoluteOf(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		return absolute
	}
	return path
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}
