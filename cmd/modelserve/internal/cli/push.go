package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/deps"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/publish"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// pushed is what `models push` answers.
type pushed struct {
	Name      string   `json:"name"`
	Version   int      `json:"version"`
	Digest    string   `json:"digest"`
	Unchanged bool     `json:"unchanged"` // it was published already, with these bytes
	Signed    bool     `json:"signed"`    // by this push
	URL       string   `json:"url"`
	Curl      string   `json:"curl"`
	Measured  string   `json:"measured,omitempty"` // what batches give, in words
	Notes     []string `json:"notes,omitempty"`
}

// The help of `models push`.
const (
	pushLong = `Load the model in ONNX Runtime, run it, find out whether requests may be joined
in batches, optimise it for this machine, measure what batches cost, sign it and
upload it. From then on every Open Inference Protocol client can call it.

The version is the next that was never used, also by one that is deleted. The
same bytes again change nothing; other bytes for a version that exists, and any
for one that was deleted, are refused. External data lies beside FILE and
goes with it.

A model that runs only with particular values (a shape to reshape to, an index)
is proven with --example: a file with the inputs of an inference request in JSON,
{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}. What of it
the model cannot do without is kept, to warm it up with.

How much memory a run takes follows from the sizes that a request chooses. A
model with axes of any size is called with no more than --max-elements in each
input (16 images of 3×224×224 are 2408448); larger ones are refused before they
run. Another bound for the same bytes is a new version.

Requests of a tenant share a run where the model's graph shows that no row of the
first axis has a part in another's answer, and where rows that are run alone and
together agree. Where the graph does not show it and you know it, use
--batch-axis 0; rows that disagree refuse that.

A server makes its batches as large as pays, beginning with what was measured
here, and waits for no request. --max-batch-size and --max-delay override it.
Only requests of equal sizes share a batch, unless --ragged names axes along
which the shorter may be padded: you assert that its answers stay the same, and
the model is run to refute it. Inputs that share a length, as token ids and their mask do, are named
each. One of these with "mask" in its name is padded with what leaves out: with 0 it
holds ones where something is, with any other pad zeros (mask=1:1). What an input
without rows, or text, has decides with which others padding was tried: requests
with other values share batches of equal sizes. Those of --example are tried, and
numbers between its smallest and largest.`

	pushExample = `  modelserve models push churn churn.onnx
  modelserve models push churn churn.onnx --version 7
  modelserve models push vision vision.onnx --shape image=1,3,224,224
  modelserve models push vision vision.onnx --max-elements 2408448
  modelserve models push resize resize.onnx --example request.json
  modelserve models push churn churn.onnx --max-batch-size 16 --max-delay 2ms
  modelserve models push forest forest.onnx --batch-axis 0
  modelserve models push bert bert.onnx --ragged input_ids=1 --ragged attention_mask=1`
)

func (a *app) pushCommand() *cobra.Command {
	var flags pushFlags
	cmd := &cobra.Command{
		Use: "push NAME FILE.onnx", Short: "Publish a model, once it has run", Long: pushLong, Example: pushExample,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := flags.request(a, cmd, args)
			if err != nil {
				return err
			}
			addr, err := a.address()
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(s *store) error {
				done, err := a.push(cmd.Context(), s, req)
				if err != nil {
					return err
				}
				answer, err := a.pushedOf(cmd.Context(), s, done, addr)
				if err != nil {
					return err
				}
				return a.print(answer, func() string { return pushText(answer) + "\n" + callText(answer.Curl, addr) })
			})
		},
	}
	flags.add(cmd)
	return cmd
}

// pushFlags are what a publisher sets beside the name and the file.
type pushFlags struct {
	version     string
	shapes      []string
	example     string
	maxElements int64
	batch       batchFlags
}

func (f *pushFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.version, "version", "", "the version `N` (the next free one)")
	cmd.Flags().StringArrayVar(&f.shapes, "shape", nil, "a shape to try the model with, as `INPUT=1,3,224,224` (repeatable)")
	cmd.Flags().StringVar(&f.example, "example", "", "a `FILE` with an inference request in JSON that the model answers")
	cmd.Flags().Int64Var(&f.maxElements, "max-elements", 0, "the most elements `N` of each input that a request may hold (as many as its body)")
	f.batch.add(cmd)
}

