package imaging

import "encoding/binary"

// WebP's container (RFC 9649): its head, a chunk's, and the flag of VP8X.
const (
	riffHead, riffChunk = 12, 8
	webpAlpha           = 0x10
)

// chunks are the sizes of a WebP's, in bytes.
type chunks struct {
	pixels, alpha int64
	lossless      bool
}

// tidyWebP keeps of a WebP what its picture is made of. Profiles, chunks that
// are not known and what follows the picture are passed over, and transparency
// is there where its chunk is, whatever the header says.
func tidyWebP(data []byte) (*source, error) {
	s := &source{}
	var canvas, alpha, pixels []byte
	for at := int64(riffHead); at+riffChunk <= int64(len(data)); {
		size := int64(binary.LittleEndian.Uint32(data[at+4:]))
		end := min(at+riffChunk+size, int64(len(data)))
		chunk := data[at:end]
		switch kind := string(chunk[:4]); kind {
		case "VP8X":
			canvas = chunk
		case "ALPH":
			if alpha == nil && pixels == nil {
				alpha = chunk
			}
		case "VP8 ", "VP8L":
			if pixels == nil {
				pixels, s.cut = chunk, at+riffChunk+size > int64(len(data))
			}
		case "ANIM", "ANMF":
			return nil, refusal("an animated WebP")
		case "EXIF":
			s.exif = chunk[riffChunk:]
		case "XMP ":
			s.xmp = chunk[riffChunk:]
		}
		at += riffChunk + size + size&1
	}
	if pixels == nil {
		s.cut = true
		s.add(data)
		return s, nil
	}
	s.containWebP(canvas, alpha, pixels)
	return s, nil
}

// containWebP adds a container of these chunks.
func (s *source) containWebP(canvas, alpha, pixels []byte) {
	const flags = riffChunk // where they are in VP8X
	lossy := pixels[3] == ' '
	if !lossy {
		alpha = nil // it is in the pixels
	}
	if len(canvas) > flags {
		canvas = append([]byte(nil), canvas...)
		if canvas[flags] |= webpAlpha; lossy && alpha == nil {
			canvas[flags] &^= webpAlpha
		}
	} else {
		canvas, alpha = nil, nil
	}
	s.webp = chunks{pixels: int64(len(pixels)), alpha: int64(len(alpha)), lossless: !lossy}
	head := []byte("RIFF____WEBP")
	s.add(head)
	for _, chunk := range [][]byte{canvas, alpha, pixels} {
		s.add(chunk, make([]byte, len(chunk)&1))
	}
	binary.LittleEndian.PutUint32(head[4:], uint32(s.size-riffChunk))
}
