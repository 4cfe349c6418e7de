// Package standalone is the pipelines service as a process of its own, for a cluster: it
// wires package service to its stores, to Knative and to its port, and decides nothing.
package standalone

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/gateway/forward"
	gatewayknative "github.com/modelserveai/modelserve/gateway/knative"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/build"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/pipelines/api"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/dispatch"
	"github.com/modelserveai/modelserve/pipelines/knative"
	"github.com/modelserveai/modelserve/pipelines/live"
	"github.com/modelserveai/modelserve/pipelines/postgres"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/redisnotice"
	"github.com/modelserveai/modelserve/pipelines/registry"
	"github.com/modelserveai/modelserve/pipelines/service"
	"github.com/modelserveai/modelserve/pipelines/shipped"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Main runs the process by its environment.
func Main() {
	var cfg config
	if len(os.Args) > 1 {
		if len(os.Args) > 2 || os.Args[1] != "--help" && os.Args[1] != "-h" {
			fmt.Fprintf(os.Stderr, "pipelines: takes no arguments, got %q; --help lists the variables that configure it\n", os.Args[1:])
			os.Exit(env.ExitCode)
		}
		_, _ = fmt.Fprintln(os.Stdout, "The pipelines service of ModelServe is configured by its environment:")
		_ = env.Usage(os.Stdout, &cfg) // an output that is gone reads nothing
		return
	}
	if err := env.Parse(&cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(env.ExitCode)
	}
	redislimit.Quiet()
	lifecycle.SpareThreads()
	ctx, stop := lifecycle.Context(context.Background())
	err := run(ctx, cfg, nil)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pipelines:", err)
		os.Exit(1)
	}
}

// around is what the process stands on, where a test has another than a cluster's.
type around struct {
	listening func(net.Addr) // gets the address
	cluster   knative.Client // in place of the cluster that the configuration names
}

