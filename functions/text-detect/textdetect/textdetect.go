// Package textdetect is the codec of the text-detect function: an image in,
// the boxes of its text lines out, by PP-OCRv6's detector and with the
// decisions of the Python package rapidocr 3.10.0.
//
// The network is a DBNet (Liao et al. 2020, "Real-time Scene Text Detection
// with Differentiable Binarization"): it gives each pixel a probability of
// being inside a text line's shrunken core, and what is here turns that map
// into boxes. It reads no text; text-recognize does.
package textdetect

import (
	"context"
	"fmt"
	"math"

	"github.com/modelserveai/modelserve/codec/imaging"
	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/functions/internal/textimage"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Options bound what one request may cost.
type Options = textimage.Options

// Answer is what text-detect answers: sizes and places in pixels of the
// upright image.
type Answer struct {
	Width  int   `json:"width"`
	Height int   `json:"height"`
	Boxes  []Box `json:"boxes"` // in reading order; never null
}

// Box is one line of text.
type Box struct {
	Polygon [4][2]float64 `json:"polygon"` // clockwise from the text's top left
	Score   float64       `json:"score"`   // the map's mean inside the box, 0 to 1
}

// Codec finds lines of text. It is safe for many goroutines.
type Codec struct {
	opts    Options
	tensors textimage.Tensors
}

// New makes the codec.
func New(opts Options) *Codec { return &Codec{opts: opts} }

// Answer implements serve.Codec: the payload is an image, or {"image": SOURCE}.
func (c *Codec) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	var source *payload.Source
	if payload.IsJSON(in) {
		var form struct {
			Image payload.Source `json:"image"`
		}
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
	return c.detect(ctx, budget, image, model)
}

func (c *Codec) detect(ctx context.Context, budget *textimage.Budget, image *imaging.Image, model serve.Runner) (*Answer, error) {
	answer := &Answer{Width: image.Width, Height: image.Height, Boxes: []Box{}}
	p := planFor(image.Width, image.Height)
	if err := budget.Reserve(ctx, p.bytes()); err != nil {
		return nil, err
	}
	tensor := c.tensors.Get(3 * p.netW * p.netH)
	p.prepare(image, *tensor)

	outputs, err := model.Run(ctx, []infer.Tensor{
		infer.NewTensor(textimage.InputName(model), []int64{1, 3, int64(p.netH), int64(p.netW)}, *tensor),
	})
	if err != nil {
		return nil, fmt.Errorf("find text: %w", err)
	}
	c.tensors.Put(tensor)
	m, err := probabilities(outputs, p)
	if err != nil {
		return nil, err
	}
	for _, r := range m.regions(p.pageW, p.pageH) {
		if box := p.box(r, image.Width, image.Height); !blank(image, &box) {
			answer.Boxes = append(answer.Boxes, box)
		}
	}
	return answer, nil
}

// contrast is by how much ink differs from paper at least, of 255: the network
// sees words that differ by 20, and not by 12. On nothing but
// paper the network sees text that is not there, most of all beside the black
// bands of wide images. The reference is spared it by luck: that map falls into
// thousands of specks, and it looks at the first thousand only.
const contrast = 8

// blank reports whether a box has nothing in it that could be ink.
func blank(image *imaging.Image, box *Box) bool {
	x0, y0, x1, y1 := math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for _, c := range box.Polygon {
		x0, y0, x1, y1 = min(x0, c[0]), min(y0, c[1]), max(x1, c[0]), max(y1, c[1])
	}
	return flat(image, int(math.Floor(x0)), int(math.Floor(y0)), int(math.Ceil(x1)), int(math.Ceil(y1)), contrast)
}

// flat reports whether the pixels from (x0, y0) up to (x1, y1), which is outside,
// are of one colour: none differs from the first by more than tolerance in any
// of its three bytes. What lies outside the image does not count.
func flat(m *imaging.Image, x0, y0, x1, y1 int, tolerance uint8) bool {
	x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, m.Width), min(y1, m.Height)
	if x0 >= x1 || y0 >= y1 {
		return true
	}
	first := m.Row(y0)[3*x0 : 3*x0+3]
	var least, most [3]uint8
	for c, v := range first {
		least[c], most[c] = v-min(v, tolerance), v+min(255-v, tolerance)
	}
	for y := y0; y < y1; y++ {
		row := m.Row(y)[3*x0 : 3*x1]
		for i := 0; i < len(row); i += 3 {
			for c, v := range row[i : i+3] {
				if v < least[c] || v > most[c] {
					return false
				}
			}
		}
	}
	return true
}

// probabilities checks the model's answer: one map as large as its input.
func probabilities(outputs []infer.Tensor, p plan) (*probabilityMap, error) {
	want := int64(p.netW) * int64(p.netH)
	if len(outputs) != 1 || outputs[0].Elements() != want {
		return nil, problem.New(problem.Internal, "the model's answer is not one map of %d×%d", p.netW, p.netH)
	}
	values, err := infer.Values[float32](&outputs[0])
	if err != nil {
		return nil, fmt.Errorf("read the model's map: %w", err)
	}
	return &probabilityMap{w: p.netW, h: p.netH, p: values}, nil
}
