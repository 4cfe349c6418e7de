package imaging

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"io"
)

// maxText bounds an inflated text chunk, as Pillow does.
const maxText = 1 << 20

// The chunks that a PNG's picture is made of (PNG 3, section 11).
const pngSignature = "\x89PNG\r\n\x1a\n"

// tidyPNG keeps of a PNG what its picture is made of. An error in any other
// chunk, or a checksum of one, is passed over (PNG 3, section 13.1), and so is
// what follows the picture.
func tidyPNG(data []byte) (*source, error) {
	s := &source{}
	s.add(data[:len(pngSignature)])
	p := pngFile{source: s}
	for rest := data[len(pngSignature):]; ; {
		const head, tail = 8, 4 // length and type; checksum
		if len(rest) < head {
			s.cut = true
			break
		}
		size := int64(binary.BigEndian.Uint32(rest))
		whole := s.upTo(rest, head+size+tail)
		kind, body := string(rest[4:head]), whole[head:min(head+size, int64(len(whole)))]
		if kind == "IEND" {
			break
		}
		sound := !s.cut && crc32.ChecksumIEEE(whole[4:head+size]) == binary.BigEndian.Uint32(whole[head+size:])
		if err := p.take(kind, body, whole, sound); err != nil {
			return nil, err
		}
		if s.cut {
			break
		}
		rest = rest[len(whole):]
	}
	if !p.stored && !s.cut {
		return nil, refusal("a PNG without pixels")
	}
	s.add(chunkPNG("IEND", nil))
	s.xmp = p.packet.text()
	if s.exif == nil {
		s.exif = rawProfile(p.profile.text())
	}
	return s, nil
}

// pngFile is a PNG as far as it was read.
type pngFile struct {
	*source
	header  []byte  // IHDR's fields
	colours int     // of the palette
	pixels  bool    // IDAT has begun
	stored  bool    // and not all of it is empty
	packet  textPNG // of XMP
	profile textPNG // EXIF as ImageMagick writes it
}

// Of IHDR: where fields are, and colour types.
const (
	pngDepth, pngColour, pngInterlace         = 8, 9, 12
	pngHeader                                 = 13
	pngGray, pngTrueColour, pngPalette        = 0, 2, 3
	pngPaletteEntry, pngGrayKey, pngColourKey = 3, 2, 6
)

// take reads one chunk. Whole is the chunk with its head and tail; sound is whether
// its checksum is right.
func (p *pngFile) take(kind string, body, whole []byte, sound bool) error {
	switch kind {
	case "CgBI":
		return refusal("a PNG that Apple's tools have changed (CgBI)")
	case "IHDR":
		p.interlaced = p.interlaced || len(body) == pngHeader && body[pngInterlace] != 0
		if p.header == nil && len(body) == pngHeader {
			p.header = body
		}
		p.add(whole)
	case "PLTE":
		p.palette(body, whole)
	case "tRNS":
		if sound && p.transparency(body) {
			p.add(whole)
			p.clear = p.header[pngColour] == pngGray
		}
	case "IDAT":
		p.pixels = true
		if len(body) == 0 {
			return nil
		}
		p.stored = true
		if p.cut { // what there is of it may be all that is needed
			p.add(chunkPNG(kind, body))
			return nil
		}
		p.add(whole)
	case "eXIf":
		if sound {
			p.exif = body
		}
	case "iTXt", "zTXt", "tEXt":
		if sound {
			p.text(kind, body)
		}
	default:
		const ancillary = 0x20 // the first letter is small
		if kind[0]&ancillary == 0 {
			return refusal("a PNG with a chunk that is needed and not known (" + printable(kind) + ")")
		}
	}
	return nil
}

// palette keeps a palette where the picture has one, and no more of it than
// the picture's depth allows.
func (p *pngFile) palette(body, whole []byte) {
	if p.header == nil || p.header[pngColour] != pngPalette || p.colours > 0 || p.pixels {
		return
	}
	p.colours = len(body) / pngPaletteEntry
	if most := 1 << min(p.header[pngDepth], 8); p.colours > most {
		p.colours = most
		p.add(chunkPNG("PLTE", body[:most*pngPaletteEntry]))
		return
	}
	p.add(whole)
}

// transparency reports whether a tRNS chunk fits the picture.
func (p *pngFile) transparency(body []byte) bool {
	if p.header == nil || p.pixels {
		return false
	}
	switch p.header[pngColour] {
	case pngGray:
		return len(body) == pngGrayKey
	case pngTrueColour:
		return len(body) == pngColourKey
	case pngPalette:
		return len(body) > 0 && len(body) <= p.colours
	default:
		return false
	}
}

// textPNG is a text chunk's value, perhaps compressed.
type textPNG struct {
	value      []byte
	compressed bool
}

// text is the value, or nothing.
func (t textPNG) text() []byte {
	if t.compressed {
		return inflate(t.value)
	}
	return t.value
}

// text keeps the text chunks that may hold an orientation: the last of each, of
// whatever kind, as Pillow does.
func (p *pngFile) text(kind string, body []byte) {
	key, value, ok := bytes.Cut(body, []byte{0})
	if !ok {
		return
	}
	text := textPNG{value: value}
	switch {
	case kind == "zTXt" && len(value) > 1:
		text = textPNG{value[1:], true}
	case kind == "iTXt" && len(value) > 2:
		text.compressed = value[0] != 0
		_, value, _ = bytes.Cut(value[2:], []byte{0})  // the language
		_, text.value, _ = bytes.Cut(value, []byte{0}) // the translated key
	case kind != "tEXt":
		return
	}
	switch string(key) {
	case "XML:com.adobe.xmp":
		p.packet = text
	case "Raw profile type exif":
		p.profile = text
	}
}

// rawProfile is the bytes of a profile that ImageMagick wrote: an empty line,
// its name, its length, and lines of hexadecimal.
func rawProfile(text []byte) []byte {
	const headLines = 3
	lines := bytes.Split(text, []byte("\n"))
	if len(lines) <= headLines {
		return nil
	}
	digits := bytes.Join(lines[headLines:], nil)
	profile := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(profile, digits); err != nil {
		return nil
	}
	return profile
}

// inflate is what a zlib stream holds, or nothing.
func inflate(data []byte) []byte {
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	out, err := io.ReadAll(io.LimitReader(r, maxText))
	if err != nil {
		return nil
	}
	return out
}

// chunkPNG makes a chunk.
func chunkPNG(kind string, body []byte) []byte {
	b := make([]byte, 0, len(body)+12)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(append(b, kind...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// printable is four bytes of a file as an error may show them.
func printable(name string) string {
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' {
			return hex.EncodeToString([]byte(name))
		}
	}
	return name
}
