package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/api"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/dispatch"
	"github.com/modelserveai/modelserve/pipelines/postgres"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/registry"
	pipelinesservice "github.com/modelserveai/modelserve/pipelines/service"
	"github.com/modelserveai/modelserve/pipelines/values/valuestest"
	"github.com/modelserveai/modelserve/runtime/sign"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

// writers is how many write to the database at once, by as many connections.
const writers = 8

// benchTenant is whose the executions are.
const benchTenant = "bench"

// chained is a pipeline of three steps, one after the other.
const chained = `apiVersion: modelserve.dev/v1
kind: Pipeline
metadata: {name: chained}
spec:
  steps:
    - {name: first, function: text-detect, input: input}
    - {name: second, function: text-orient, input: steps.first}
    - {name: third, function: text-recognize, input: steps.second}
  output: steps.third
  concurrency: 10000
`

// pipelines holds the pipelines service against what bounds it: what it stores against
// a loop that stores the same, and what it runs against the runs alone.
func (o *options) pipelines(ctx context.Context, _ *platform, dir string) (rows []row, err error) {
	w, err := startRecords(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	for _, part := range []struct {
		name    string
		measure func(context.Context) ([]row, error)
	}{
		{"accept", func(ctx context.Context) ([]row, error) { return o.accepting(ctx, w) }},
		{"record", func(ctx context.Context) ([]row, error) { return o.recording(ctx, w) }},
		{"run", func(ctx context.Context) ([]row, error) { return o.running(ctx, w) }},
		{"finished", func(ctx context.Context) ([]row, error) { return o.besideFinished(ctx, w) }},
		{"read", func(ctx context.Context) ([]row, error) { return o.reading(ctx, dir) }},
	} {
		if o.onlyPipelines != "" && !slices.Contains(strings.Split(o.onlyPipelines, ","), part.name) {
			continue
		}
		more, err := part.measure(ctx)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// records is a PostgreSQL server that syncs its disk, with a key for tickets.
type records struct {
	server     *postgrestest.Server
	postmaster int // its first process
	signer     *ticket.Signer
}

func startRecords(ctx context.Context, dir string) (w *records, err error) {
	progress("start PostgreSQL")
	w = &records{}
	if w.server, err = postgrestest.Run(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop())
		}
	}()
	if err := w.server.Exec(ctx, "postgres", "ALTER SYSTEM SET fsync = on", "SELECT pg_reload_conf()"); err != nil {
		return nil, err
	}
	key, err := sign.CreateKeys(filepath.Join(dir, "pipelines.key"), filepath.Join(dir, "pipelines.pub"))
	if err != nil {
		return nil, err
	}
	w.signer = ticket.NewSigner(key)
	pool, err := pgxpool.New(ctx, w.server.URL("postgres"))
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	var backend int
	if err := pool.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&backend); err != nil {
		return nil, err
	}
	status, err := readStat(backend)
	if err != nil {
		return nil, err
	}
	w.postmaster = status.parent
	return w, nil
}

func (w *records) stop() error { return w.server.Close() }

// processor is the time that the server's processes have taken.
func (w *records) processor() (time.Duration, error) {
	found, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, path := range found {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return 0, err
		}
		if s, err := readStat(pid); err == nil && (s.parent == w.postmaster || pid == w.postmaster) { // it may have ended
			total += s.used
		}
	}
	return total, nil
}

// stat is a process by /proc (proc(5)).
type stat struct {
	parent int
	used   time.Duration // of processors, that of children that have ended too
}

func readStat(pid int) (s stat, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const parent, user, last = 1, 11, 14 // of what follows the name
	if len(fields) <= last {
		return s, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	if s.parent, err = strconv.Atoi(fields[parent]); err != nil {
		return s, err
	}
	for _, field := range fields[user : last+1] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return s, err
		}
		s.used += time.Duration(ticks) * clockTick
	}
	return s, nil
}

// recorded is the service over a database of its own.
type recorded struct {
	store   *postgres.Store
	service *pipelinesservice.Service
	api     *api.API
	version *decide.Version
	pool    *pgxpool.Pool // of a loop beside it, as many connections
	close   func()
}

// gatewaySecret is what the service believes.
const gatewaySecret = "between the gateway and the service"

// open makes a database, and the service over it; nothing runs yet.
func (w *records) open(ctx context.Context, channels dispatch.Channels) (r *recorded, err error) {
	name, err := w.server.NewDatabase(ctx, "")
	if err != nil {
		return nil, err
	}
	r = &recorded{}
	url := w.server.URL(name) + "&pool_max_conns=" + strconv.Itoa(writers)
	if r.store, err = postgres.Open(ctx, url); err != nil {
		return nil, err
	}
	store := r.store
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	logger := slog.New(slog.DiscardHandler)
	r.service, err = pipelinesservice.New(pipelinesservice.Config{Dispatch: dispatch.Config{Synchronous: true, PerTenant: 256}, MaxQueued: math.MaxInt32}, pipelinesservice.Deps{
		Store: r.store, Objects: valuestest.New(), Bucket: "bucket", Channels: channels, Signer: w.signer, Tickets: w.signer.Verifier(),
		Registry: prometheus.NewRegistry(), Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	register := registry.New(r.store, nil, registry.Bounds{})
	r.api, err = api.New(api.Config{Secret: gatewaySecret}, api.Deps{
		Store: r.store, Registry: register, Decider: r.service.Decider(), Starter: r.service.Starter(), Values: r.service.Values(), Live: r.service.Live(),
		Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	d, err := definition.Parse([]byte(chained))
	if err != nil {
		return nil, err
	}
	v, _, err := r.store.Register(ctx, record.Registration{Tenant: benchTenant, Name: d.Name, Canonical: d.Canonical(), Digest: d.Digest()})
	if err != nil {
		return nil, err
	}
	if r.version, err = r.service.Decider().Version(ctx, v.VersionID); err != nil {
		return nil, err
	}
	if r.pool, err = pgxpool.New(ctx, url+"&search_path=pipelines"); err != nil {
		return nil, err
	}
	r.close = func() { r.pool.Close(); _ = store.Close() }
	return r, nil
}

// empty removes all executions.
func (r *recorded) empty(ctx context.Context) error {
	_, err := r.pool.Exec(ctx, "TRUNCATE executions, due, events, outputs, late, labels")
	return err
}

// repeat has so many clients do something again and again for a turn, and returns how
// often it was done a second.
func repeat(ctx context.Context, clients int, turn time.Duration, do func(ctx context.Context) error) (float64, error) {
	var done atomic.Int64
	errs := make([]error, clients)
	began := time.Now()
	var work sync.WaitGroup
	for i := range errs {
		work.Go(func() {
			for errs[i] == nil && time.Since(began) < turn {
				if errs[i] = do(ctx); errs[i] == nil {
					done.Add(1)
				}
			}
		})
	}
	work.Wait()
	return float64(done.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
}

// together has all writers do n things.
func together(n int, do func(i int) error) error {
	errs := make([]error, writers)
	var work sync.WaitGroup
	for c := range errs {
		work.Go(func() {
			for i := c; i < n && errs[c] == nil; i += writers {
				errs[c] = do(i)
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}
