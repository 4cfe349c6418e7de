package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/allowance"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/callers"
	"github.com/modelserveai/modelserve/gateway/catalog"
	"github.com/modelserveai/modelserve/gateway/pipeline"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/gateway/sqlite"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/regular"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/local/activator"
	"github.com/modelserveai/modelserve/local/keyvalue"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// hostTemplate is where functions have their own URLs.
const hostTemplate = "{function}.{namespace}.localhost"

// open wires the gateway. What it opens is in closers, last one first.
func (f *front) open(ctx context.Context) error {
	p := f.platform
	var config gateway.Config
	if err := env.Parse(&config); err != nil {
		return err //nolint:wrapcheck // it names the variables
	}
	config.Version = p.options.Version
	tel, err := f.telemetry(ctx)
	if err != nil {
		return err
	}
	config.Memory = gateway.LimitMemory()
	f.limits = config.Limits(tel)
	if err := f.openRedis(ctx); err != nil {
		return err
	}
	who, much, err := f.callers(ctx, tel)
	if err != nil {
		return err
	}
	objects, err := artifact.NewStore(ctx, artifact.Config{
		Bucket: p.state.S3.Bucket, Endpoint: p.state.S3.Endpoint, Region: p.state.S3.Region, PathStyle: true,
		AccessKey: p.state.S3.AccessKeyID, SecretKey: p.state.S3.SecretAccessKey,
	})
	if err != nil {
		return fmt.Errorf("reach the objects: %w", err)
	}
	trust := sign.Trust{PublicKeyFile: p.dir.public()}
	verifier, err := trust.Verifier(ctx, tel.Logger)
	if err != nil {
		return fmt.Errorf("reach the objects: %w", err)
	}
	kept, err := artifact.NewPolicyFolder(p.dir.policies())
	if err != nil {
		return fmt.Errorf("keep policies: %w", err)
	}
	published := catalog.New(artifact.NewPolicyReader(objects, verifier, tel.Logger).Keeping(kept))
	f.closers = append([]func() error{published.Close}, f.closers...)
	routes, err := route.New(hostTemplate)
	if err != nil {
		return fmt.Errorf("route: %w", err)
	}
	f.update = func(status []FunctionStatus) error {
		return routes.Replace(functions(status)) //nolint:wrapcheck // it names the function
	}
	ready := func(ctx context.Context) error {
		if err := p.ready(ctx); err != nil {
			return err
		}
		return errors.Join(who.Ready(ctx), f.pipelines.Ready(ctx))
	}
	if err := f.openPipelines(ctx, objects, findServices{routes, pipeline.Known(published, routes)}, much, tel); err != nil {
		return err
	}
	deps := gateway.Deps{
		Catalog: published, Routes: routes, Transport: p.services.table, Direct: true, Pipelines: f.pipelines, Telemetry: tel, Ready: ready,
	}
	who.Wire(&deps)
	much.Wire(&deps)
	if f.handler, err = gateway.New(config, deps); err != nil {
		return fmt.Errorf("make the gateway: %w", err)
	}
	return nil
}

// openRedis starts what the gateway counts in.
func (f *front) openRedis(ctx context.Context) error {
	store, err := keyvalue.Open(ctx, f.platform.dir.redis(), f.platform.logger)
	if err != nil {
		return err //nolint:wrapcheck // it says what was opened
	}
	f.closers = append([]func() error{store.Close}, f.closers...)
	f.redis = store.URL
	return nil
}

