package imaging

import (
	"context"
	"errors"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strconv"

	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"github.com/modelserveai/modelserve/problem"
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
	tidy   func(data []byte) (*source, error)
	config func(*reader) (image.Config, error)
	decode func(*reader) (image.Image, error)
	cost   func(*source, image.Config) int64 // bytes that decoding holds
}

func formats() []format {
	return []format{
		{"PNG", []string{pngSignature}, tidyPNG, library(png.DecodeConfig), library(png.Decode), costPNG},
		{"JPEG", []string{"\xff\xd8"}, tidyJPEG, library(jpeg.DecodeConfig), library(jpeg.Decode), costJPEG},
		{"WebP", []string{"RIFF????WEBPVP8"}, tidyWebP, library(webp.DecodeConfig), library(webp.Decode), costWebP},
		{"GIF", []string{"GIF8?a"}, tidyGIF, library(gif.DecodeConfig), library(gif.Decode), costGIF},
		{"BMP", []string{"BM"}, asItIs, configBMP, decodeBMP, costBMP},
		{"TIFF", []string{"II\x2A\x00", "MM\x00\x2A", "II\x2B\x00", "MM\x00\x2B"}, tidyTIFF, library(tiff.DecodeConfig), library(tiff.Decode), costTIFF},
	}
}

// library adapts a decoder of others.
func library[T any](decode func(io.Reader) (T, error)) func(*reader) (T, error) {
	return func(r *reader) (T, error) { return decode(r) }
}

// asItIs is for a decoder that needs no help.
func asItIs(data []byte) (*source, error) {
	s := &source{}
	s.add(data)
	return s, nil
}

// refusal is a kind of picture that is not read here, in words.
type refusal string

func (r refusal) Error() string { return string(r) + ", which is not read here" }

// Decode reads the first picture of an image file, upright by its EXIF
// orientation, with transparency laid over the background that what is drawn
// stands out from: white behind dark pixels, black behind light ones. What a file has beside its picture cannot fail it. Pixels are
// counted, and memory taken from the budget, before anything is allocated for
// them. Errors are problems that name opts.Field: problem.InvalidArgument for a
// file that is no such picture, problem.PayloadTooLarge for too many pixels, and
// whatever opts.Reserve returns.
func Decode(ctx context.Context, data []byte, opts Options) (*Image, error) {
	if len(data) == 0 {
		return nil, problem.Invalid(opts.Field, "empty; expected %s", expectedFormats)
	}
	f, ok := sniff(data)
	if !ok {
		return nil, problem.Invalid(opts.Field, "%v; expected %s", otherFile(data), expectedFormats)
	}
	s, err := f.tidy(data)
	if err == nil && s.torn {
		err = refusal("a " + f.name + " in more than " + strconv.Itoa(maxParts) + " pieces")
	}
	if err != nil {
		return nil, broken(ctx, opts.Field, f, err, false)
	}
	r := newReader(ctx, s)
	cfg, err := f.config(r)
	if err != nil {
		return nil, broken(ctx, opts.Field, f, err, s.cut || r.ended)
	}
	seen := cfg // by the decoder
	if s.config != nil {
		cfg = *s.config
	}
	if err := admit(ctx, f, s, cfg, opts); err != nil {
		return nil, err
	}
	src, err := pixels(ctx, f, s, seen, opts)
	if err != nil {
		return nil, err
	}
	return convert(src, cfg.Width, cfg.Height, s.orientation(), f.name == "WebP"), nil
}

// pixels decodes the picture, which has to be as large as its header says.
func pixels(ctx context.Context, f format, s *source, seen image.Config, opts Options) (image.Image, error) {
	if s.jpeg.restarts {
		if opts.Reserve != nil {
			if err := opts.Reserve(ctx, 4*s.size+int64(seen.Width)*int64(seen.Height)/2); err != nil {
				return nil, err
			}
		}
		if without := unrestarted(ctx, s); without != nil {
			without.cut = s.cut
			s = without
		}
	}
	r := newReader(ctx, s)
	src, err := f.decode(r)
	if refits(err) {
		if opts.Reserve != nil {
			if err := opts.Reserve(ctx, 2*s.size); err != nil {
				return nil, err
			}
		}
		if fitted := refitPNG(ctx, s); fitted != nil {
			src, err = f.decode(newReader(ctx, fitted))
		}
	}
	if err != nil {
		return nil, broken(ctx, opts.Field, f, err, s.cut || r.ended)
	}
	if b := src.Bounds(); f.name != "GIF" && (b.Dx() != seen.Width || b.Dy() != seen.Height) {
		return nil, problem.Invalid(opts.Field, "broken %s: its header says %d×%d pixels, its data %d×%d", f.name, seen.Width, seen.Height, b.Dx(), b.Dy())
	}
	if s.after == nil {
		return src, nil
	}
	if src, err = s.after(src); err != nil {
		return nil, broken(ctx, opts.Field, f, err, false)
	}
	return src, nil
}

// admit holds an image's size against the bounds.
func admit(ctx context.Context, f format, s *source, cfg image.Config, opts Options) error {
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
	if s.jpeg.scans > maxScans {
		return problem.Invalid(opts.Field, "a JPEG of %d scans; expected at most %d", s.jpeg.scans, maxScans)
	}
	if opts.Reserve == nil {
		return nil
	}
	return opts.Reserve(ctx, ownBytes(cfg)+f.cost(s, cfg))
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

// broken is the problem of a file of a known format. Cut is whether it ended
// before its picture did.
func broken(ctx context.Context, field string, f format, err error, cut bool) error {
	var kind refusal
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &kind):
		return problem.Invalid(field, "%v; expected %s", kind, expectedFormats)
	case cut:
		return problem.Invalid(field, "a %s that is cut off; expected the whole file", f.name)
	default:
		return problem.Invalid(field, "a %s that cannot be read (%v); expected %s", f.name, err, expectedFormats)
	}
}
