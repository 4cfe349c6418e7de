package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
)

// Bounds of running.
const (
	maxInput   = 32 << 20 // bytes of one file: the gateway's own bound
	mostFiles  = 10_000
	mostRuns   = 64
	startTries = 5
)

// runFlags are how executions are started.
type runFlags struct {
	inputs   []string
	labels   []string
	priority int
	runAt    string
	key      string
	atOnce   int
	detach   bool
}

func (a *app) pipelinesRunCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run NAME[@VERSION] {FILE… | --input JSON}",
		Short: "Run a pipeline on files, and print what it answers",
		Long: `Run a pipeline on a file, and print what it answers: the lines of text, where it
answers such, else JSON. The content of a .json file is the input; of any other, the
pipeline gets the bytes. - is standard input.

Several files, or the files of a folder, are as many executions, some at once. One
that fails does not hold the others up: what each answered is printed under its name,
a summary says which failed, and the exit status is 1.

A start that may not have arrived is sent again with the same Idempotency-Key, so that
no file runs twice. Interrupting the command leaves the executions running.`,
		Example: `  modelserve pipelines run read-document page.png
  modelserve pipelines run read-document scans/ --at-once 8 -o json > texts.json
  modelserve pipelines run triage@2 --input '{"content": {"ref": "s3://modelserve/inputs/default/x"}}'
  modelserve pipelines run read-document page.png --label case=4711 --run-at 10m --detach`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, version, err := pipelineRef(args[0])
			if err != nil {
				return err
			}
			query, err := f.query(cmd)
			if err != nil {
				return err
			}
			files, err := a.inputFiles(args[1:], f.inputs)
			if err != nil {
				return err
			}
			if f.key != "" && len(files) > 1 {
				return usagef("--idempotency-key is of one execution, and these are %d", len(files))
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			r := &run{app: a, c: c, name: name, version: version, query: query, flags: f}
			if len(files) == 1 {
				return r.one(cmd.Context(), files[0])
			}
			return r.many(cmd.Context(), files)
		},
	}
	cmd.Flags().StringArrayVar(&f.inputs, "input", nil, "an input as `JSON`, in place of a file (repeatable)")
	cmd.Flags().StringArrayVar(&f.labels, "label", nil, "a label of the execution, `KEY=VALUE` (repeatable)")
	cmd.Flags().IntVar(&f.priority, "priority", 0, "-10 to 10; the higher is run first (the pipeline's own)")
	cmd.Flags().StringVar(&f.runAt, "run-at", "", "when it may begin: an RFC 3339 `TIME`, or a duration from now such as 10m (at once)")
	cmd.Flags().StringVar(&f.key, "idempotency-key", "", "the same `KEY` and input is the same execution for 24 hours")
	cmd.Flags().IntVar(&f.atOnce, "at-once", 4, "how many of several run at once, 1 to 64")
	cmd.Flags().BoolVar(&f.detach, "detach", false, "only start, and print the ids")
	return cmd
}

// query is the flags as parameters.
func (f *runFlags) query(cmd *cobra.Command) (url.Values, error) {
	query := url.Values{}
	if err := addLabels(query, f.labels); err != nil {
		return nil, err
	}
	if cmd.Flags().Changed("priority") {
		if f.priority < -10 || f.priority > 10 {
			return nil, usagef("--priority: expected -10 to 10, got %d", f.priority)
		}
		query.Set(contract.ParamPriority, strconv.Itoa(f.priority))
	}
	if f.runAt != "" {
		_, notTime := time.Parse(time.RFC3339, f.runAt)
		_, notDuration := time.ParseDuration(f.runAt)
		if notTime != nil && notDuration != nil {
			return nil, usagef("--run-at: expected a time such as 2030-01-31T00:00:00Z or a duration such as 10m, got %q", f.runAt)
		}
		query.Set(contract.ParamRunAt, f.runAt)
	}
	if f.atOnce < 1 || f.atOnce > mostRuns {
		return nil, usagef("--at-once: expected 1 to %d, got %d", mostRuns, f.atOnce)
	}
	return query, nil
}

// input is what an execution is given.
type input struct {
	name        string // of the file, or of the JSON
	text        string // JSON; "" is the file
	body        []byte // read already
	contentType string
}