// callers opens what knows who may call, and how much, and has both run until the
// front is closed.
func (f *front) callers(ctx context.Context, tel *telemetry.Telemetry) (*callers.Callers, *allowance.Allowance, error) {
	var config callers.Config
	var muchConfig allowance.Config
	if err := errors.Join(env.Parse(&config), env.Parse(&muchConfig)); err != nil {
		return nil, nil, err
	}
	if muchConfig.Redis == "" {
		muchConfig.Redis = f.redis
	}
	dir := f.platform.dir
	if config.File == "" {
		config.File = dir.gateway()
	}
	store, err := sqlite.Open(ctx, dir.keys())
	if err != nil {
		return nil, nil, fmt.Errorf("open the keys: %w", err)
	}
	f.closers = append([]func() error{store.Close}, f.closers...)
	by, err := store.HashedBy(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("look at the keys: %w", err)
	}
	hashKeys, err := dir.ensureHashKey(by)
	if err != nil {
		return nil, nil, err
	}
	much, err := allowance.Open(muchConfig, store, tel)
	if err != nil {
		return nil, nil, fmt.Errorf("open what callers may have: %w", err)
	}
	who, err := callers.Open(ctx, config, store, hashKeys, much, tel)
	if err != nil {
		return nil, nil, fmt.Errorf("read who may call: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var run sync.WaitGroup
	run.Go(func() { who.Run(running) })
	run.Go(func() { much.Run(running) })
	f.closers = append([]func() error{func() error {
		stop()
		run.Wait()
		return nil
	}}, f.closers...)
	f.key, err = ensureKey(ctx, who, dir.key())
	return who, much, err
}

// ready holds readiness until the shipped models are published: until then a
// call that names one by its path would be answered that there is none.
func (p *platform) ready(context.Context) error {
	if !isClosed(p.published) {
		return errors.New("the shipped models are being published")
	}
	return nil
}

// telemetry is the gateway's: its log goes to the screen, its metrics to the
// first free port from 9464.
func (f *front) telemetry(ctx context.Context) (*telemetry.Telemetry, error) {
	var config telemetry.Config
	if err := env.Parse(&config); err != nil {
		return nil, err //nolint:wrapcheck // it names the variables
	}
	config.Service, config.Version, config.Format = "gateway", f.platform.options.Version, "json"
	if settings := f.platform.settings; settings.MetricsAddress == "" {
		config.MetricsAddress, config.MetricsTries = metricsAddress, metricsTries
	}
	tel, err := telemetry.New(ctx, config, f.platform.screen.Writer("gateway"))
	if err != nil {
		return nil, fmt.Errorf("start telemetry: %w", err)
	}
	f.closers = append([]func() error{func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return tel.Stop(ctx)
	}}, f.closers...)
	listener, err := telemetry.ListenMetrics(ctx, config)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the variable
	}
	f.metrics = "http://" + listener.Addr().String() + "/metrics"
	metrics, done := tel.MetricsServer(), make(chan error, 1)
	go func() { done <- metrics.Serve(listener) }()
	f.closers = append([]func() error{func() error {
		err := metrics.Close()
		if serveErr := <-done; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	}}, f.closers...)
	return tel, nil
}

// functions are the gateway's form of what runs.
func functions(status []FunctionStatus) []route.Function {
	list := make([]route.Function, 0, len(status))
	for _, s := range status {
		f := route.Function{
			Name: s.Name, Namespace: "default", URL: "http://" + s.Name + activator.Domain,
			Models: pins(s.Models), Mixed: pins(s.Mixed), Tags: s.Tags, Tagged: map[string][]model.Ref{},
			Pool: s.pool(), State: s.State, Reason: s.Reason,
		}
		if s.State == route.StateFailed && s.Serving != "" {
			f.State = s.Serving // calls are answered, and the reason stays
		}
		if f.State == route.StateIdle && s.Instances > 0 {
			f.State = route.StateReady // another revision's, which has traffic
		}
		for tag, models := range s.Tagged {
			f.Tagged[tag] = pins(models)
		}
		list = append(list, f)
	}
	return list
}

// pool reports whether the function takes every published model.
func (s FunctionStatus) pool() bool { return slices.Contains(s.Models, "*") }

// pins reads MODELSERVE_MODELS. What is no name@version the function
// reports, when it starts.
func pins(models []string) []model.Ref {
	var list []model.Ref
	for _, text := range models {
		if ref, err := model.ParsePinned(text); err == nil {
			list = append(list, ref)
		}
	}
	return list
}

// ensureKey makes the local key at the first start. It is the only one that is
// kept in the clear, for the person whose machine this is.
func ensureKey(ctx context.Context, who *callers.Callers, path string) (string, error) {
	kept, err := regular.Read(path, maxStateFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the local key: %w", err)
	}
	text := strings.TrimSpace(string(kept))
	if who.Good(text) {
		return text, nil
	}
	if text, err = who.Create(ctx, auth.KeySpec{Name: "local", Tenant: "default", Scopes: []auth.Permission{auth.Admin}}); err != nil {
		return "", fmt.Errorf("make the local key: %w", err)
	}
	return text, writeFile(path, []byte(text+"\n"))
}

// ensureHashKey makes the key that keys' secrets are hashed with, once. by is how many
// keys are good, by the id of their hash key; "" is none.
func (d dir) ensureHashKey(by map[string]int) ([]auth.HashKey, error) {
	const help = "put it back, or make another one, with which no key that was made before is good: modelserve gateway hash-key >%s"
	text, err := regular.Read(d.hashKey(), maxStateFile)
	if errors.Is(err, fs.ErrNotExist) {
		for id, keys := range by {
			if id != "" {
				return nil, fmt.Errorf("there is no %s, and %d keys of %s are hashed with it; "+help, d.hashKey(), keys, d.keys(), d.hashKey())
			}
		}
		key := auth.NewHashKey()
		return []auth.HashKey{key}, writeFile(d.hashKey(), []byte(key.String()+"\n"))
	}
	if err != nil {
		return nil, fmt.Errorf("read the hash key: %w", err)
	}
	keys, err := auth.ParseHashKeys(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; "+help, d.hashKey(), err, d.hashKey())
	}
	return keys, nil
}

// relative is a path as the person at the terminal would write it.
func (p *platform) relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if r, err := filepath.Rel(here, path); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return path
}
