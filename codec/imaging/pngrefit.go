package imaging

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"image/png"
	"io"
	"strings"
)

// refits reports whether an error is about how a PNG's stream of pixels ends:
// libpng and Pillow take as many as the picture needs, and look no further.
func refits(err error) bool {
	var broken png.FormatError
	return errors.As(err, &broken) && strings.HasSuffix(string(broken), "pixel data")
}

// refitPNG gives a tidied PNG just the pixels that it needs; nil if it has
// fewer, or the request is over. It holds the file twice more.
func refitPNG(ctx context.Context, s *source) *source {
	out := &source{}
	whole := bytes.Join(s.parts, nil)
	out.add(whole[:len(pngSignature)])
	var pixels []io.Reader
	var header []byte
	for rest := whole[len(pngSignature):]; len(rest) >= 12; {
		size := int64(binary.BigEndian.Uint32(rest)) + 12
		if size > int64(len(rest)) {
			return nil
		}
		switch kind, body := string(rest[4:8]), rest[8:size-4]; kind {
		case "IDAT":
			pixels = append(pixels, bytes.NewReader(body))
		case "IHDR":
			header = body
			out.add(rest[:size])
		case "IEND":
		default:
			out.add(rest[:size])
		}
		rest = rest[size:]
	}
	if len(header) != pngHeader {
		return nil
	}
	r, err := zlib.NewReader(io.MultiReader(pixels...))
	if err != nil {
		return nil
	}
	var fitted bytes.Buffer
	w, err := zlib.NewWriterLevel(&fitted, zlib.BestSpeed)
	if err != nil {
		return nil
	}
	const atOnce = 1 << 20 // bytes between two looks at the request
	for left := rawPNG(header); left > 0; left -= atOnce {
		if _, err := io.CopyN(w, r, min(left, atOnce)); err != nil || ctx.Err() != nil {
			return nil
		}
	}
	if w.Close() != nil {
		return nil
	}
	out.add(chunkPNG("IDAT", fitted.Bytes()), chunkPNG("IEND", nil))
	return out
}

// rawPNG is how many bytes a picture's rows are before they are deflated, with
// one for each row's filter (PNG 3, sections 7 and 8).
func rawPNG(header []byte) int64 {
	const interlace = 12
	width, height := int64(binary.BigEndian.Uint32(header)), int64(binary.BigEndian.Uint32(header[4:]))
	samples := map[byte]int64{pngGray: 1, pngTrueColour: 3, pngPalette: 1, 4: 2, 6: 4}[header[pngColour]]
	rows := func(w, h int64) int64 {
		if w <= 0 || h <= 0 {
			return 0
		}
		return h * (1 + (w*samples*int64(header[pngDepth])+7)/8)
	}
	if header[interlace] == 0 {
		return rows(width, height)
	}
	var sum int64
	for _, pass := range [...]struct{ x, y, dx, dy int64 }{ // Adam7
		{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2},
	} {
		sum += rows((width-pass.x+pass.dx-1)/pass.dx, (height-pass.y+pass.dy-1)/pass.dy)
	}
	return sum
}
