// Package standalone is the gateway as a process of its own, for a cluster: it
// wires the handler to its stores, its routes and its port, and decides
// nothing.
package standalone

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/allowance"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/callers"
	"github.com/modelserveai/modelserve/gateway/catalog"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/knative"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/gateway/sqlite"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/internal/build"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Environment is all that the process reads of its environment, as pointers
// to structs that internal/env knows: for documentation.
func Environment() []any { return []any{&config{}} }

// config is the whole configuration of the process.
type config struct {
	Port int `env:"PORT" envDefault:"8080"` // the port to listen on, which Knative sets

	// Grace is how long requests may take to end after SIGTERM.
	Grace time.Duration `env:"MODELSERVE_GRACE" envDefault:"30s"`

	// Database is where keys, roles, grants, the audit log, usage and the newest policy of
	// each model are: the URL of PostgreSQL
	// (postgres://USER:PASSWORD@HOST/DB?sslmode=verify-full), which any number of
	// gateways share, or the file of one gateway alone, in a folder that is there. It is
	// a secret.
	Database string `env:"MODELSERVE_GATEWAY_DB,unset"`

	// HashKeys are what the secrets of keys are hashed with: <id>:<32 bytes in
	// base64>, as `modelserve gateway hash-key` makes one, the current one first and
	// older ones behind it, until no key is hashed with them any more. Every gateway
	// of a database has the same.
	HashKeys string `env:"MODELSERVE_HASH_KEYS,unset"`
	hashKeys []auth.HashKey

	// Routes is a file, reloaded on change, or "knative:NAMESPACE,…": then the
	// Knative Services of these namespaces are followed.
	Routes string `env:"MODELSERVE_ROUTES" envDefault:"/etc/modelserve/routes.yaml"`
	// Domains are the forms of functions' own host names.
	Domains []string `env:"MODELSERVE_HOST_TEMPLATES" envDefault:"{function}.{namespace}.models.test"`

	Service    string `env:"K_SERVICE"`  // the gateway's own Service, which Knative sets: calls are not routed back to it
	Kubeconfig string `env:"KUBECONFIG"` // the cluster whose Services are followed, where the process runs outside one

	// AdminKey, when set, is a key that may do everything; it is stored (its
	// hash) when its id is not there yet, so that an empty database has it again.
	AdminKey string `env:"MODELSERVE_ADMIN_KEY,unset"`

	Gateway   gateway.Config
	Callers   callers.Config
	Allowance allowance.Config
	Storage   artifact.Config
	Trust     sign.Trust // policies that it did not sign are not followed
	Telemetry telemetry.Config
}

// Check implements env.Checker.
func (c *config) Check() []error {
	var faults []error
	if c.Port < 0 || c.Port > 65535 {
		faults = append(faults, env.Faultf("PORT", "expected 0 to 65535, got %d", c.Port))
	}
	if c.Grace < 0 {
		faults = append(faults, env.Faultf("MODELSERVE_GRACE", "expected a duration such as 30s, got %v", c.Grace))
	}
	if _, _, err := knative.Namespaces(c.Routes); err != nil {
		faults = append(faults, env.Faultf("MODELSERVE_ROUTES", "%v", err))
	}
	if _, err := route.New(c.Domains...); err != nil {
		faults = append(faults, env.Faultf("MODELSERVE_HOST_TEMPLATES", "%v", err))
	}
	if c.AdminKey != "" {
		if _, err := auth.ParseKey(c.AdminKey); err != nil {
			faults = append(faults, env.Faultf("MODELSERVE_ADMIN_KEY", "expected ms_<id>_<secret>"))
		}
	}
	if c.Database == "" {
		faults = append(faults, env.Faultf("MODELSERVE_GATEWAY_DB", "expected the URL of PostgreSQL (postgres://…), or a file for one gateway alone"))
	}
	var err error
	if c.hashKeys, err = auth.ParseHashKeys(c.HashKeys); err != nil {
		faults = append(faults, env.Faultf("MODELSERVE_HASH_KEYS", "%v; `modelserve gateway hash-key` makes one", err))
	}
	faults = append(faults, c.Gateway.Check()...)
	faults = append(faults, c.Callers.Check()...)
	faults = append(faults, c.Allowance.Check()...)
	faults = append(faults, c.Storage.Check()...)
	return append(faults, c.Trust.Check()...)
}

