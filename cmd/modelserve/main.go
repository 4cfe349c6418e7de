// Modelserve is the command line: it runs the platform on this machine,
// publishes models, deploys them and manages keys.
package main

import (
	"context"
	"os"

	"github.com/modelserveai/modelserve/cmd/modelserve/internal/cli"
	"github.com/modelserveai/modelserve/internal/lifecycle"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := lifecycle.Context(context.Background())
	defer stop()
	return cli.Run(ctx, os.Args[1:], cli.System())
}
