package standalone

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/gateway/knative"
	"github.com/modelserveai/modelserve/gateway/route"
)

// routesInterval is how often the routes file is looked at.
const routesInterval = time.Second

// found is where functions are, and what keeps that true.
type found struct {
	routes    *route.Routes
	transport http.RoundTripper           // to them
	ready     func(context.Context) error // nil once the routes are in force
	follow    func(context.Context)       // keeps them so until its context ends
}

// findRoutes follows MODELSERVE_ROUTES: Knative, or a file, which must be good
// at the start.
func findRoutes(cfg config, transport http.RoundTripper, logger *slog.Logger) (*found, error) {
	routes, err := route.New(cfg.Domains...)
	if err != nil {
		return nil, err
	}
	namespaces, ok, err := knative.Namespaces(cfg.Routes)
	if err != nil {
		return nil, err
	}
	if ok {
		client, err := knative.NewClient(cfg.Kubeconfig)
		if err != nil {
			return nil, err
		}
		watched := knative.Config{Namespaces: namespaces}
		if cfg.Service != "" {
			watched.Self = knative.Name{Namespace: knative.OwnNamespace(namespaces[0]), Name: cfg.Service}
		}
		watcher := knative.New(watched, client, routes, logger)
		return &found{routes, watcher.Transport(transport), watcher.Ready, watcher.Run}, nil
	}
	if err := routes.Load(cfg.Routes); err != nil {
		return nil, err
	}
	return &found{
		routes, transport, func(context.Context) error { return nil },
		func(ctx context.Context) { routes.Watch(ctx, cfg.Routes, routesInterval, logger) },
	}, nil
}
