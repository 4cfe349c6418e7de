// Package cli is the command deps: its flags, and fetching as they ask. What is
// fetched is package deps'.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/modelserveai/modelserve/internal/deps"
)

// Main fetches what args ask for, until a signal ends it, and returns the exit
// status: 1 where that failed, 2 where args are wrong. All that it prints goes to out.
func Main(args []string, out io.Writer) int {
	flags := flag.NewFlagSet("deps", flag.ContinueOnError)
	flags.SetOutput(out)
	dir := flags.String("dir", ".deps", "the folder to fetch into")
	platform := flags.String("platform", runtime.GOOS+"/"+runtime.GOARCH, "the platform to fetch for, such as linux/arm64")
	gpu := flags.Bool("gpu", false, "fetch what a GPU needs too: 1.6 GB")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // flags has printed the error
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := fetch(ctx, *dir, *platform, *gpu, out); err != nil {
		fmt.Fprintln(out, "deps:", err)
		return 1
	}
	return 0
}

func fetch(ctx context.Context, dir, platform string, gpu bool, out io.Writer) error {
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
	return (&deps.Fetcher{Dir: dir, Out: out}).Fetch(ctx, wheels)
}