// inputFiles are the inputs that arguments and --input name: folders stand for their
// files.
func (a *app) inputFiles(args, inputs []string) ([]input, error) {
	var all []input
	for i, text := range inputs {
		if !json.Valid([]byte(text)) {
			return nil, usagef("--input: expected JSON, such as '{\"a\": 1}', got %q", text)
		}
		all = append(all, input{name: "--input " + strconv.Itoa(i+1), text: text})
	}
	for _, arg := range args {
		if arg == "-" || !isDir(a.abs(arg)) {
			all = append(all, input{name: arg})
			continue
		}
		entries, err := os.ReadDir(a.abs(arg))
		if err != nil {
			return nil, fmt.Errorf("read the folder %s: %w", arg, err)
		}
		for _, entry := range entries {
			if entry.Type().IsRegular() && !strings.HasPrefix(entry.Name(), ".") {
				all = append(all, input{name: filepath.Join(arg, entry.Name())})
			}
		}
	}
	switch {
	case len(all) == 0 && len(args) > 0:
		return nil, fmt.Errorf("there is no file in %s", strings.Join(args, ", "))
	case len(all) == 0:
		return nil, usagef("name a file, or give an --input as JSON")
	case len(all) > mostFiles:
		return nil, usagef("%d files are more than %d: run some at a time", len(all), mostFiles)
	}
	return all, nil
}

// load reads an input's body.
func (a *app) load(in input) (input, error) {
	if in.text != "" {
		in.body, in.contentType = []byte(in.text), "application/json"
		return in, nil
	}
	body, err := a.readInput(in.name, maxInput)
	if err != nil {
		return in, err
	}
	if len(body) == 0 {
		return in, fmt.Errorf("%s is empty", in.name)
	}
	in.body = body
	in.contentType = http.DetectContentType(body)
	if strings.EqualFold(filepath.Ext(in.name), ".json") || in.name == "-" && json.Valid(body) {
		in.contentType = "application/json"
	}
	return in, nil
}

// given is an input that is a file, or JSON where there is no such file.
func (a *app) given(text string) (input, error) {
	if !exists(a.abs(text)) && json.Valid([]byte(text)) {
		return a.load(input{name: "--input", text: text})
	}
	return a.load(input{name: text})
}

// startRequest is of an execution.
type startRequest struct {
	pipeline string
	version  int // 0 is the default one
	query    url.Values
	input    input
	key      string        // "" is one of its own
	wait     time.Duration // how long to wait for the end
}

