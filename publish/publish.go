// Package publish turns an ONNX file into a published version: it loads and
// runs the model as it will be served, finds what its file does not declare (the
// shapes it runs with, whether requests may be joined or padded), optimises it
// for this machine, measures it, signs it and uploads it.
//
// Nothing is published that has not run. It prints nothing.
package publish

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// optimizedFile is the name of the copy that fits the publisher's machine.
const optimizedFile = "model.ort"

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

	// Batching is what the server shall do in place of what it would measure; the
	// zero value leaves all of it to the server.
	Batching model.Batching

	// IndependentRows is the publisher's assertion that rows of the first axis do not
	// depend on each other, where the graph does not show it.
	IndependentRows bool

	// Ragged are the axes along which requests of a batch may differ, once the
	// model has proved it.
	Ragged []Ragged

	// Measure is about how long to measure what batches cost; 0 is 5 s.
	Measure time.Duration

	// Stage is called with what is being done now, and Progress with the bytes
	// uploaded (from several goroutines). Either may be nil.
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
	dir, err := os.MkdirTemp("", "modelserve-publish-")
	if err != nil {
		return nil, fmt.Errorf("make a folder to work in: %w", err)
	}
	w := newWork(&req, sources, dir)
	err = p.prove(ctx, w)
	var done *Result
	if err == nil {
		done, err = p.upload(ctx, w)
	}
	return done, errors.Join(err, os.RemoveAll(dir))
}

// prove loads, runs and measures the model in a library of its own.
func (p *Publisher) prove(ctx context.Context, w *work) (err error) {
	if w.library, err = p.Library(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.unload(), w.library.Close()) }()
	return w.do(ctx, w.learning(), step{"measuring", w.measure})
}

// upload signs the version and uploads it.
func (p *Publisher) upload(ctx context.Context, w *work) (*Result, error) {
	w.req.Stage("uploading")
	done, err := p.Store.Publish(ctx, w.draft, artifact.Publishing{Signer: p.Signer, Progress: w.req.Progress})
	if err != nil {
		return nil, err
	}
	return &Result{Published: *done, Notes: w.notes}, nil
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
