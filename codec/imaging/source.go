package imaging

import (
	"context"
	"image"
	"io"
	"slices"
)

// source is an image file as a decoder gets it: what the decoder needs of it,
// in the order and form that the decoder reads, and what we read ourselves.
type source struct {
	parts [][]byte // of the file, and what was put between
	size  int64    // of all parts
	cut   bool     // the file ends before its picture does
	torn  bool     // there were more than maxParts, and some are missing

	exif, xmp  []byte     // where the orientation is; nil if there is none
	clear      bool       // a grey PNG has a level that is transparent
	interlaced bool       // a PNG is
	jpeg       frame      // of a JPEG
	webp       chunks     // of a WebP
	tiff       blocksTIFF // of a TIFF

	// What the decoder is given is not the picture itself: config is then the
	// picture's, and after makes it of what was decoded.
	config *image.Config
	after  func(image.Image) (image.Image, error)
}

// maxParts bounds what a file of crumbs costs beside its own bytes.
const maxParts = 1 << 16

// add appends parts; none is copied, and neighbours in the file become one.
func (s *source) add(parts ...[]byte) {
	for _, p := range parts {
		if len(p) == 0 {
			continue
		}
		s.size += int64(len(p))
		if n := len(s.parts); n > 0 {
			last := s.parts[n-1]
			if more := last[:cap(last)]; len(more)-len(last) >= len(p) && &more[len(last)] == &p[0] {
				s.parts[n-1] = more[:len(last)+len(p)]
				continue
			}
		}
		if s.torn = len(s.parts) == maxParts; s.torn {
			return
		}
		s.parts = append(s.parts, p)
	}
}

// upTo is data[:end], or all of data that there is: then the file is cut off.
func (s *source) upTo(data []byte, end int64) []byte {
	if end > int64(len(data)) {
		s.cut = true
		return data
	}
	return data[:end]
}

// reader reads a source's parts, and stops a decoder when the request is over.
type reader struct {
	ctx    context.Context //nolint:containedctx // The decoders' interface is io.Reader; this one lives for one call.
	source *source
	starts []int64 // of each part

	part, at int  // the next byte
	ended    bool // somebody read past the end
}

func newReader(ctx context.Context, s *source) *reader {
	r := &reader{ctx: ctx, source: s}
	var start int64
	for _, p := range s.parts {
		r.starts = append(r.starts, start)
		start += int64(len(p))
	}
	return r
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if r.part == len(r.source.parts) {
		r.ended = true
		return 0, io.EOF
	}
	n := copy(p, r.source.parts[r.part][r.at:])
	r.advance(n)
	return n, nil
}

// ReadByte implements io.ByteReader.
func (r *reader) ReadByte() (byte, error) {
	if r.part == len(r.source.parts) {
		r.ended = true
		return 0, io.EOF
	}
	b := r.source.parts[r.part][r.at]
	r.advance(1)
	return b, nil
}

func (r *reader) advance(n int) {
	if r.at += n; r.at == len(r.source.parts[r.part]) {
		r.part, r.at = r.part+1, 0
	}
}

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	part, ok := slices.BinarySearch(r.starts, off)
	if !ok {
		part--
	}
	n := 0
	for off >= 0 && n < len(p) && part >= 0 && part < len(r.source.parts) {
		if at := off + int64(n) - r.starts[part]; at < int64(len(r.source.parts[part])) {
			n += copy(p[n:], r.source.parts[part][at:])
		}
		part++
	}
	if n < len(p) {
		r.ended = true
		return n, io.EOF
	}
	return n, nil
}