// request reads the arguments and the flags.
func (f *pushFlags) request(a *app, cmd *cobra.Command, args []string) (req publish.Request, err error) {
	req = publish.Request{Name: args[0], File: a.abs(args[1])}
	if _, err := infer.NewName(req.Name); err != nil {
		return req, &usageError{err}
	}
	if cmd.Flags().Changed("version") {
		if req.Version, err = infer.ParseVersion(f.version); err != nil {
			return req, usagef("--version: expected a positive integer up to %d, got %q", infer.MaxVersion, f.version)
		}
	}
	if cmd.Flags().Changed("max-elements") && f.maxElements < 1 {
		return req, usagef("--max-elements: expected a positive integer, got %d", f.maxElements)
	}
	req.Bounds.MaxElements = f.maxElements
	if req.Shapes, err = parseShapes(f.shapes); err != nil {
		return req, err
	}
	if err := f.batch.apply(cmd, &req); err != nil {
		return req, err
	}
	switch {
	case f.example == "":
	case len(f.shapes) > 0:
		return req, usagef("--example has shapes of its own: leave --shape out")
	default:
		req.Example, err = publish.ReadExample(a.abs(f.example))
	}
	return req, err
}

// abs makes a path of the command line usable from anywhere.
func (a *app) abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(a.Dir, path)
}

// push publishes one file and shows its progress.
func (a *app) push(ctx context.Context, s *store, req publish.Request) (*publish.Result, error) {
	signer, err := s.signer()
	if err != nil {
		return nil, err
	}
	shown := a.progress(fmt.Sprintf("%s: ", req.Name))
	req.Stage, req.Progress = shown.stage, shown.bytes
	p := publish.Publisher{Store: s.Store, Signer: signer, Library: func() (*ort.Library, error) { return a.openLibrary(ctx) }}
	done, err := p.Publish(ctx, req)
	shown.clear()
	if err != nil {
		return nil, fmt.Errorf("%s is not published: %w", req.Name, err)
	}
	return done, nil
}

// openLibrary finds and loads ONNX Runtime: as everywhere, or else the one that
// the platform here runs with, or else as codectest does.
func (a *app) openLibrary(ctx context.Context) (*ort.Library, error) {
	path, err := ort.FindLibrary()
	if err != nil {
		if p, known := a.findPlatform(); known == nil && p.Library != "" {
			path = p.Library
		} else if path, err = deps.Library(ctx, a.Dir, a.Err); err != nil {
			return nil, err
		}
	}
	return ort.Open(path)
}

// pushedOf reports what was published and what calls it: by its version where
// one without would reach a newer one.
func (a *app) pushedOf(ctx context.Context, s *store, done *publish.Result, addr address) (pushed, error) {
	p := pushed{
		Name: done.Ref.Name, Version: done.Ref.Version, Digest: done.Digest, Unchanged: done.Unchanged,
		Signed: !done.Unchanged && s.signingKey != "", Notes: done.Notes,
	}
	if !done.Unchanged {
		p.Measured = measuredText(done.Manifest)
	}
	versions, err := s.Versions(ctx, done.Ref.Name)
	if err != nil {
		return p, fmt.Errorf("%s is published, but not to be read again: %w", done.Ref, err)
	}
	called := model.Ref{Name: done.Ref.Name}
	if note := s.passedBy(ctx, done.Ref, versions); note != "" {
		called = done.Ref
		p.Notes = append(p.Notes, note)
	} else {
		p.Notes = append(p.Notes, a.bring(ctx, done.Ref, addr, !done.Unchanged && len(versions) > 1)...)
	}
	p.URL = inferURL(called, addr)
	p.Curl = curlLine(done.Manifest, p.URL, addr)
	return p, nil
}

// passedBy notes where calls without a version go if not all to this one; "" if
// they do.
func (s *store) passedBy(ctx context.Context, ref model.Ref, versions []int) string {
	policy, err := s.policyInForce(ctx, ref.Name)
	if err != nil {
		return fmt.Sprintf("the policy is not followed: %s", explain(err))
	}
	if policy.Splits(versions) {
		return fmt.Sprintf("calls without a version are split (%s): `modelserve models split %s` changes that", shareList(policy.Split), ref.Name)
	}
	version, alias := defaultOf(ref.Name, versions, policy)
	reached := model.Ref{Name: ref.Name, Version: version}
	switch {
	case reached == ref:
		return ""
	case alias != "":
		return fmt.Sprintf("calls without a version reach %s, which is %s: `modelserve models alias %s %s=%d` moves them", reached, alias, ref.Name, alias, ref.Version)
	default:
		return fmt.Sprintf("the newest is %s, which calls without a version reach", reached)
	}
}

// askTime bounds a question whose answer is only good to know, and loadTime the
// loading of a version that takes over.
const (
	askTime  = 2 * time.Second
	loadTime = 30 * time.Second
)

