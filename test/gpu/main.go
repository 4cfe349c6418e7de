// Command gpu checks what can only be checked on a machine with a GPU: that
// the shipped models answer there as they do on the CPU, how much faster, what
// batching gains and what sizes in turn cost; and that a GPU outlives what
// callers do. Figures are ratios within one run.
//
// Without a GPU it prints what is missing and fails, having shown that asking
// for one does no harm: auto falls back, and the CPU serves in the same process.
//
//	make gpu-check
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/internal/deps"
	"github.com/modelserveai/modelserve/runtime/ort"
)

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", ".deps", "the folder of fetched things")
	flag.StringVar(&o.device, "device", "cuda", "the GPU: cuda or cuda:N")
	flag.DurationVar(&o.turn, "turn", 2*time.Second, "how long each figure is measured")
	flag.StringVar(&o.operator, "beyond", "", "give this operator indices beyond its data (used by the check itself)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.main(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "gpu-check:", err)
		os.Exit(1) //nolint:gocritic // stop only unhooks a signal
	}
}

type options struct {
	dir    string
	device string
	turn   time.Duration

	operator string
}

func (o *options) main(ctx context.Context) (err error) {
	want, err := ort.ParseDevice(o.device)
	if err != nil || !want.IsGPU() {
		return errors.Join(fmt.Errorf("-device: expected cuda or cuda:N, got %q", o.device), err)
	}
	library, err := ort.Open(filepath.Join(o.dir, deps.GPULibrary))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, library.Close()) }()
	choice, missing := library.Choose(want)
	if missing != nil {
		return errors.Join(missing, o.withoutGPU(ctx, library))
	}
	if o.operator != "" {
		return o.tryBeyond(ctx, library, choice.Device, o.operator)
	}
	fmt.Printf("ONNX Runtime %s on %s\n\n", library.Version(), choice.Device)
	return errors.Join(o.compare(ctx, library, choice.Device), o.check(ctx, library, choice.Device))
}

// withoutGPU holds that a process that asked for a GPU in vain still serves.
func (o *options) withoutGPU(ctx context.Context, library *ort.Library) error {
	choice, err := library.Choose(ort.Auto)
	if err != nil {
		return fmt.Errorf("auto did not fall back: %w", err)
	}
	for _, m := range shipped() {
		if err := serves(ctx, library, filepath.Join(o.dir, m.path), &m, choice.Device); err != nil {
			return fmt.Errorf("%s on the CPU, after a GPU was asked for: %w", m.name, err)
		}
	}
	fmt.Printf("There is no GPU to check. auto chose %s, and all shipped models ran on it in this process.\n", choice.Device)
	return nil
}

func serves(ctx context.Context, library *ort.Library, path string, m *model, device ort.Device) error {
	s, err := library.Open(path, ort.Options{Device: device})
	if err != nil {
		return err
	}
	_, release, err := s.Run(ctx, memory.Unbounded{}, m.inputs(1), nil)
	if err == nil {
		release()
	}
	return errors.Join(err, s.Close())
}

// compare prints one row a model, and fails where an answer differs.
func (o *options) compare(ctx context.Context, library *ort.Library, gpu ort.Device) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "model\tlargest difference\trows/s, GPU to CPU")
	for _, n := range batches() {
		fmt.Fprintf(table, "\tbatch %d", n)
	}
	fmt.Fprintln(table, "\tsizes in turn\tby sessions of their own")
	var wrong []error
	for _, m := range shipped() {
		r, err := o.measure(ctx, library, &m, gpu)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if r.difference > tolerance {
			wrong = append(wrong, fmt.Errorf("%s: its answer on the GPU differs by %.2g, and %.2g is allowed", m.name, r.difference, tolerance))
		}
		fmt.Fprintf(table, "%s\t%.1e\t%.2f", m.name, r.difference, r.gpu[0]/r.cpu)
		for _, rows := range r.gpu {
			fmt.Fprintf(table, "\t%.2f", rows/r.gpu[0])
		}
		fmt.Fprintf(table, "\t%.2f\t%.2f\n", r.mixed/r.gpu[0], r.bucketed/r.gpu[0])
	}
	fmt.Fprintf(table, "\nEach column from batch 1 on is rows/s against batch 1 on the GPU; sizes in turn are batches\n"+
		"of 1 to 8 rows, by one session and by one for each power of two. Differences are against\n"+
		"the largest value of the output; up to %.0e is allowed.\n\n", tolerance)
	return errors.Join(append(wrong, table.Flush())...)
}
