package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/allowance"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/callers"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/runtime/model"
)

// entrance is a gateway in a process of its own, in front of one function that has
// one model, with all that asks who may call on or off. Both are the same program,
// handler, server and transport.
//
// On is what the gateway's own program has: callers.Open over PostgreSQL, with its
// copy kept current, keys, tokens, roles and grants, refusals stored, uses of keys
// noted, and the access log at its level and bound; and allowance.Open over Redis and
// PostgreSQL, with the limits of its file and usage stored.
//
// Off compares a credential with one text, lets it do everything, and stores and
// logs nothing; its copy of the rights is empty and is not kept current. What it has
// in common with on is what a gateway cannot be without: bounds, cleaned headers, a
// request's id and trace, and the counting of requests, which has no switch.
//
// A bare one is no gateway: a proxy that only hands requests on.
type entrance struct {
	Address, Function string // host:port of its own, and of the function
	Database          string // the URL of PostgreSQL; "" is all off
	HashKey           string // as it is configured
	File              string // the gateway's
	Redis             string // its URL
	Bare              bool
}

// onlyCredential is the one that an entrance with all off takes.
const onlyCredential = "the-only-credential"

// tinyModel is the model of an entrance's function, of which there is version 1.
const tinyModel = "tiny"

// countsPrefix begins the entrances' keys in Redis.
const countsPrefix = "bench"

// start runs one until it is stopped, and waits until it answers.
func (e *entrance) start(ctx context.Context) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	order, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	child, err := startProcess(self, nil, "-entrance", string(order))
	if err != nil {
		return nil, err
	}
	if err := waitReady(ctx, "http://"+e.Address+"/healthz"); err != nil {
		return nil, errors.Join(err, child.stop(), errors.New(child.tail()))
	}
	return child, nil
}

// serveEntrance is the process of one, by its order.
func serveEntrance(ctx context.Context, order string, log io.Writer) (err error) {
	var e entrance
	if err := json.Unmarshal([]byte(order), &e); err != nil {
		return err
	}
	if e.Bare {
		return serveProxy(ctx, e.Address, e.Function)
	}
	lifecycle.SpareThreads() // as the gateway's program has them
	level := slog.LevelInfo
	if e.Database == "" {
		level = slog.LevelError + 1
	}
	tel, err := telemetry.New(ctx, telemetry.Config{Service: "gateway", Level: level, Format: "json"}, log)
	if err != nil {
		return err
	}
	transport := forward.NewTransport()
	defer transport.CloseIdleConnections()
	deps := gateway.Deps{Catalog: oneModel{}, Transport: transport, Telemetry: tel}
	if deps.Routes, err = e.routes(); err != nil {
		return err
	}
	wire := wireNothing
	if e.Database != "" {
		wire = e.wireCallers
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended, err := wire(running, &deps)
	if err != nil {
		stop()
		return err
	}
	defer ended()
	defer stop()
	handler, err := gateway.New(gateway.Config{}, deps)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", e.Address)
	if err != nil {
		return err
	}
	return lifecycle.Serve(ctx, lifecycle.NewServer(handler, lifecycle.DefaultLimits()), listener, time.Second, nil)
}

func (e *entrance) routes() (*route.Routes, error) {
	routes, err := route.New("{function}.{namespace}.localhost")
	if err != nil {
		return nil, err
	}
	return routes, routes.Replace([]route.Function{{
		Name: tinyModel, Namespace: "default", URL: "http://" + e.Function, Models: []model.Ref{{Name: tinyModel, Version: 1}},
	}})
}

// wireCallers gives a gateway all of it. What it returns waits for the end of what
// runs until ctx ends.
func (e *entrance) wireCallers(ctx context.Context, deps *gateway.Deps) (ended func(), err error) {
	keys, err := auth.ParseHashKeys(e.HashKey)
	if err != nil {
		return nil, err
	}
	store, err := postgres.Open(ctx, e.Database)
	if err != nil {
		return nil, err
	}
	much, err := allowance.Open(allowance.Config{Redis: e.Redis, RedisPrefix: countsPrefix, UsageAge: 24 * time.Hour}, store, deps.Telemetry)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	config := callers.Config{File: e.File, TenantKeys: 1000, TenantRoles: 100, TenantGrants: 1000, AuditAge: time.Hour, AuditEntries: 1_000_000}
	who, err := callers.Open(ctx, config, store, keys, much, deps.Telemetry)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	who.Wire(deps)
	much.Wire(deps)
	var work sync.WaitGroup
	work.Go(func() { who.Run(ctx) })
	work.Go(func() { much.Run(ctx) })
	return func() {
		work.Wait()
		_ = store.Close() // nothing is left to store
	}, nil
}

// wireNothing gives a gateway none of it.
func wireNothing(ctx context.Context, deps *gateway.Deps) (ended func(), err error) {
	if deps.Hasher, err = auth.NewHasher(auth.NewHashKey()); err != nil {
		return nil, err
	}
	store := nothingStored{}
	if deps.Rights, err = rights.NewMirror(store, time.Hour, deps.Telemetry.Registry, deps.Telemetry.Logger); err != nil {
		return nil, err
	}
	deps.Keys, deps.Audit = store, store
	deps.Authenticators, deps.Authorizer = []auth.Authenticator{store}, store
	return func() {}, deps.Rights.Poll(ctx)
}

// nothingStored stores nothing, knows one credential and allows everything. What a
// call of a model does not ask it has not.
type nothingStored struct{ callers.Store }

// Since implements rights.Store.
func (nothingStored) Since(context.Context, rights.Position) (*rights.Update, error) {
	return &rights.Update{Position: rights.Position{Mark: "m"}, Whole: true, Tenants: map[string]*access.Tenant{}}, nil
}

// Authenticate implements auth.Authenticator.
func (nothingStored) Authenticate(_ context.Context, credential string) (*auth.Principal, error) {
	if subtle.ConstantTimeCompare([]byte(credential), []byte(onlyCredential)) != 1 {
		return nil, auth.ErrNotMine
	}
	return &auth.Principal{ID: "key:only", Tenant: "default"}, nil
}

// Authorize implements auth.Authorizer.
func (nothingStored) Authorize(context.Context, *auth.Principal, auth.Action) error { return nil }

// oneModel has published the one. What a call of it does not ask it has not.
type oneModel struct{ gateway.Catalog }

// Versions implements resolve.Catalog.
func (oneModel) Versions(_ context.Context, name string) ([]int, error) {
	if name != tinyModel {
		return nil, fmt.Errorf("expected the model %s, got %s", tinyModel, name)
	}
	return []int{1}, nil
}

// Policy implements resolve.Catalog.
func (oneModel) Policy(context.Context, string) (*model.Policy, error) { return &model.Policy{}, nil }
