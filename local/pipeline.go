package local

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/modelserveai/modelserve/gateway/allowance"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/local/objectstore"
	"github.com/modelserveai/modelserve/local/pipelines"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/meter"
	"github.com/modelserveai/modelserve/runtime/artifact"
)

// openPipelines opens the pipelines service, which runs beside the gateway in this
// process.
func (f *front) openPipelines(ctx context.Context, objects *artifact.Store, services pipelines.Services, much *allowance.Allowance, tel *telemetry.Telemetry) (err error) {
	p := f.platform
	f.pipelines, err = pipelines.Open(ctx, pipelines.Config{
		Database: p.dir.pipelines(), Key: p.tickets, Shipped: p.options.Overlay != "",
		Objects: objects.Payloads(), Bucket: objectstore.Bucket,
		Functions: p.services.table, Services: services, Charges: meter.New(much.Usage(), much),
		Registry: tel.Registry, Logger: slog.New(p.screen.Handler("pipelines")),
	})
	if err != nil {
		return err //nolint:wrapcheck // it says what
	}
	f.closers = append([]func() error{f.pipelines.Close}, f.closers...)
	return nil
}

// stopPipelines stops the pipelines when ctx ends: beside the gateway, whose streams end
// with them, and before the functions.
func (f *front) stopPipelines(ctx context.Context) error {
	<-ctx.Done()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	return f.pipelines.Stop(stopping) //nolint:wrapcheck // it says what
}

// findServices finds the Service of a step as the gateway finds that of a call.
type findServices struct {
	routes *route.Routes
	known  definition.Functions
}

// Service implements pipelines.Services: a function's own, or else the pool for a model.
func (s findServices) Service(ctx context.Context, name string) (service string, model bool, err error) {
	function, err := s.known.Function(ctx, name)
	if err != nil {
		return "", false, err //nolint:wrapcheck // its caller names the function
	}
	pool := ""
	for _, f := range s.routes.Functions() {
		switch {
		case f.Pool:
			pool = f.Name
		case f.Name == name:
			return name, function.Model, nil
		}
	}
	if pool == "" || !function.Model {
		return "", false, fmt.Errorf("nothing here serves it: %w", definition.ErrNoFunction)
	}
	return pool, true, nil
}
