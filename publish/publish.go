// Package publish turns an ONNX file into a published version: it loads and
// runs the model as it will be served, learns what its file does not say (the
// shapes it runs with, whether requests may be joined or padded), optimises it
// for this machine, measures it, signs it and uploads it.
//
// Nothing is published that has not run. It prints nothing.
package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Request asks to publish a file.
type Request struct {
	Name    string
	Version int    // 0 is the next free one
	File    string // an ONNX model; its external data lies beside it

	// Shapes to try the model with, by input, where the search would not find
	// any or better ones are known.
	Shapes map[string][]int64

	// Example is a request's inputs, which the model is run with in place of
	// generated ones; nil generates them. Some models run only with particular
	// values: a shape, an index, a mode.
	Example []infer.Tensor

	// Bounds on what requests may ask of the model.
	Bounds Bounds

	// Batching is what the server shall do in place of what it would learn; the
	// zero value leaves it everything.
	Batching model.Batching

	// IndependentRows is the publisher's word that rows of the first axis do not
	// depend on each other, where the graph does not show it.
	IndependentRows bool

	// Ragged are the axes along which requests of a batch may differ, once the
	// model has proved it.
	Ragged []Ragged

	// Measure is about how long to measure what batches cost; 0 is 5 s.
	Measure time.Duration

	// Stage is told what is being done now, and Progress the bytes uploaded
	// (from several goroutines). Either may be nil.
	Stage    func(string)
	Progress func(done, total int64)
}

// Result is what was published, or was there already.
type Result struct {
	artifact.Published

	// Notes are what the publisher should know and need not change.
	Notes []string
}

// Publisher publishes to one store.
type Publisher struct {
	Store  *artifact.Store
	Signer *sign.Signer // nil leaves versions unsigned

	// Library opens ONNX Runtime. It is called only for what is not published.
	Library func() (*ort.Library, error)
}

// Publish publishes a file. The same bytes again are unchanged, and cost no
// more than hashing them; other bytes for a version that exists are refused.
func (p *Publisher) Publish(ctx context.Context, req Request) (*Result, error) {
	if req.Stage == nil {
		req.Stage = func(string) {}
	}
	if _, err := infer.NewName(req.Name); err != nil {
		return nil, err
	}
	sources, err := sourcesOf(req.File)
	if err != nil {
		return nil, err
	}
	req.Stage("comparing")
	if have, err := p.unchanged(ctx, &req, sources); have != nil || err != nil {
		return have, err
	}
	draft := artifact.Draft{Name: req.Name, Version: req.Version}
	for path, source := range sources {
		draft.Files = append(draft.Files, artifact.DraftFile{Path: path, Source: source})
	}
	slices.SortFunc(draft.Files, func(a, b artifact.DraftFile) int { return strings.Compare(a.Path, b.Path) })
	dir, err := os.MkdirTemp("", "modelserve-publish-")
	if err != nil {
		return nil, fmt.Errorf("make a folder to work in: %w", err)
	}
	notes, err := p.prove(ctx, &req, &draft, filepath.Join(dir, "model.ort"))
	if err == nil {
		var done *artifact.Published
		req.Stage("uploading")
		done, err = p.Store.Publish(ctx, draft, artifact.Publishing{Signer: p.Signer, Progress: req.Progress})
		if err == nil {
			return &Result{Published: *done, Notes: notes}, os.RemoveAll(dir)
		}
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// prove loads, runs and measures the model, and fills in what was learned.
func (p *Publisher) prove(ctx context.Context, req *Request, draft *artifact.Draft, optimized string) (notes []string, err error) {
	lib, err := p.Library()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lib.Close()) }()
	if notes, err = learn(ctx, req, lib, draft, optimized); err != nil {
		return nil, err
	}
	if why := lib.Locale(); why != nil {
		notes = append(notes, why.Error())
	}
	req.Stage("measuring")
	serve := req.File
	if i := slices.IndexFunc(draft.Files, func(f artifact.DraftFile) bool { return f.Optimized != nil }); i >= 0 {
		serve = draft.Files[i].Source
	}
	if draft.Cost, err = costOf(ctx, lib, serve, &draft.Signature, req.Measure); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		notes = append(notes, fmt.Sprintf("not measured, so the server learns from its first requests: %v", err))
	}
	return notes, nil
}

