// Command bench measures the platform against what bounds it: the best fixed
// batch size, a bare loop of ONNX Runtime, a function called directly, a
// function that loads nothing, other servers. Machines differ and are noisy, so
// every figure is a ratio of two things measured in short turns within one run,
// and the median of several rounds.
//
//	make bench                     everything but what follows, some 35 minutes
//	make bench-peers               against other servers, in Python
//	make soak                      everything at once for minutes, with no failure
//	make bench-cluster             first answers from zero on a cluster, and pipelines there
//	go run ./test/bench -run cold  one part; what is not make bench's runs only when named
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	var o options
	var clients string
	flag.StringVar(&o.run, "run", "batching,bare,fair,memory,account,gateway,callers,limits,attacks,load,pipelines,cold,idle", "the parts to run: these, fresh, peers, soak, cluster, cluster-pipelines, tuning and requests")
	flag.IntVar(&o.rounds, "rounds", 5, "turns of each")
	flag.DurationVar(&o.turn, "turn", time.Second, "length of a turn under load")
	flag.StringVar(&o.models, "models", "", "the models to run under load (all)")
	flag.StringVar(&clients, "clients", "1,8,32", "clients under load, in turn")
	flag.StringVar(&o.onslaughts, "attacks", "", "the attacks to run (all)")
	flag.StringVar(&o.onlyPipelines, "pipelines", "", "what to measure of pipelines: accept, record, run, finished, read (all)")
	flag.StringVar(&o.peers, "peers", "", "the peers to run (all)")
	flag.StringVar(&o.bare, "bare", "", "run a bare loop of this model by orders on the input (used by the benchmark itself, as what follows)")
	flag.StringVar(&o.file, "file", "", "the model's file")
	flag.StringVar(&o.page, "page", "", "run the models that read this page by orders on the input")
	flag.StringVar(&o.profile, "profile", "", "write a profile of this process's processor time here")
	flag.BoolVar(&o.flood, "flood", false, "flood a function by orders on the input")
	flag.BoolVar(&o.attack, "attack", false, "attack a platform by orders on the input")
	flag.StringVar(&o.decoder, "decoder", "", "serve, on this address, a handler that only decodes")
	flag.StringVar(&o.entrance, "entrance", "", "serve a gateway by this order")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := errors.Join(o.parse(clients), o.main(ctx)); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // stop only unhooks a signal
	}
}

type options struct {
	run    string
	rounds int
	turn   time.Duration
	models string
	peers  string

	onslaughts    string
	onlyPipelines string

	clients []int

	bare, file string
	page       string
	profile    string
	flood      bool
	attack     bool
	decoder    string
	entrance   string
}

func (o *options) parse(clients string) error {
	for text := range strings.SplitSeq(clients, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return fmt.Errorf("-clients: expected positive numbers such as 1,8,32, got %q", clients)
		}
		o.clients = append(o.clients, n)
	}
	return nil
}

// has reports whether a part is to run.
func (o *options) has(part string) bool { return slices.Contains(strings.Split(o.run, ","), part) }

// row is one line of the table: a figure against another, and what is wanted.
type row struct {
	what, against, figure, reach string
	holds                        bool
}

// part is one of the things to measure; dir is a folder that goes with the run.
type part struct {
	name    string
	measure func(ctx context.Context, p *platform, dir string) ([]row, error)
}

func (o *options) parts() []part {
	return []part{
		{"batching", o.batching},
		{"bare", o.bareLoops},
		{"fair", o.fair},
		{"memory", o.memory},
		{"account", o.account},
		{"gateway", o.gateway},
		{"callers", o.callers},
		{"limits", o.limits},
		{"attacks", o.attacks},
		{"load", o.loading},
		{"pipelines", o.pipelines},
		{"cold", o.cold},
		{"idle", o.idle},
		{"peers", o.againstPeers},
		{"fresh", fresh},
		{"soak", o.soak},
		{"cluster", o.coldCluster},
		{"cluster-pipelines", o.clusterPipelines},
		{"tuning", o.tuning},
		{"requests", o.requests},
	}
}

func (o *options) main(ctx context.Context) error {
	switch {
	case o.bare != "":
		return serveBare(ctx, o.bare, o.file, os.Stdin, os.Stdout)
	case o.page != "":
		return servePage(ctx, o.page, os.Stdin, os.Stdout)
	case o.flood:
		return serveFlood(ctx, os.Stdin, os.Stdout)
	case o.attack:
		return serveAttack(ctx, os.Stdin, os.Stdout)
	case o.decoder != "":
		return serveDecoder(ctx, o.decoder)
	case o.entrance != "":
		return serveEntrance(ctx, o.entrance, os.Stderr)
	}
	for name := range strings.SplitSeq(o.run, ",") {
		if !slices.ContainsFunc(o.parts(), func(p part) bool { return p.name == name }) {
			return fmt.Errorf("-run: there is no part %q", name)
		}
	}
	began := time.Now()
	if o.profile != "" {
		file, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	rows, err := o.measure(ctx)
	fmt.Printf("\n%s, %s/%s, %d processors, %d rounds of %s, %s in all\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU(), o.rounds, o.turn, time.Since(began).Round(time.Second))
	fmt.Println("| what | against | measured | reach | |\n| --- | --- | --- | --- | --- |")
	for _, r := range rows {
		verdict := "holds"
		if !r.holds {
			verdict = "**falls short**"
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", r.what, r.against, r.figure, r.reach, verdict)
	}
	return err
}

// measure runs the parts on one platform. What was measured before a part
// failed is returned with its error.
func (o *options) measure(ctx context.Context) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "modelserve-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var p *platform
	own := []string{"account", "limits", "attacks", "fresh", "soak", "pipelines", "cluster", "cluster-pipelines", "tuning", "requests"} // which bring their own
	if slices.ContainsFunc(strings.Split(o.run, ","), func(part string) bool { return !slices.Contains(own, part) }) {
		progress("start the platform")
		if p, err = startPlatform(ctx, filepath.Join(dir, ".modelserve")); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
	}
	for _, part := range o.parts() {
		if !o.has(part.name) {
			continue
		}
		began := time.Now()
		measured, err := part.measure(ctx, p, dir)
		rows = append(rows, measured...)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", part.name, err)
		}
		progress("%s took %s", part.name, time.Since(began).Round(time.Second))
	}
	return rows, nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// median of a list that is not empty: of an even number of values, what lies
// between the middle two.
func median[T float64 | time.Duration](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// rounded is a list's median as spread shows it, which is what is judged.
func rounded(values []float64) float64 { return math.Round(median(values)*100) / 100 }

// ratios holds the turns of one against those of another, round by round.
func ratios(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}

// againstBest holds each round of one against the rival that was best in the
// other rounds, by their rates. The best of many that were measured in the same
// round is the luckiest of those that are as good: of six that do not differ, it
// seems a tenth better than each of them is.
func againstBest(self []float64, rivals [][]float64) []float64 {
	out := make([]float64, len(self))
	for i, rate := range self {
		out[i] = rate / rivals[bestOf(rivals, i)][i]
	}
	return out
}

// bestOf is the index of the best median, without a round where that is not -1.
func bestOf(all [][]float64, without int) int {
	best, most := 0, math.Inf(-1)
	for i, rates := range all {
		if without >= 0 && len(rates) > 1 {
			rates = slices.Delete(slices.Clone(rates), without, without+1)
		}
		if m := median(rates); m > most {
			best, most = i, m
		}
	}
	return best
}

// spread shows a list's median with its extremes.
func spread(values []float64) string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", median(values), slices.Min(values), slices.Max(values))
}
