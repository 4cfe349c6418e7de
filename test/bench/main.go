// Command bench measures the platform against what bounds it: a bare loop of
// ONNX Runtime, a function called directly, a function that loads nothing.
// Machines differ and are noisy, so every figure is a ratio of two things
// measured in turn within one run, and the median of several turns.
//
//	make bench                     everything, some minutes
//	go run ./test/bench -run cold  one part: throughput, gateway, cold, idle or fresh
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.run, "run", "throughput,gateway,cold,idle", "the parts to run, of throughput, gateway, cold, idle and fresh")
	flag.IntVar(&o.rounds, "rounds", 5, "turns of each pair")
	flag.DurationVar(&o.turn, "turn", 4*time.Second, "length of a turn under load")
	flag.IntVar(&o.clients, "clients", 8, "clients under load")
	flag.StringVar(&o.bare, "bare", "", "run the bare loop on this model file (used by the benchmark itself)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.main(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // stop only unhooks a signal
	}
}

type options struct {
	run     string
	rounds  int
	turn    time.Duration
	clients int
	bare    string
}

// row is one line of the table: a figure against another, and what is wanted.
type row struct {
	what, against, figure, reach string
	holds                        bool
}

func (o *options) main(ctx context.Context) error {
	if o.bare != "" {
		return bareLoop(ctx, o.bare, o.turn)
	}
	parts := strings.Split(o.run, ",")
	var rows []row
	if slices.Contains(parts, "fresh") {
		measured, err := fresh(ctx)
		if err != nil {
			return err
		}
		rows = append(rows, measured...)
	}
	if slices.ContainsFunc(parts, func(p string) bool { return p != "fresh" }) {
		measured, err := o.onPlatform(ctx, parts)
		if err != nil {
			return err
		}
		rows = append(rows, measured...)
	}
	fmt.Printf("\n%s, %s/%s, %d processors, %d rounds\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), o.rounds)
	fmt.Println("| what | against | measured | reach | |\n| --- | --- | --- | --- | --- |")
	for _, r := range rows {
		verdict := "holds"
		if !r.holds {
			verdict = "**falls short**"
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", r.what, r.against, r.figure, r.reach, verdict)
	}
	return nil
}

// onPlatform starts one platform and measures the parts on it.
func (o *options) onPlatform(ctx context.Context, parts []string) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "modelserve-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	progress("start the platform")
	p, err := startPlatform(ctx, filepath.Join(dir, ".modelserve"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	for _, part := range []struct {
		name    string
		measure func(context.Context, *platform, string) ([]row, error)
	}{{"throughput", o.throughput}, {"gateway", o.gateway}, {"load", o.loading}, {"cold", o.cold}, {"idle", o.idle}} {
		if !slices.Contains(parts, part.name) {
			continue
		}
		measured, err := part.measure(ctx, p, dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", part.name, err, p.tail())
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// median of a list that is not empty.
func median[T float64 | time.Duration](values []T) T {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// spread shows a list's median with its extremes.
func spread(values []float64) string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", median(values), slices.Min(values), slices.Max(values))
}