// learn finds the shapes, makes the optimised copy, and finds the batch axis and
// the ragged axes of what will be served.
func learn(ctx context.Context, req *Request, lib *ort.Library, draft *artifact.Draft, optimized string) (notes []string, err error) {
	req.Stage("loading")
	session, err := lib.Open(req.File, ort.Options{})
	if err != nil && len(draft.Files) > 1 {
		return nil, refuse("it does not load in ONNX Runtime %s: %w; is the external data beside it whole, and of the same export?", lib.Version(), trimmed{err})
	}
	if err != nil {
		return nil, refuse("it does not load in ONNX Runtime %s: %w", lib.Version(), trimmed{err})
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	if draft.Metadata, err = session.Metadata(); err != nil {
		return nil, fmt.Errorf("read the model: %w", err)
	}
	req.Stage("running")
	sig, inputs, err := demonstrate(ctx, session, *session.Signature(), req)
	if err != nil {
		return nil, refuse("%w", err)
	}
	if sig, notes, err = openOutputs(ctx, session, sig, inputs); err != nil {
		return nil, refuse("%w", err)
	}
	if err := answers(ctx, session, inputs); errors.Is(err, errEmpty) {
		notes = append(notes, "every output is empty for the inputs that were made up, so nothing is proven of its answers to others; give a request that it answers with something: --example request.json")
	}
	for _, left := range session.LeftOut() {
		notes = append(notes, "left out: "+left.Error())
	}

	req.Stage("optimising")
	served := ""
	why := optimize(ctx, lib, session, &sig, inputs, req.File, optimized)
	switch {
	case why == nil:
		served = optimized
		draft.Files = append(draft.Files, artifact.DraftFile{
			Path: "model.ort", Source: optimized,
			Optimized: &model.Target{ONNXRuntime: lib.Version(), Arch: runtime.GOARCH, CPU: ort.CPUFeatures()},
		})
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		notes = append(notes, fmt.Sprintf("not optimised, so it loads slower: %v", why))
	}
	more, err := join(ctx, req, served, session, sig, draft)
	if why != nil && !req.IndependentRows && problem.CodeOf(err) == problem.InvalidArgument {
		return nil, refuse("%w (it is not optimised: %w)", err, why)
	}
	return append(notes, more...), err
}

// join finds out whether requests may be joined and padded, and writes the
// signature and the publisher's words into the draft.
func join(ctx context.Context, req *Request, served string, run runner, sig infer.Signature, draft *artifact.Draft) (notes []string, err error) {
	req.Stage("joining rows")
	found, err := findBatchAxis(ctx, served, run, sig, req.IndependentRows)
	if err != nil {
		return nil, fmt.Errorf("look for a batch axis: %w", err)
	}
	notes, sig = found.notes, found.sig
	switch {
	case found.why != "" && req.IndependentRows:
		return nil, refuse("--batch-axis 0: rows are not independent: %s", found.why)
	case found.why != "" && (req.Batching.MaxBatchSize > 1 || req.Batching.MaxDelay > 0):
		return nil, refuse("requests cannot be joined as --max-batch-size or --max-delay say: %s", found.why)
	case found.why != "" && len(req.Ragged) > 0:
		return nil, refuse("--ragged: requests cannot be joined at all: %s", found.why)
	case found.why != "":
		notes = append(notes, "no batch axis: "+found.why)
	}
	if sig, err = req.Bounds.Apply(sig); err != nil {
		return nil, refuse("%w", err)
	}
	batching := req.Batching
	if batching.IndependentRows = found.word; batching != (model.Batching{}) {
		draft.Batching = &batching
	}
	if len(req.Ragged) > 0 {
		req.Stage("padding")
		var note string
		if sig, note, err = proveRagged(ctx, run, sig, req.Ragged, known{served, req.Example}); err != nil {
			return nil, err
		}
		notes = append(notes, note)
	}
	draft.Signature = sig
	return notes, nil
}

// costOf measures the file that will be served.
func costOf(ctx context.Context, lib *ort.Library, file string, sig *infer.Signature, budget time.Duration) (cost *model.Cost, err error) {
	if budget == 0 {
		budget = measureTime
	}
	session, memory, err := openMeasured(ctx, lib, file, sig)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	fill, err := runExample(ctx, session, sig)
	if err != nil {
		return nil, err
	}
	batches, err := measure(ctx, session, sig, fill, budget)
	if err != nil {
		return nil, err
	}
	whole, err := warmExamplePays(ctx, func() (*ort.Session, error) { return lib.Open(file, ort.Options{}) }, sig)
	if err != nil {
		return nil, err
	}
	return &model.Cost{Memory: memory, Batches: batches, WarmExample: whole}, nil
}

// runExample runs the model with the example shapes, and with the integers that
// the search for them found it to run with: all of them fill.
func runExample(ctx context.Context, model runner, sig *infer.Signature) (fill byte, err error) {
	for fill = range byte(2) {
		var inputs []infer.Tensor
		if inputs, err = batchInputs(sig, 0, fill); err != nil {
			break
		}
		if _, err = answer(ctx, model, inputs); err == nil {
			return fill, nil
		}
	}
	return 0, err
}

// trimmed is an error of ONNX Runtime, whose messages may end in a new line,
// within a sentence.
type trimmed struct{ error }

func (t trimmed) Error() string { return strings.TrimSpace(t.error.Error()) }
func (t trimmed) Unwrap() error { return t.error }

// refuse is the error of a file that cannot be published.
func refuse(format string, args ...any) error {
	return problem.New(problem.InvalidArgument, format, args...)
}

// sourcesOf lists the files of the model by the names they get.
func sourcesOf(file string) (map[string]string, error) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, refuse("there is no file %s", file)
	case err != nil:
		return nil, fmt.Errorf("read the model: %w", err)
	case info.IsDir():
		return nil, refuse("%s is a folder; name the .onnx file in it", file)
	case !info.Mode().IsRegular():
		return nil, refuse("%s is not a file", file)
	case info.Size() == 0:
		return nil, refuse("%s is empty; export or copy the model again", file)
	}
	external, err := ort.ExternalData(file)
	if errors.Is(err, ort.ErrNotONNX) {
		return nil, refuse("%s is %w; export the model to ONNX first", file, err)
	}
	if err != nil {
		return nil, refuse("%s: %w", file, err)
	}
	sources := map[string]string{model.ModelFile: file}
	for _, name := range external {
		path := filepath.Join(filepath.Dir(file), name)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, refuse("its external data %s is missing: put it beside %s", name, filepath.Base(file))
		case err != nil:
			return nil, fmt.Errorf("read the model's external data: %w", err)
		case !info.Mode().IsRegular():
			return nil, refuse("its external data %s is not a file of its own", path)
		case name == model.ModelFile:
			return nil, refuse("its external data is called %s, as the model itself will be: rename it in the export", name)
		}
		sources[name] = path
	}
	return sources, nil
}

