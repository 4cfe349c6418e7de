// Step is a function for tests of pipelines: it has no model, and answers a number with
// the next one, after a pause.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

func main() {
	ctx, stop := lifecycle.Context(context.Background())
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	trust := ticket.Trust{PublicKeyFile: os.Getenv("MODELSERVE_PIPELINES_PUBLIC_KEY_FILE")}
	tickets, err := trust.Verifier(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	name := os.Getenv("K_SERVICE")
	server, err := serve.New(serve.Config{Backend: none{}, Repository: none{}, Function: name, Model: name, Codec: next{}, Tickets: tickets})
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		return err
	}
	return lifecycle.Serve(ctx, lifecycle.NewServer(server, lifecycle.DefaultLimits()), listener, 5*time.Second, nil)
}

// next is the codec.
type next struct{}

func (next) Answer(ctx context.Context, in serve.Payload, _ serve.Runner) (any, error) {
	var n int
	if err := json.Unmarshal(in.Body, &n); err != nil {
		return nil, problem.Invalid("body", "expected a number")
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(5 * time.Millisecond): // a kill meets it at work
		return n + 1, nil
	}
}

// none is a model that there is, and that nobody runs.
type none struct{}

func (none) Acquire(_ context.Context, name, _ string) (serve.Lease, error) {
	return lease{&serve.ModelInfo{ModelStatus: serve.ModelStatus{Name: name, Version: "1", State: serve.Ready}, Versions: []string{"1"}, Digest: "sha256:0", Device: "cpu"}}, nil
}

func (none) Model(context.Context, string, string) (*serve.ModelInfo, error) {
	return nil, problem.New(problem.ModelNotFound, "there is none")
}

func (none) Index(context.Context) ([]serve.ModelStatus, error)                { return nil, nil }
func (none) Load(context.Context, string) error                                { return nil }
func (none) Unload(context.Context, string) error                              { return nil }
func (none) Stats(context.Context, string, string) ([]serve.ModelStats, error) { return nil, nil }

type lease struct{ info *serve.ModelInfo }

func (l lease) Info() *serve.ModelInfo { return l.info }
func (lease) Release()                 {}

func (lease) Run(context.Context, *infer.Request) (*infer.Response, error) {
	return nil, problem.New(problem.Internal, "nobody runs it")
}
