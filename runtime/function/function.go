// Package function is the composition root of every function: it reads the
// configuration, starts ONNX Runtime, loads the function's models, and serves,
// so that a function's main is its codec's name and nothing more.
//
// It decides nothing that a package it wires could decide.
package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/eventing/emit"
	"github.com/modelserveai/modelserve/internal/build"
	"github.com/modelserveai/modelserve/internal/cgroup"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/runtime/pool"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Spec is what makes one function differ from another.
type Spec struct {
	Name string

	// Codec makes the reader and writer of the function's native payload; nil
	// is a function that serves the Open Inference Protocol only.
	Codec func(Limits) serve.Codec
}

// Limits are the bounds that codecs apply themselves.
type Limits struct {
	MaxPixels int64 // of one image, before it is decoded
}

// Main runs a function until a signal stops it, and exits: 0 when it stopped at a
// signal, 1 when it could not go on or its model will never load, 2 when its
// environment is wrong. The reason is its last line, and in Kubernetes the
// container's termination message, which meanwhile is what it waits for.
//
// It takes no arguments but --help, which lists the variables that configure it.
func Main(spec Spec) {
	if len(os.Args) > 1 {
		os.Exit(help(spec.Name, os.Args[1:], os.Stdout, os.Stderr))
	}
	ctx, stop := lifecycle.Context(context.Background())
	cfg := config{processors: lifecycle.SpareThreads()}
	err := env.Parse(&cfg)
	if err == nil {
		err = run(ctx, spec, &cfg, os.Stderr)
	}
	stop()
	os.Exit(ending(spec.Name, err, os.Stderr, cfg.TerminationLog))
}

// help answers arguments, and returns what to exit with.
func help(name string, args []string, out, errs io.Writer) int {
	if len(args) != 1 || args[0] != "--help" && args[0] != "-h" {
		_, _ = fmt.Fprintf(errs, "%s: takes no arguments, got %q; --help lists the variables that configure it\n", name, args)
		return env.ExitCode
	}
	_, _ = fmt.Fprintf(out, `%s is a function of ModelServe: it answers HTTP and gRPC on PORT by the Open
Inference Protocol V2 (/v2/...), and, where it has a payload of its own, POST /.
It is configured by its environment, besides the AWS SDK's variables:

`, name)
	if err := env.Usage(out, &config{}); err != nil {
		return 1
	}
	return 0
}

func run(ctx context.Context, spec Spec, cfg *config, log io.Writer) error {
	if cfg.Telemetry.Service == "" {
		cfg.Telemetry.Service = spec.Name
	}
	cfg.Telemetry.Version = build.Version()
	tel, err := telemetry.New(ctx, cfg.Telemetry, log)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := tel.Stop(stopping); err != nil {
			tel.Logger.Warn("telemetry was cut off", "error", err)
		}
	}()
	return serveUntil(ctx, spec, cfg, tel)
}

// serveUntil loads the function's models, answers, and drains when ctx ends.
func serveUntil(ctx context.Context, spec Spec, cfg *config, tel *telemetry.Telemetry) error {
	memory, err := cfg.share(os.DirFS("/"))
	if err != nil {
		memory.why = "no bound for models where MODELSERVE_MEMORY is not set: " + err.Error()
	}
	memory.log(cfg, tel.Logger)
	cgroup.LimitHeap(memory.heap)
	src, err := newSource(ctx, cfg, &memory, tel)
	if err != nil {
		return err
	}
	models, err := newPool(cfg, &memory, src, tel)
	if err != nil {
		return errors.Join(err, src.close())
	}
	err = answer(ctx, spec, cfg, &memory, tel, src, models)
	models.Close()
	return errors.Join(err, src.close())
}

