package imaging

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"strings"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"github.com/modelserveai/modelserve/internal/problem"
)

// DefaultMaxPixels is the bound on pixels where nothing else is configured.
const DefaultMaxPixels = 64_000_000

// maxScans bounds the passes of a progressive JPEG: each costs a walk over all
// blocks, so a small file of empty scans would hold a core for hours. Encoders
// write about ten.
const maxScans = 256

const expectedFormats = "a PNG, JPEG, WebP, GIF, BMP or TIFF image"

// Options bound and name one decoding.
type Options struct {
	Field     string // what errors call the input: "image", "body"
	MaxPixels int64  // 0 is DefaultMaxPixels

	// Reserve takes the bytes that decoding will hold from a budget before any
	// are allocated; nil takes them freely.
	Reserve func(ctx context.Context, bytes int64) error
}

// format is one kind of file we read.
type format struct {
	name   string
	magic  []string // '?' matches any byte
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

func formats() []format {
	return []format{
		{"PNG", []string{"\x89PNG\r\n\x1a\n"}, png.DecodeConfig, png.Decode},
		{"JPEG", []string{"\xff\xd8"}, jpeg.DecodeConfig, jpeg.Decode},
		{"WebP", []string{"RIFF????WEBPVP8"}, webp.DecodeConfig, webp.Decode},
		{"GIF", []string{"GIF8?a"}, gif.DecodeConfig, gif.Decode},
		{"BMP", []string{"BM????\x00\x00\x00\x00"}, bmp.DecodeConfig, bmp.Decode},
		{"TIFF", []string{"II\x2A\x00", "MM\x00\x2A"}, tiff.DecodeConfig, tiff.Decode},
	}
}

// Decode reads the first picture of an image file, upright by its EXIF
// orientation, with transparency laid over the background that the text stands
// out from. Pixels are counted, and memory taken from the budget, before
// anything is allocated for them. Errors are problems that name opts.Field.
func Decode(ctx context.Context, data []byte, opts Options) (*Image, error) {
	if len(data) == 0 {
		return nil, problem.Invalid(opts.Field, "empty; expected %s", expectedFormats)
	}
	f, ok := sniff(data)
	if !ok {
		return nil, problem.Invalid(opts.Field, "not an image that is read here; expected %s", expectedFormats)
	}
	cfg, err := f.config(&reader{ctx: ctx, r: bytes.NewReader(data)})
	if err != nil {
		return nil, broken(ctx, opts.Field, f, err)
	}
	about := inspect(f.name, data)
	if err := admit(ctx, cfg, about, opts); err != nil {
		return nil, err
	}
	src, err := f.decode(&reader{ctx: ctx, r: bytes.NewReader(data)})
	if err != nil {
		return nil, broken(ctx, opts.Field, f, err)
	}
	if b := src.Bounds(); f.name != "GIF" && (b.Dx() != cfg.Width || b.Dy() != cfg.Height) {
		return nil, problem.Invalid(opts.Field, "broken %s: its header says %d×%d pixels, its data %d×%d", f.name, cfg.Width, cfg.Height, b.Dx(), b.Dy())
	}
	return convert(src, cfg.Width, cfg.Height, about.orientation, f.name == "WebP"), nil
}

// admit holds an image's size against the bounds.
func admit(ctx context.Context, cfg image.Config, about traits, opts Options) error {
	limit := opts.MaxPixels
	if limit <= 0 {
		limit = DefaultMaxPixels
	}
	w, h := int64(cfg.Width), int64(cfg.Height)
	if w <= 0 || h <= 0 {
		return problem.Invalid(opts.Field, "has no pixels (%d×%d)", w, h)
	}
	if w > limit/h {
		e := problem.Invalid(opts.Field, "%d×%d pixels are over the limit of %d; send a smaller image", w, h, limit)
		e.Code = problem.PayloadTooLarge
		return e
	}
	if about.scans > maxScans {
		return problem.Invalid(opts.Field, "a JPEG of %d scans; expected at most %d", about.scans, maxScans)
	}
	if opts.Reserve == nil {
		return nil
	}
	const packed = 3 // our own copy
	return opts.Reserve(ctx, w*h*(packed+decoderBytes(cfg.ColorModel, about)))
}

// decoderBytes is what a decoder holds per pixel, at most.
func decoderBytes(model color.Model, about traits) int64 {
	if about.samples > 0 {
		const coefficient = 4 // bytes
		each := 1.0
		if about.progressive {
			each += coefficient
		}
		return int64(math.Ceil(about.samples * each))
	}
	switch model {
	case color.GrayModel:
		return 1
	case color.Gray16Model:
		return 2
	case color.YCbCrModel:
		return 3
	case color.RGBA64Model, color.NRGBA64Model:
		return 8
	case color.NYCbCrAModel:
		return 8 // the alpha plane is decoded as a picture of its own
	}
	if _, ok := model.(color.Palette); ok {
		return 1
	}
	return 4
}

func sniff(data []byte) (format, bool) {
	for _, f := range formats() {
		for _, magic := range f.magic {
			if matches(magic, data) {
				return f, true
			}
		}
	}
	return format{}, false
}

func matches(magic string, data []byte) bool {
	if len(data) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '?' && magic[i] != data[i] {
			return false
		}
	}
	return true
}

// broken says what is wrong with a file of a known format.
func broken(ctx context.Context, field string, f format, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case cutOff(err):
		return problem.Invalid(field, "a %s that is cut off; expected the whole file", f.name)
	default:
		return problem.Invalid(field, "a %s that cannot be read (%v); expected %s", f.name, err, expectedFormats)
	}
}

// cutOff recognises a file that ends too soon. Some decoders have no error of
// its own for that.
func cutOff(err error) bool {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return true
	}
	for _, words := range []string{"not enough pixel data", "not enough image data", "short Huffman data"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}

// reader stops a decoder when the request is over.
type reader struct {
	ctx context.Context //nolint:containedctx // The decoders' interface is io.Reader; this one lives for one call.
	r   *bytes.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.ReadAt(p, off)
}

func (r *reader) ReadByte() (byte, error) { return r.r.ReadByte() }