// Main runs the process by its environment.
func Main() {
	var cfg config
	if len(os.Args) > 1 {
		if len(os.Args) > 2 || os.Args[1] != "--help" && os.Args[1] != "-h" {
			fmt.Fprintf(os.Stderr, "gateway: takes no arguments, got %q; --help lists the variables that configure it\n", os.Args[1:])
			os.Exit(env.ExitCode)
		}
		_, _ = fmt.Fprintln(os.Stdout, "The gateway of ModelServe is configured by its environment:")
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
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and drains. listening, when set, gets the
// address.
func run(ctx context.Context, cfg config, listening func(net.Addr)) (err error) {
	version := build.Version()
	cfg.Telemetry.Version, cfg.Gateway.Version = version, version
	cfg.Gateway.Memory = gateway.LimitMemory()
	if cfg.Telemetry.Service == "" {
		cfg.Telemetry.Service = "gateway"
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
	database, err := openDatabase(ctx, cfg.Database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	much, err := allowance.Open(cfg.Allowance, database, tel)
	if err != nil {
		return err
	}
	who, err := callers.Open(ctx, cfg.Callers, database, cfg.hashKeys, much, tel)
	if err != nil {
		return err
	}
	if err := importAdminKey(ctx, who, cfg.AdminKey); err != nil {
		return err
	}
	store, err := openStore(ctx, cfg, database, tel)
	if err != nil {
		return err
	}
	transport := forward.NewTransport()
	defer transport.CloseIdleConnections()
	found, err := findRoutes(cfg, transport, tel.Logger)
	if err != nil {
		return err
	}

	var draining atomic.Bool
	published := catalog.New(store)
	defer func() { err = errors.Join(err, published.Close()) }()
	deps := gateway.Deps{
		Catalog: published, Routes: found.routes, Transport: found.transport, Telemetry: tel,
		Ready: func(ctx context.Context) error {
			if draining.Load() {
				return errors.New("draining")
			}
			if err := found.ready(ctx); err != nil {
				return err
			}
			return who.Ready(ctx)
		},
	}
	if cfg.Gateway.Pipelines != "" {
		deps.Pipelines = transport
	}
	who.Wire(&deps)
	much.Wire(&deps)
	handler, err := gateway.New(cfg.Gateway, deps)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // until the last request is answered
	var run sync.WaitGroup
	run.Go(func() { who.Run(running) })
	run.Go(func() { much.Run(running) })
	defer run.Wait()
	defer stop()
	return serve(ctx, cfg, tel, handler, listening, func() { draining.Store(true) }, found.follow)
}

// database is where keys, roles, grants, the audit log and usage are, and the newest policies,
// so that no gateway follows one that is older.
type database interface {
	callers.Store
	usage.Store
	artifact.LastGood
	Close() error
}

// openDatabase opens the PostgreSQL of a URL, or a file.
func openDatabase(ctx context.Context, where string) (database, error) {
	if strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://") {
		return postgres.Open(ctx, where)
	}
	return sqlite.Open(ctx, where)
}

// openStore opens the published models, whose policies decide where calls go.
func openStore(ctx context.Context, cfg config, kept artifact.LastGood, tel *telemetry.Telemetry) (*artifact.PolicyReader, error) {
	store, err := artifact.NewStore(ctx, cfg.Storage)
	if err != nil {
		return nil, err
	}
	verifier, err := cfg.Trust.Verifier(ctx, tel.Logger)
	if err != nil {
		return nil, err
	}
	return artifact.NewPolicyReader(store, verifier, tel.Logger).Keeping(kept), nil
}

// serve runs the two listeners and the watch, and waits for all of them.
func serve(
	ctx context.Context, cfg config, tel *telemetry.Telemetry, handler http.Handler,
	listening func(net.Addr), drain func(), watch func(context.Context),
) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", fmt.Sprintf(":%d", cfg.Port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	metrics, err := telemetry.ListenMetrics(ctx, cfg.Telemetry)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	tel.Logger.InfoContext(ctx, "listening", "address", listener.Addr().String(), "metrics", metrics.Addr().String())
	if listening != nil {
		listening(listener.Addr())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return lifecycle.Serve(ctx, lifecycle.NewServer(handler, cfg.Gateway.Limits(tel)), listener, cfg.Grace, drain)
	})
	group.Go(func() error {
		return lifecycle.Serve(ctx, tel.MetricsServer(), metrics, cfg.Grace, nil)
	})
	group.Go(func() error { watch(ctx); return nil })
	return group.Wait()
}

// importAdminKey stores the operator's key, unless it is there.
func importAdminKey(ctx context.Context, who *callers.Callers, text string) error {
	if text == "" {
		return nil
	}
	err := who.Import(ctx, text, auth.KeySpec{Name: "MODELSERVE_ADMIN_KEY", Tenant: "default", Scopes: []auth.Permission{auth.Admin}})
	if err != nil {
		return fmt.Errorf("MODELSERVE_ADMIN_KEY: %w", err)
	}
	return nil
}