// run serves until ctx ends, and drains.
func run(ctx context.Context, cfg config, with *around) (err error) {
	if with == nil {
		with = &around{}
	}
	cfg.Telemetry.Version = build.Version()
	if cfg.Telemetry.Service == "" {
		cfg.Telemetry.Service = "pipelines"
	}
	tel, err := telemetry.New(ctx, cfg.Telemetry, os.Stderr)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, tel.Stop(stopping))
	}()
	store, err := postgres.Open(ctx, cfg.Database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	p, err := open(ctx, cfg, with, store, tel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	return p.serve(ctx, cfg, with, tel)
}

// process is what runs.
type process struct {
	store    record.Store
	service  *service.Service
	api      *api.API
	keeper   *knative.Keeper
	watcher  *gatewayknative.Watcher
	charges  *charges
	draining atomic.Bool
	close    func() error
}

// open wires the parts; nothing runs yet.
func open(ctx context.Context, cfg config, with *around, store record.Store, tel *telemetry.Telemetry) (*process, error) {
	signer, tickets, err := keys(ctx, cfg, tel.Logger)
	if err != nil {
		return nil, err
	}
	objects, err := artifact.NewStore(ctx, cfg.Storage)
	if err != nil {
		return nil, err
	}
	client := with.cluster
	if client == nil {
		if client, err = knative.NewClient(cfg.Kubeconfig); err != nil {
			return nil, err
		}
	}
	if cfg.Namespace == "" {
		cfg.Namespace = knative.OwnNamespace("default")
	}
	routes, err := route.New("{function}.{namespace}.svc." + cfg.Domain) // nobody calls them by it here
	if err != nil {
		return nil, err
	}
	functions := forward.NewTransport()
	p := &process{store: store, close: func() error { functions.CloseIdleConnections(); return nil }}
	p.watcher = gatewayknative.New(gatewayknative.Config{
		Namespaces: []string{cfg.Namespace}, Self: gatewayknative.Name{Namespace: cfg.Namespace, Name: "gateway"},
	}, client, routes, tel.Logger)
	p.keeper, err = knative.New(knative.Config{Namespace: cfg.Namespace, Ingress: cfg.Ingress, Domain: cfg.Domain}, client, &versions{
		store: store, routes: routes, ready: p.watcher.Ready, signer: signer,
		target: compile.Target{Namespace: cfg.Namespace, Service: compile.ServiceOf(cfg.Service)},
	}, tel.Registry, tel.Logger)
	if err != nil {
		return nil, err
	}
	var notices live.Notices
	if cfg.Redis != "" {
		redis, err := redislimit.Client(cfg.Redis)
		if err != nil {
			return nil, err
		}
		p.close = func() error { functions.CloseIdleConnections(); return redis.Close() }
		notices = redisnotice.New(redis, "modelserve")
	}
	if p.charges, err = newCharges(ctx, cfg, tel); err != nil {
		return nil, errors.Join(err, p.close())
	}
	others := p.close
	p.close = func() error { return errors.Join(others(), p.charges.close()) }
	p.service, err = service.New(service.Config{
		Dispatch:  dispatch.Config{Posts: cfg.Posts, Running: cfg.Running, Synchronous: true}, // channels are Knative's in memory
		ColdStart: cfg.ColdStart, Allow: cfg.Networks,
		Secret: cfg.Secret,
	}, service.Deps{
		Functions: functions, Charges: p.charges.charger(),
		Store: store, Objects: objects.Payloads(), Bucket: cfg.Storage.Bucket, Channels: p.keeper, Signer: signer, Tickets: tickets,
		Notices: notices, Registry: tel.Registry, Logger: tel.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	// The gateway has held what is registered to the functions that there are.
	register := registry.New(store, nil, registry.Bounds{})
	if err := ship(ctx, register); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.api, err = api.New(api.Config{Secret: cfg.apiSecret()}, api.Deps{
		Store: store, Registry: register, Decider: p.service.Decider(), Starter: p.service.Starter(), Values: p.service.Values(), Live: p.service.Live(),
		Logger: tel.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// keys are what tickets and steps are signed with, and what is accepted of them.
func keys(ctx context.Context, cfg config, logger *slog.Logger) (*ticket.Signer, *ticket.Verifier, error) {
	private, err := cfg.signer()
	if err != nil {
		return nil, nil, fmt.Errorf("MODELSERVE_PIPELINES_KEY: %w", err)
	}
	public := []ed25519.PublicKey{private.Public()}
	var others *sign.Verifier
	switch {
	case cfg.Trust.PublicKeyFile != "":
		others, err = sign.ReadVerifier(cfg.Trust.PublicKeyFile)
	case cfg.Trust.PublicKey != "":
		others, err = sign.ParseVerifier([]byte(cfg.Trust.PublicKey))
	}
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("MODELSERVE_PIPELINES_PUBLIC_KEY: %w", err)
	case others == nil:
	case !slices.ContainsFunc(others.Keys(), func(k ed25519.PublicKey) bool { return k.Equal(private.Public()) }):
		logger.WarnContext(ctx, "functions that have these public keys run no step that is signed with this process's key",
			"key", sign.KeyID(private.Public()), "from", "MODELSERVE_PIPELINES_PUBLIC_KEY")
		fallthrough
	default:
		public = append(public, others.Keys()...)
	}
	return ticket.NewSigner(private), ticket.NewVerifier(sign.NewVerifier(public...)), nil
}

// ship registers the pipelines that come with the platform.
func ship(ctx context.Context, to *registry.Registry) error {
	all, err := shipped.All()
	if err != nil {
		return err
	}
	for _, d := range all {
		if _, _, err := to.Apply(ctx, registry.Shipped, d.Canonical()); err != nil {
			return fmt.Errorf("register the shipped pipeline %s: %w", d.Name, err)
		}
	}
	return nil
}

// handler is everything that is served: events of channels, the API of the gateway, and
// whether there is anybody to ask.
func (p *process) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/events/", p.service.Handler())
	mux.Handle("/", p.api)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := p.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	return mux
}

// ready returns why the process takes nothing. Objects that are not ready keep only their
// own pipelines waiting.
func (p *process) ready(ctx context.Context) error {
	if p.draining.Load() {
		return errors.New("draining")
	}
	if err := p.store.Ping(ctx); err != nil {
		return errors.New("the database does not answer")
	}
	return errors.Join(p.watcher.Ready(ctx), p.keeper.Ready(ctx))
}

// serve runs all of it until ctx ends. Then it begins nothing new, and takes what comes
// back until what is on its way has ended or the grace is over.
func (p *process) serve(ctx context.Context, cfg config, with *around, tel *telemetry.Telemetry) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", fmt.Sprintf(":%d", cfg.Port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	metrics, err := telemetry.ListenMetrics(ctx, cfg.Telemetry)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if err := p.service.Start(ctx); err != nil {
		return errors.Join(err, listener.Close(), metrics.Close())
	}
	counting, counted := context.WithCancel(context.WithoutCancel(ctx)) // until nobody is charged any more
	var charging sync.WaitGroup
	charging.Go(func() { p.charges.run(counting) })
	defer charging.Wait()
	defer counted()
	tel.Logger.InfoContext(ctx, "listening", "address", listener.Addr().String(), "metrics", metrics.Addr().String())
	if with.listening != nil {
		with.listening(listener.Addr())
	}
	limits := lifecycle.DefaultLimits()
	limits.Drain = limits.Drain.Over(0, tel.Drained)
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // until nothing is on its way any more
	defer stop()
	group, running := errgroup.WithContext(running)
	group.Go(func() error {
		return lifecycle.Serve(running, lifecycle.NewServer(p.handler(), limits), listener, lastAnswers, nil)
	})
	group.Go(func() error { return lifecycle.Serve(running, tel.MetricsServer(), metrics, lastAnswers, nil) })
	group.Go(func() error { p.watcher.Run(running); return nil })
	group.Go(func() error { p.keeper.Run(running); return nil })
	var stopped error
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-ctx.Done():
		case <-running.Done(): // one of them failed
		}
		p.draining.Store(true)
		p.api.Close()
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Grace)
		defer cancel()
		stopped = p.service.Stop(draining)
		stop()
	})
	err = group.Wait()
	waiting.Wait()
	return errors.Join(err, stopped)
}

// lastAnswers is how long answers may take that are being written when all else is over.
const lastAnswers = 5 * time.Second
