// Platform runs the local platform for tests that end it from outside.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/local"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "models" { // publish-shipped: there is nothing to publish
		return
	}
	ctx, stop := lifecycle.Context(context.Background())
	defer stop()
	err := local.Run(ctx, local.Options{
		Address: os.Getenv("ADDRESS"), DataDir: os.Getenv("DATA"), Overlay: os.Getenv("OVERLAY"),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
