// Command deps fetches the ONNX Runtime library and the shipped models into
// .deps, once, each checked against its pinned sha256.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/modelserveai/modelserve/internal/deps"
)

func main() {
	dir := flag.String("dir", ".deps", "the folder to fetch into")
	platform := flag.String("platform", runtime.GOOS+"/"+runtime.GOARCH, "the platform to fetch for, such as linux/arm64")
	gpu := flag.Bool("gpu", false, "fetch what a GPU needs too: 1.6 GB")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := fetch(ctx, *dir, *platform, *gpu); err != nil {
		fmt.Fprintln(os.Stderr, "deps:", err)
		os.Exit(1) //nolint:gocritic // stop only unhooks a signal
	}
}

func fetch(ctx context.Context, dir, platform string, gpu bool) error {
	wheels, err := deps.Wheels(platform)
	if err != nil {
		return err
	}
	if gpu {
		more, err := deps.GPUWheels(platform)
		if err != nil {
			return err
		}
		wheels = append(wheels, more...)
	}
	return (&deps.Fetcher{Dir: dir, Out: os.Stderr}).Fetch(ctx, wheels)
}