// start starts an execution. It is sent again where it may not have arrived, with the
// same Idempotency-Key.
func (c *client) start(ctx context.Context, s *startRequest) (*contract.Execution, error) {
	header := http.Header{contract.IdempotencyKeyHeader: {firstOf(s.key, rand.Text())}}
	if s.wait > 0 {
		header.Set(contract.PreferHeader, "wait="+strconv.Itoa(int(s.wait.Seconds())))
	}
	send := &sending{
		method: http.MethodPost, path: withQuery(contract.StartPathOf(s.pipeline, s.version), s.query),
		body: s.input.body, contentType: s.input.contentType, header: header, patience: s.wait + time.Minute,
	}
	pause := firstPause
	for try := 1; ; try++ {
		var x contract.Execution
		_, err := c.send(ctx, send, &x)
		switch {
		case err == nil:
			return &x, nil
		case problem.CodeOf(err) == problem.NotFound:
			return nil, fmt.Errorf("%w; `modelserve pipelines list` shows which there are", err)
		case try == startTries, final(err), ctx.Err() != nil:
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

// run is one call of the command.
type run struct {
	*app

	c       *client
	name    string
	version int
	query   url.Values
	flags   runFlags
}

// waited is how long a start waits for the end before it is followed.
const waited = 20 * time.Second

func (r *run) request(in input, wait time.Duration) *startRequest {
	if r.flags.detach {
		wait = 0
	}
	return &startRequest{pipeline: r.name, version: r.version, query: r.query, input: in, key: r.flags.key, wait: wait}
}

// one runs one input: its steps are shown while it runs, on a terminal.
func (r *run) one(ctx context.Context, in input) error {
	in, err := r.load(in)
	if err != nil {
		return err
	}
	wait := waited
	if r.ErrTerminal {
		wait = 0 // its steps are shown from the first
	}
	x, err := r.c.start(ctx, r.request(in, wait))
	if err != nil {
		return err
	}
	if r.flags.detach {
		return r.print(x, func() string { return x.ID + "\n" })
	}
	if x, err = r.finish(ctx, x, r.ErrTerminal); err != nil {
		return err
	}
	if x.Status == contract.Succeeded || r.output != "table" {
		if err := r.print(x, func() string { return outputText(x) }); err != nil {
			return err
		}
	}
	return unsuccessful(x)
}

// finish follows an execution to its end.
func (r *run) finish(ctx context.Context, x *contract.Execution, show bool) (*contract.Execution, error) {
	var err error
	switch {
	case x.Status.Ended():
		return x, nil
	case show:
		err = r.followed(ctx, r.c, x, r.Err, true)
	default:
		err = r.c.follow(ctx, x.ID, func(contract.Event) {})
	}
	if errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("interrupted; %s goes on: `modelserve executions watch %s` follows it, `modelserve executions cancel %s` ends it", x.ID, x.ID, x.ID)
	}
	if err != nil {
		return nil, err
	}
	return r.c.execution(ctx, x.ID)
}

// outcome is what became of one of several inputs.
type outcome struct {
	File      string              `json:"file"`
	Execution *contract.Execution `json:"execution,omitempty"`
	Error     string              `json:"error,omitempty"` // why there is none, or why it failed
}

// many runs several inputs, some at once, and prints what each answered in their order.
func (r *run) many(ctx context.Context, files []input) error {
	outcomes := make([]outcome, len(files))
	bar := &runProgress{total: len(files), began: time.Now()}
	shown := func() {}
	if r.ErrTerminal {
		shown = startLive(r.Err, bar.draw).stop
	}
	next := make(chan int)
	var work sync.WaitGroup
	for range min(r.flags.atOnce, len(files)) {
		work.Go(func() {
			for i := range next {
				outcomes[i] = r.outcome(ctx, files[i])
				bar.add(outcomes[i].Error != "")
			}
		})
	}
	for i := range files {
		next <- i // after an interruption each ends at once
	}
	close(next)
	work.Wait()
	shown()
	if err := r.printOutcomes(outcomes); err != nil {
		return err
	}
	if bar.failed > 0 {
		return fmt.Errorf("%d of %d failed", bar.failed, len(files))
	}
	return nil
}

func (r *run) outcome(ctx context.Context, in input) outcome {
	o := outcome{File: in.name}
	in, err := r.load(in)
	if err == nil && ctx.Err() == nil {
		o.Execution, err = r.c.start(ctx, r.request(in, waited))
	}
	if err == nil && ctx.Err() == nil && !r.flags.detach {
		var x *contract.Execution
		if x, err = r.finish(ctx, o.Execution, false); err == nil {
			o.Execution, err = x, unsuccessful(x)
		}
	}
	if err = firstError(err, ctx.Err()); err != nil {
		o.Error = explain(err)
	}
	return o
}

// printOutcomes prints what each answered, and beside the output which failed.
func (r *run) printOutcomes(outcomes []outcome) error {
	err := r.print(map[string]any{"executions": outcomes}, func() string {
		var parts []string
		between := "\n"
		for _, o := range outcomes {
			switch {
			case o.Error != "" || o.Execution == nil:
			case r.flags.detach:
				between = ""
				parts = append(parts, o.Execution.ID+"  "+visible(o.File)+"\n")
			default:
				parts = append(parts, "==> "+visible(o.File)+" <==\n"+outputText(o.Execution))
			}
		}
		return strings.Join(parts, between)
	})
	for _, o := range outcomes {
		if o.Error != "" {
			r.notef("%s: %s", visible(o.File), strings.TrimPrefix(o.Error, o.File+" "))
		}
	}
	return err
}

// runProgress is how far several executions are.
type runProgress struct {
	mu           sync.Mutex
	total        int
	done, failed int
	began        time.Time
}

func (p *runProgress) add(failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if failed {
		p.failed++
	}
}

// barWidth is that of the bar, in characters.
const barWidth = 30

func (p *runProgress) draw(now time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	full := barWidth * p.done / p.total
	line := fmt.Sprintf("[%s%s] %d/%d  %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), p.done, p.total,
		now.Sub(p.began).Round(time.Second))
	if p.failed > 0 {
		line += fmt.Sprintf("  %d failed", p.failed)
	}
	return []string{line}
}
