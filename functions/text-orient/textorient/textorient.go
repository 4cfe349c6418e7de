// Package textorient is the codec of the text-orient function: lines of text
// in, whether each stands upright or upside down out, by PP-OCR's direction
// classifier and with the decisions of the Python package rapidocr 3.10.0.
//
// It distinguishes 0 and 180 degrees only; lines that run upwards are turned before.
package textorient

import (
	"context"
	"fmt"
	"math"

	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/functions/internal/textimage"
	"github.com/modelserveai/modelserve/functions/internal/warp"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// What the network takes and how its answer is read (rapidocr: TextClassifier).
const (
	height, width = 48, 192
	batch         = 6
	turnThreshold = 0.9 // upside down only above it
)

// Options bound what one request may cost.
type Options = textimage.Options

// Answer is what text-orient answers: a line for each polygon, in their order.
type Answer struct {
	Lines []Line `json:"lines"`
}

// Line is how one line stands.
type Line struct {
	Orientation int     `json:"orientation"` // degrees: 0 or 180
	Score       float64 `json:"score"`       // probability of this orientation, 0 to 1
}

// Codec finds whether lines of text stand upright or upside down. It is safe for many goroutines.
type Codec struct {
	opts   Options
	warper *warp.Warper
}

// New makes the codec.
func New(opts Options) *Codec { return &Codec{opts: opts, warper: warp.NewWarper()} }

// Answer implements serve.Codec: the payload is the image of one line, or
// {"image": SOURCE, "polygons": […]}.
func (c *Codec) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	var source *payload.Source
	var form struct {
		Image    payload.Source     `json:"image"`
		Polygons textimage.Polygons `json:"polygons"`
	}
	if payload.IsJSON(in) {
		if err := payload.Decode(in, &form); err != nil {
			return nil, err
		}
		source = &form.Image
	}
	budget := textimage.NewBudget(in)
	image, err := textimage.Decode(ctx, in, budget, source, c.opts)
	if err != nil {
		return nil, err
	}
	lines, err := textimage.Cut(ctx, budget, image, c.warper, form.Polygons, nil, 1)
	if err != nil {
		return nil, err
	}
	answer := &Answer{Lines: make([]Line, 0, lines.Len())}
	for begin := 0; begin < lines.Len(); begin += batch {
		end := min(begin+batch, lines.Len())
		if answer.Lines, err = classify(ctx, answer.Lines, lines, begin, end, model); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// classify appends the orientations of lines begin to end.
func classify(ctx context.Context, out []Line, lines *textimage.Lines, begin, end int, model serve.Runner) ([]Line, error) {
	const plane = height * width
	n := end - begin
	tensor := make([]float32, n*3*plane) // zero, which is grey, to the right of short lines
	for i := range n {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		image := lines.Image(begin + i)
		ratio := float64(image.Width) / float64(image.Height)
		w := int(min(math.Ceil(height*ratio), width))
		image.Normalize(tensor[i*3*plane:], w, height, width, plane, textimage.Normalization())
	}
	outputs, err := model.Run(ctx, []infer.Tensor{
		infer.NewTensor(textimage.InputName(model), []int64{int64(n), 3, height, width}, tensor),
	})
	if err != nil {
		return nil, fmt.Errorf("classify lines %d to %d: %w", begin, end-1, err)
	}
	defer textimage.Release(model, outputs)
	const classes = 2
	if len(outputs) != 1 || outputs[0].Elements() != int64(n*classes) {
		return nil, problem.New(problem.Internal, "the model's answer is not two probabilities for each of %d lines", n)
	}
	p, err := infer.Values[float32](&outputs[0])
	if err != nil {
		return nil, fmt.Errorf("read the model's probabilities: %w", err)
	}
	for i := range n {
		out = append(out, decide(p[2*i], p[2*i+1]))
	}
	return out, nil
}

// decide turns a line only when the network is sure: most lines stand upright,
// and one turned wrongly is lost.
func decide(upright, upsideDown float32) Line {
	if upsideDown > upright && upsideDown > turnThreshold {
		return Line{180, textimage.Score(upsideDown)}
	}
	return Line{0, textimage.Score(upright)}
}