// bring has the platform answer calls without a version by this one from now on,
// where another did so before, and returns notes for the publisher. Without it
// the platform would do so within two seconds and the time that loading takes.
// Where no platform answers there is nothing to do or note.
func (a *app) bring(ctx context.Context, ref model.Ref, addr address, takesOver bool) (notes []string) {
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c := a.clientOf(addr)
	functions, err := c.functions(asking)
	if err != nil {
		return nil
	}
	if note := a.pinNote(ref, functions); note != "" {
		notes = append(notes, note)
	}
	if !takesOver || asleep(ref, functions) {
		return notes
	}
	loading, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	var fault *problem.Error
	if err := c.load(loading, ref.Name); errors.As(err, &fault) {
		notes = append(notes, fmt.Sprintf("an older version answers calls without a version until this one is loaded: %s", explain(err)))
	}
	return notes
}

// asleep reports whether what answers calls without a version is at zero, or
// cannot start: nothing has an older version in memory then.
func asleep(ref model.Ref, functions []function) bool {
	for _, f := range functions {
		if slices.Contains(f.serving(), ref.String()) {
			return f.State == route.StateIdle || f.State == route.StateFailed
		}
	}
	i := slices.IndexFunc(functions, func(f function) bool { return f.Pool })
	return i < 0 || functions[i].State == route.StateIdle || functions[i].State == route.StateFailed
}

// pinNote notes that the model's own service serves other versions, which calls
// without a version now pass by; "" where none does.
func (a *app) pinNote(ref model.Ref, functions []function) string {
	for _, f := range functions {
		others := slices.DeleteFunc(slices.Clone(f.Models), func(m string) bool { return !strings.HasPrefix(m, ref.Name+"@") })
		if len(others) == 0 || slices.Contains(others, ref.String()) {
			continue
		}
		move := "its manifest, in config/ or a service.yaml, names the version"
		if p, err := a.findPlatform(); err == nil && p.deployed(f.Name) != "" {
			move = fmt.Sprintf("`modelserve deploy %s` moves it", ref)
		}
		return fmt.Sprintf("the service %s still serves %s, and calls to %s reach the shared pool: %s",
			f.Name, strings.Join(others, ", "), ref, move)
	}
	return ""
}

func pushText(p pushed) string {
	var b strings.Builder
	if p.Unchanged {
		fmt.Fprintf(&b, "%s@%d is published already, with these bytes: nothing to do\n", p.Name, p.Version)
	} else {
		fmt.Fprintf(&b, "published %s@%d\n", p.Name, p.Version)
	}
	fmt.Fprintf(&b, "  digest  %s\n  URL     %s\n", p.Digest, p.URL)
	if p.Measured != "" {
		fmt.Fprintf(&b, "  speed   %s\n", p.Measured)
	}
	if !p.Unchanged && !p.Signed {
		b.WriteString("  note    not signed: there is no signing key here (" + signingKeyVariable + ")\n")
	}
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "  note    %s\n", note)
	}
	return b.String()
}

// parseShapes reads INPUT=1,3,224,224.
func parseShapes(flags []string) (map[string][]int64, error) {
	shapes := map[string][]int64{}
	for _, flag := range flags {
		name, list, ok := cutLast(flag, "=")
		if !ok || name == "" {
			return nil, usagef("--shape: expected INPUT=1,3,224,224, got %q", flag)
		}
		if _, twice := shapes[name]; twice {
			return nil, usagef("--shape: input %q is named twice", name)
		}
		shape := []int64{}
		for part := range strings.SplitSeq(list, ",") {
			size, err := strconv.ParseInt(part, 10, 32)
			if err != nil || size < 1 {
				return nil, usagef("--shape: expected positive sizes such as %s=1,3,224,224, got %q", name, flag)
			}
			shape = append(shape, size)
		}
		shapes[name] = shape
	}
	return shapes, nil
}

// cutLast cuts at the last separator: names of inputs may hold it, sizes not.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// progress shows on one line of a terminal what is being done, and nothing
// anywhere else.
type progress struct {
	a      *app
	prefix string

	mu    sync.Mutex
	shown string
}

func (a *app) progress(prefix string) *progress { return &progress{a: a, prefix: prefix} }

func (p *progress) stage(what string) { p.show(what) }

func (p *progress) bytes(done, total int64) {
	p.show(fmt.Sprintf("uploading %s of %s", size(done), size(total)))
}

func (p *progress) show(text string) {
	if !p.a.ErrTerminal {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = text
	_, _ = fmt.Fprintf(p.a.Err, "\r\x1b[K%s%s", p.prefix, text)
}

func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown != "" {
		_, _ = fmt.Fprint(p.a.Err, "\r\x1b[K")
	}
}
