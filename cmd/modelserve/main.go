// Modelserve is the command line: it runs the platform on this machine,
// publishes models, deploys them and manages keys.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/modelserveai/modelserve/cmd/modelserve/internal/cli"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Run(ctx, os.Args[1:], cli.System())
}
