// Package textrecognize is the codec of the text-recognize function: lines of
// text in, their text as a string out, by PP-OCRv6's recogniser and with the decisions
// of the Python package rapidocr 3.10.0.
//
// The network is a CRNN's descendant (Shi et al. 2015, "An End-to-End
// Trainable Neural Network for Image-based Sequence Recognition"; Du et al.
// 2022, "SVTR"): it reads a line from left to right in steps of eight pixels,
// and gives each step a probability for every character. It finds no lines;
// text-detect does.
package textrecognize

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/functions/internal/textimage"
	"github.com/modelserveai/modelserve/functions/internal/warp"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Options bound what one request may cost.
type Options = textimage.Options

// Answer is what text-recognize answers: a line for each polygon, in their
// order. Lines it is not sure of are there too: the reference drops those below
// a score of 0.5.
type Answer struct {
	Lines []Line `json:"lines"`
}

// Line is the text of one line.
type Line struct {
	Text  string  `json:"text"`  // empty where nothing was read
	Score float64 `json:"score"` // the mean probability of its characters, 0 to 1
}

// Codec reads lines of text. It is safe for many goroutines.
type Codec struct {
	opts     Options
	warper   *warp.Warper
	alphabet atomic.Pointer[alphabet] // of the model seen last
	tensors  textimage.Tensors
}

// New makes the codec.
func New(opts Options) *Codec { return &Codec{opts: opts, warper: warp.NewWarper()} }

// Answer implements serve.Codec: the payload is the image of one line, or
// {"image": SOURCE, "polygons": […], "orientations": […]}.
func (c *Codec) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	var source *payload.Source
	var form struct {
		Image        payload.Source     `json:"image"`
		Polygons     textimage.Polygons `json:"polygons"`
		Orientations payload.List[int]  `json:"orientations"`
	}
	if payload.IsJSON(in) {
		if err := payload.Decode(in, &form); err != nil {
			return nil, err
		}
		source = &form.Image
	}
	chars, err := c.alphabetOf(model)
	if err != nil {
		return nil, err
	}
	budget := textimage.NewBudget(in)
	image, err := textimage.Decode(ctx, in, budget, source, c.opts)
	if err != nil {
		return nil, err
	}
	atOnce := min(maxRuns, runtime.GOMAXPROCS(0))
	lines, err := textimage.Cut(ctx, budget, image, c.warper, form.Polygons, form.Orientations, atOnce)
	if err != nil {
		return nil, err
	}
	answer := &Answer{Lines: make([]Line, lines.Len())}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	columns := semaphore.NewWeighted(columnsAtOnce)
	for _, b := range batches(lines) {
		group.Go(func() (err error) {
			// A panic is this request's 500, as in the caller's own goroutine.
			defer func() {
				if v := recover(); v != nil {
					err = fmt.Errorf("panic while reading lines: %v\n%s", v, debug.Stack())
				}
			}()
			wide := int64(len(b.lines) * b.width)
			if err := columns.Acquire(ctx, wide); err != nil {
				return fmt.Errorf("wait for lines before: %w", err)
			}
			defer columns.Release(wide)
			return c.read(ctx, answer.Lines, lines, b, chars, model)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return answer, nil
}

// alphabetOf is the model's alphabet; it is parsed once for each model.
func (c *Codec) alphabetOf(model serve.Runner) (*alphabet, error) {
	source := model.Info().Metadata[alphabetKey]
	if a := c.alphabet.Load(); a != nil && a.source == source {
		return a, nil
	}
	a, err := parseAlphabet(source)
	if err != nil {
		return nil, err
	}
	c.alphabet.Store(a)
	return a, nil
}

// read runs one batch and writes its lines' texts to their places.
func (c *Codec) read(ctx context.Context, out []Line, lines *textimage.Lines, b lineBatch, chars *alphabet, model serve.Runner) error {
	n, plane := len(b.lines), height*b.width
	tensor := c.tensors.Get(n * 3 * plane)
	for i, line := range b.lines {
		if err := ctx.Err(); err != nil {
			return err
		}
		image := lines.Image(line)
		w := min(scaledWidth(image.Width, image.Height), b.width)
		into := (*tensor)[i*3*plane : (i+1)*3*plane]
		clearRight(into, w, b.width)
		image.Normalize(into, w, height, b.width, plane, textimage.Normalization())
	}
	outputs, err := model.Run(ctx, []infer.Tensor{
		infer.NewTensor(textimage.InputName(model), []int64{int64(n), 3, height, int64(b.width)}, *tensor),
	})
	if err != nil {
		return fmt.Errorf("read %d lines of up to %d pixels: %w", n, b.width, err)
	}
	c.tensors.Put(tensor)
	defer textimage.Release(model, outputs)
	if len(outputs) != 1 || len(outputs[0].Shape) != 3 || outputs[0].Shape[0] != int64(n) {
		return problem.New(problem.Internal, "the model's answer is not one table for each of %d lines", n)
	}
	steps, classes := int(outputs[0].Shape[1]), int(outputs[0].Shape[2])
	if classes != len(chars.classes) {
		return problem.New(problem.Internal, "the model has %d classes and its alphabet %d", classes, len(chars.classes))
	}
	p, err := infer.Values[float32](&outputs[0])
	if err != nil {
		return fmt.Errorf("read the model's probabilities: %w", err)
	}
	for i, line := range b.lines {
		out[line] = chars.decode(p[i*steps*classes : (i+1)*steps*classes])
	}
	return nil
}

// clearRight zeroes the columns from w on: grey, once normalised.
func clearRight(planes []float32, w, width int) {
	for row := 0; row < len(planes); row += width {
		clear(planes[row+w : row+width])
	}
}