// answer listens once the models are there, which an open port means to Knative's
// own probe, of a Service that has none. A PORT that is in use is an error only
// then.
func answer(ctx context.Context, spec Spec, cfg *config, memory *budget, tel *telemetry.Telemetry, src *source, models *pool.Pool) error {
	health := new(serve.Health)
	handler, err := newServer(ctx, spec, cfg, memory, tel, src, models, health)
	if err != nil {
		return err
	}
	metrics, stopMetrics, err := serveMetrics(ctx, cfg, tel)
	if err != nil {
		return err
	}
	defer stopMetrics()
	waiting := func(err error) { // the pool has logged it
		if err := terminated(cfg.TerminationLog, reasonOf(spec.Name, err)); err != nil {
			tel.Logger.Warn("cannot write the termination log", "error", err)
		}
	}
	if err := src.load(ctx, models, waiting); err != nil || ctx.Err() != nil {
		return err
	}
	listener, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	tel.Logger.Info("listening", "address", listener.Addr().String(), "metrics", metrics, "models", cfg.Models)
	var resting sync.WaitGroup
	defer resting.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	resting.Go(func() { giveBackAtRest(ctx, giveBack) })
	limits := lifecycle.DefaultLimits()
	limits.Drain = limits.Drain.Over(memory.maxBody, tel.Drained)
	return lifecycle.Serve(ctx, lifecycle.NewServer(tel.Middleware(handler), limits), listener, cfg.Grace, health.Drain)
}

// listen opens the port, or the socket that was handed over.
func listen(ctx context.Context, cfg *config) (net.Listener, error) {
	if cfg.Socket != 0 {
		listener, err := lifecycle.Inherited(cfg.Socket)
		if err != nil {
			return nil, fmt.Errorf("listen on the socket of %s: %w", lifecycle.ListenVariable, err)
		}
		return listener, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)))
	if err != nil {
		return nil, fmt.Errorf("listen on PORT: %w", err)
	}
	return listener, nil
}

func newPool(cfg *config, memory *budget, src *source, tel *telemetry.Telemetry) (*pool.Pool, error) {
	return pool.New(pool.Config{
		Models:     cfg.refs,
		Memory:     memory.models,
		MaxLoaded:  max(cfg.MaxLoaded, len(cfg.refs)),
		Slots:      src.device.slots(cfg),
		Queue:      cfg.Queue,
		LoadLimit:  cfg.LoadTimeout,
		MaxOutput:  memory.maxOutput,
		Device:     src.device.expected(),
		Registerer: tel.Registry,
	}, src, src, tel.Logger)
}

// serveMetrics answers /metrics on its own port, at address, until stopped.
func serveMetrics(ctx context.Context, cfg *config, tel *telemetry.Telemetry) (address string, stop func(), err error) {
	listener, err := telemetry.ListenMetrics(ctx, cfg.Telemetry)
	if err != nil {
		return "", nil, err
	}
	server := tel.MetricsServer()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			tel.Logger.Error("metrics are no longer served", "error", err)
		}
	}()
	return listener.Addr().String(), func() {
		_ = server.Close() // a scrape that is cut off is scraped again
		<-done
	}, nil
}

func newServer(ctx context.Context, spec Spec, cfg *config, memory *budget, tel *telemetry.Telemetry, src *source, models *pool.Pool, health *serve.Health) (*serve.Server, error) {
	sink, err := emit.New(cfg.Sink)
	if err != nil {
		return nil, err
	}
	tickets, err := cfg.Pipelines.Verifier(ctx, tel.Logger)
	if err != nil {
		return nil, err
	}
	config := serve.Config{
		Backend:    models,
		Repository: models,
		Function:   spec.Name,
		Version:    cfg.Telemetry.Version,
		Open:       src.open,
		Tickets:    tickets,
		Store:      src.store.PutPayload,
		Secret:     cfg.Secret,

		GatewaySecret: cfg.GatewaySecret,

		Large:      nice.New(cfg.cores()),
		Health:     health,
		Logger:     tel.Logger,
		Registerer: tel.Registry,
		Limits: serve.Limits{
			MaxBody:     memory.maxBody,
			Inflight:    memory.calls,
			BodyTimeout: cfg.BodyTimeout,
		},
	}
	if sink != nil {
		config.Sink = sink.Send
	}
	if spec.Codec != nil {
		if cfg.Secret == "" && cfg.GatewaySecret == "" {
			tel.Logger.Info("refs are not opened: nothing shows that a call comes from the gateway; set MODELSERVE_GATEWAY_SECRET here and there")
		}
		config.Codec = spec.Codec(Limits{MaxPixels: memory.maxPixels})
		if len(cfg.refs) > 0 {
			config.Model = cfg.refs[0].Name
		}
	}
	return serve.New(config)
}
