// Command nothing is a function that loads nothing: the floor that the first
// answer from zero is measured against.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/lifecycle"
)

func main() {
	ctx, stop := lifecycle.Context(context.Background())
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "nothing:", err)
		os.Exit(1) //nolint:gocritic // stop only unhooks a signal
	}
}

func run(ctx context.Context) error {
	var cfg struct {
		Host string `env:"MODELSERVE_HOST"`
		Port string `env:"PORT" envDefault:"8080"`
	}
	if err := env.Parse(&cfg); err != nil {
		return err
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", net.JoinHostPort(cfg.Host, cfg.Port))
	if err != nil {
		return err
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "{}") })
	return lifecycle.Serve(ctx, lifecycle.NewServer(answer, lifecycle.DefaultLimits()), listener, lifecycle.DefaultLimits().IdleTimeout, nil)
}