// unchanged looks whether the version asked for, or else the newest, holds
// these bytes; nil when there is something to publish.
func (p *Publisher) unchanged(ctx context.Context, req *Request, sources map[string]string) (*Result, error) {
	ref := model.Ref{Name: req.Name, Version: req.Version}
	var err error
	if ref.Version == 0 {
		ref, err = p.Store.Newest(ctx, req.Name)
	}
	var have *model.Manifest
	var digest string
	if err == nil {
		have, digest, err = p.Store.Manifest(ctx, ref)
	}
	if err != nil {
		if problem.CodeOf(err) == problem.ModelNotFound {
			if req.Version == 0 {
				return nil, nil //nolint:nilnil // nothing to compare with
			}
			return nil, p.Store.CheckNumber(ctx, ref)
		}
		if req.Version == 0 && model.Lasting(err) {
			return nil, nil //nolint:nilnil // the newest cannot be read any more: a new version
		}
		return nil, err
	}
	same, err := holds(have, sources)
	switch {
	case err != nil:
		return nil, err
	case same && req.Version == 0 && !req.heldBy(have):
		return nil, nil //nolint:nilnil // other words on it: a new version
	case same && !req.heldBy(have):
		return &Result{
			Published: artifact.Published{Ref: ref, Digest: digest, Manifest: have, Unchanged: true},
			Notes:     []string{"it keeps the bounds that it was published with, and its batching, as a version never changes; the next one can have others"},
		}, nil
	case same:
		return &Result{Published: artifact.Published{Ref: ref, Digest: digest, Manifest: have, Unchanged: true}}, nil
	case req.Version != 0:
		return nil, problem.New(problem.VersionExists,
			"%s is published with other bytes (%s), and a version never changes; leave --version out to take the next", ref, digest)
	}
	return nil, nil //nolint:nilnil // other bytes: a new version
}

// heldBy reports whether a manifest has what the request says of the model.
// What it does not say is in any.
func (r *Request) heldBy(m *model.Manifest) bool {
	if !r.Bounds.heldBy(&m.Signature) || r.IndependentRows && m.BatchAxis == nil {
		return false
	}
	if r.Batching != (model.Batching{}) {
		asked := r.Batching
		asked.IndependentRows = m.Batching != nil && m.Batching.IndependentRows
		if !m.Batching.Equal(&asked) {
			return false
		}
	}
	if len(r.Ragged) == 0 {
		return true
	}
	held := 0
	for i := range m.Inputs {
		spec := &m.Inputs[i]
		if spec.Ragged == nil {
			continue
		}
		if spec.Ragged.Max == 0 {
			return false // published when none was proven up to a length
		}
		held++
		if !slices.Contains(r.Ragged, Ragged{Input: spec.Name, Axis: spec.Ragged.Axis, Pad: spec.Ragged.Pad}) {
			return false
		}
	}
	return held == len(r.Ragged)
}

// holds reports whether a manifest is of exactly these files.
func holds(m *model.Manifest, sources map[string]string) (bool, error) {
	count := 0
	for _, f := range m.Files {
		if f.Optimized != nil {
			continue
		}
		count++
		source, ok := sources[f.Path]
		if !ok {
			return false, nil
		}
		sum, err := hashFile(source)
		if err != nil || sum != f.SHA256 {
			return false, err
		}
	}
	return count == len(sources), nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the model: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read the model: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
