// Package textimage reads what the text functions take: an image, and the
// polygons of the lines in it, and cuts the lines out as their models expect
// them.
//
// It runs no model and decides nothing about text.
package textimage

import (
	"context"
	"math"

	"github.com/modelserveai/modelserve/codec/imaging"
	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Options bound what one request may cost.
type Options struct {
	MaxPixels int64 // of an image; 0 is imaging.DefaultMaxPixels
}

// Polygons are lines of text in an image: for each four corners in pixels,
// clockwise from the text's top left.
type Polygons = payload.List[[4][2]float64]

// Decode decodes the image of a payload: what source names, or the whole body
// when source is nil.
func Decode(ctx context.Context, in serve.Payload, budget *Budget, source *payload.Source, opts Options) (*imaging.Image, error) {
	data, field := in.Body, "body"
	if source != nil {
		var err error
		if data, err = source.Bytes(ctx, in); err != nil {
			return nil, err
		}
		field = source.Field()
	}
	image, err := imaging.Decode(ctx, data, imaging.Options{Field: field, MaxPixels: opts.MaxPixels, Reserve: budget.Reserve})
	if err != nil {
		return nil, err
	}
	budget.Keep(int64(len(image.Pix)))
	return image, nil
}

// Budget is a request's share of the process's memory for images. What one
// stage has let go of serves what comes after it: a decoder's own buffers are gone when
// the image is cut up, and read.
type Budget struct {
	in         serve.Payload
	held, used int64 // bytes
}

// NewBudget begins with nothing held.
func NewBudget(in serve.Payload) *Budget { return &Budget{in: in} }

// Reserve makes sure of n more bytes.
func (b *Budget) Reserve(ctx context.Context, n int64) error {
	b.used += n
	if b.used <= b.held || b.in.Reserve == nil {
		return nil
	}
	more := b.used - b.held
	b.held = b.used
	return b.in.Reserve(ctx, more)
}

// Keep releases all that was reserved but n bytes, which are still in use.
func (b *Budget) Keep(n int64) {
	b.used = n
	if b.in.Return != nil && b.held > n {
		b.in.Return(b.held - n)
		b.held = n
	}
}

// checkOrientations holds the orientations of n lines to 0 and 180.
func checkOrientations(orientations payload.List[int], n int) error {
	if orientations == nil {
		return nil
	}
	if len(orientations) != n {
		return problem.Invalid("orientations", "%d of them; expected one for each of the %d polygons", len(orientations), n)
	}
	for i, o := range orientations {
		if o != 0 && o != 180 {
			return problem.Invalid(element("orientations", i), "%d; expected 0 or 180", o)
		}
	}
	return nil
}

// InputName is the model's own name of its one input, so that a model of the
// same family can be published in this one's place.
func InputName(model serve.Runner) string {
	if in := model.Info().Signature.Inputs; len(in) == 1 {
		return in[0].Name
	}
	return "x"
}

// Release gives a run's outputs back now, if the runner can take them.
func Release(model serve.Runner, outputs []infer.Tensor) {
	if r, ok := model.(serve.Releaser); ok {
		r.Release(outputs)
	}
}

// Score keeps five decimals, as the reference reports scores.
func Score[F float32 | float64](v F) float64 { return math.Round(float64(v)*1e5) / 1e5 }
