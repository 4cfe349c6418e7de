// Command step is a function without a model: it answers a pipeline's step, a call and
// an event with what it was given, after STEP_PAUSE. It is what latencies of pipelines
// and of bare Sequences are measured with.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

type config struct {
	Host  string        `env:"MODELSERVE_HOST"`
	Port  string        `env:"PORT" envDefault:"8080"`
	Name  string        `env:"K_SERVICE"`
	Pause time.Duration `env:"STEP_PAUSE"`

	Pipelines ticket.Trust
}

func main() {
	ctx, stop := lifecycle.Context(context.Background())
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "step:", err)
		os.Exit(1) //nolint:gocritic // stop only unhooks a signal
	}
}

func run(ctx context.Context) error {
	var cfg config
	if err := env.Parse(&cfg); err != nil {
		return err
	}
	tickets, err := cfg.Pipelines.Verifier(ctx, slog.Default())
	if err != nil {
		return err
	}
	server, err := serve.New(serve.Config{
		Backend: models{}, Repository: models{}, Function: cfg.Name, Model: cfg.Name, Codec: pause(cfg.Pause), Tickets: tickets,
	})
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", net.JoinHostPort(cfg.Host, cfg.Port))
	if err != nil {
		return err
	}
	return lifecycle.Serve(ctx, lifecycle.NewServer(server, lifecycle.DefaultLimits()), listener, lifecycle.DefaultLimits().IdleTimeout, nil)
}

// pause is a codec that answers with its input after a time.
type pause time.Duration

// Answer implements serve.Codec.
func (p pause) Answer(ctx context.Context, in serve.Payload, _ serve.Runner) (any, error) {
	timer := time.NewTimer(time.Duration(p))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !json.Valid(in.Body) {
		return nil, problem.Invalid("body", "expected JSON")
	}
	return json.RawMessage(bytes.Clone(in.Body)), nil
}

// models are those of a function that has none: each is there, and nothing runs it.
type models struct{}

func (models) Acquire(_ context.Context, name, _ string) (serve.Lease, error) {
	return lease{&serve.ModelInfo{
		ModelStatus: serve.ModelStatus{Name: name, Version: "1", State: serve.Ready}, Versions: []string{"1"}, Digest: "sha256:0", Device: "cpu",
	}}, nil
}

func (models) Model(context.Context, string, string) (*serve.ModelInfo, error) {
	return nil, problem.New(problem.ModelNotFound, "this function has no models")
}

func (models) Index(context.Context) ([]serve.ModelStatus, error) { return nil, nil }
func (models) Load(context.Context, string) error                 { return nil }
func (models) Unload(context.Context, string) error               { return nil }

func (models) Stats(context.Context, string, string) ([]serve.ModelStats, error) { return nil, nil }

type lease struct{ info *serve.ModelInfo }

func (l lease) Info() *serve.ModelInfo { return l.info }
func (lease) Release()                 {}

func (lease) Run(context.Context, *infer.Request) (*infer.Response, error) {
	return nil, problem.New(problem.ModelNotFound, "this function has no models")
}
