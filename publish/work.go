package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// work is a model on its way to being a version. Each step adds what it found,
// which those after it begin with.
type work struct {
	req       *Request
	dir       string // for what is made
	library   *ort.Library
	session   *ort.Session    // of the file as it was pushed, from load to unload
	signature infer.Signature // what is known of it so far
	inputs    []infer.Tensor  // that the model answers
	optimized string          // the copy that fits this machine; "" where there is none
	slower    error           // why there is none

	draft artifact.Draft // what is published in the end
	notes []string       // for the publisher
}

// newWork begins with the files by the names that they get, sorted.
func newWork(req *Request, sources map[string]string, dir string) *work {
	w := &work{req: req, dir: dir, draft: artifact.Draft{Name: req.Name, Version: req.Version}}
	for _, path := range slices.Sorted(maps.Keys(sources)) {
		w.draft.Files = append(w.draft.Files, artifact.DraftFile{Path: path, Source: sources[path]})
	}
	return w
}

// step is one thing that is done to a work, with the stage that it begins; "" is
// the one before it.
type step struct {
	stage string
	do    func(context.Context) error
}

// learning are the steps after which the signature is known: the shapes that the
// model runs with, and whether requests may be joined and padded.
func (w *work) learning() []step {
	steps := []step{
		{"loading", w.load},
		{"running", w.demonstrate},
		{"optimising", w.optimize},
		{"joining rows", w.join},
		{"", w.bound},
	}
	if len(w.req.Ragged) > 0 {
		steps = append(steps, step{"padding", w.pad})
	}
	return steps
}

// do takes steps in order, until one fails.
func (w *work) do(ctx context.Context, steps []step, more ...step) error {
	for _, s := range slices.Concat(steps, more) {
		if s.stage != "" {
			w.req.Stage(s.stage)
		}
		if err := s.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// load loads the file as it was pushed.
func (w *work) load(context.Context) (err error) {
	if w.session, err = w.library.Open(w.req.File, ort.Options{}); err != nil {
		w.session = nil
		if len(w.draft.Files) > 1 {
			return refuse("it does not load in ONNX Runtime %s: %w; is the external data beside it whole, and of the same export?", w.library.Version(), trimmed{err})
		}
		return refuse("it does not load in ONNX Runtime %s: %w", w.library.Version(), trimmed{err})
	}
	w.signature = *w.session.Signature()
	if w.draft.Metadata, err = w.session.Metadata(); err != nil {
		return fmt.Errorf("read the model: %w", err)
	}
	if why := w.library.Locale(); why != nil {
		w.note("%v", why)
	}
	for _, left := range w.session.LeftOut() {
		w.note("left out: %v", left)
	}
	return nil
}

// unload gives back what load took. Unloading twice is safe.
func (w *work) unload() error {
	if w.session == nil {
		return nil
	}
	err := w.session.Close()
	w.session = nil
	return err
}

// demonstrate runs the model: with the request's example, or with inputs of shapes
// that it finds.
func (w *work) demonstrate(ctx context.Context) (err error) {
	if w.signature, w.inputs, err = demonstrate(ctx, w.session, w.signature, w.req); err != nil {
		return refuse("%w", err)
	}
	var notes []string
	if w.signature, notes, err = openOutputs(ctx, w.session, w.signature, w.inputs); err != nil {
		return refuse("%w", err)
	}
	w.notes = append(w.notes, notes...)
	if err := answers(ctx, w.session, w.inputs); errors.Is(err, errEmpty) {
		w.note("every output is empty for the inputs that were made up, so nothing is proven of its answers to others; give a request that it answers with something: --example request.json")
	}
	return nil
}

// optimize makes the copy that fits this machine, which is what is served. A model
// that has none is published all the same.
func (w *work) optimize(ctx context.Context) error {
	path := filepath.Join(w.dir, optimizedFile)
	w.slower = optimize(ctx, w.library, w.session, &w.signature, w.inputs, w.req.File, path)
	switch {
	case w.slower == nil:
		w.optimized = path
		w.draft.Files = append(w.draft.Files, artifact.DraftFile{
			Path: optimizedFile, Source: path,
			Optimized: &model.Target{ONNXRuntime: w.library.Version(), Arch: runtime.GOARCH, CPU: ort.CPUFeatures()},
		})
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		w.note("not optimised, so it loads slower: %v", w.slower)
	}
	return nil
}

// join finds out whether requests may be joined along the first axis, and refuses
// the publisher's settings of batches where they may not.
func (w *work) join(ctx context.Context) error {
	found, err := findBatchAxis(ctx, w.optimized, w.session, w.signature, w.req.IndependentRows)
	if err != nil {
		return w.because(fmt.Errorf("look for a batch axis: %w", err))
	}
	w.notes, w.signature = append(w.notes, found.notes...), found.sig
	batching := w.req.Batching
	switch {
	case found.why != "" && w.req.IndependentRows:
		return refuse("--batch-axis 0: rows are not independent: %s", found.why)
	case found.why != "" && (batching.MaxBatchSize > 1 || batching.MaxDelay > 0):
		return w.because(refuse("requests cannot be joined, as --max-batch-size or --max-delay ask: %s", found.why))
	case found.why != "" && len(w.req.Ragged) > 0:
		return w.because(refuse("--ragged: requests cannot be joined at all: %s", found.why))
	case found.why != "":
		w.note("no batch axis: %s", found.why)
	}
	if batching.IndependentRows = found.asserted; batching != (model.Batching{}) {
		w.draft.Batching = &batching
	}
	return nil
}

// bound puts the publisher's bounds on requests into the signature.
func (w *work) bound(context.Context) (err error) {
	if w.signature, err = w.req.Bounds.Apply(w.signature); err != nil {
		return w.because(refuse("%w", err))
	}
	return nil
}

// pad proves that requests of a batch may differ along the ragged axes.
func (w *work) pad(ctx context.Context) error {
	sig, note, err := proveRagged(ctx, w.session, w.signature, w.req.Ragged, known{w.optimized, w.req.Example})
	if err != nil {
		return w.because(err)
	}
	w.signature = sig
	w.note("%s", note)
	return nil
}

// because adds to a refusal that there is no optimised copy, whose graph shows more.
func (w *work) because(err error) error {
	if w.slower != nil && !w.req.IndependentRows && problem.CodeOf(err) == problem.InvalidArgument {
		return refuse("%w (it is not optimised: %w)", err, w.slower)
	}
	return err
}

// measure finds out what the file that will be served takes, with nothing else
// loaded. What cannot be measured is published all the same.
func (w *work) measure(ctx context.Context) error {
	if err := w.unload(); err != nil {
		return err
	}
	w.draft.Signature = w.signature
	served := w.req.File
	if w.optimized != "" {
		served = w.optimized
	}
	var err error
	if w.draft.Cost, err = costOf(ctx, w.library, served, &w.draft.Signature, w.req.Measure); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.note("not measured, so the server learns from its first requests: %v", err)
	}
	return nil
}
