package imaging

import (
	"encoding/binary"
	"image"
	"image/color"
	"slices"
	"strconv"
)

// The tags of a TIFF directory that a picture needs (TIFF 6.0), and their
// values that matter here.
const (
	tiffWidth, tiffHeight, tiffBits, tiffCompression, tiffPhotometric   = 256, 257, 258, 259, 262
	tiffFillOrder, tiffStrips, tiffRowsPerStrip, tiffStripBytes         = 266, 273, 278, 279
	tiffSamples, tiffPlanar, tiffT4, tiffT6, tiffPredictor, tiffColours = 277, 284, 292, 293, 317, 320
	tiffTileWidth, tiffTileHeight, tiffTiles, tiffTileBytes             = 322, 323, 324, 325
	tiffExtra, tiffFormat                                               = 338, 339

	tiffUncompressed, tiffG3, tiffG4                     = 1, 3, 4
	tiffWhiteIsZero, tiffBlackIsZero, tiffRGB            = 0, 1, 2
	tiffPaletteColour, tiffCMYK                          = 3, 5
	tiffPremultiplied, tiffUnassociated, tiffHead        = 1, 2, 8
	tiffSeparatePlanes, tiffDifferences, tiffReverseBits = 2, 2, 2
	tiffT4Rows, tiffT4Fill                               = 1, 4 // bits: rows by the ones above, and filled up
)

// tiffFile is a TIFF's first directory.
type tiffFile struct {
	*source
	data  []byte
	order byteOrder
	tags  map[uint16]entry
}

// tidyTIFF gives a TIFF a directory of the tags that its picture needs, in
// their order, and refuses by name what the decoder does not read. Everything
// else in it cannot fail the rest.
func tidyTIFF(data []byte) (*source, error) {
	t := &tiffFile{source: &source{exif: data}, data: data, order: binary.LittleEndian, tags: map[uint16]entry{}}
	if len(data) < tiffHead {
		t.cut = true
		t.add(data)
		return t.source, nil
	}
	if data[0] == 'M' {
		t.order = binary.BigEndian
	}
	if t.order.Uint16(data[2:]) == 43 {
		return nil, refusal("a BigTIFF")
	}
	at := int64(t.order.Uint32(data[4:]))
	if at+2 > int64(len(data)) || at+2+int64(t.order.Uint16(data[at:]))*entrySize > int64(len(data)) {
		t.cut = true
		t.add(data)
		return t.source, nil
	}
	for _, e := range directory(data, t.order) {
		if _, twice := t.tags[e.tag]; !twice && e.count > 0 {
			t.tags[e.tag] = e
		}
	}
	if e, ok := t.tags[tagXMP]; ok {
		t.xmp = e.data(data, t.order)
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	t.translate()
	t.size()
	t.rewrite()
	return t.source, nil
}

// maxValues bounds the numbers of one tag that are looked at here.
const maxValues = 1 << 18

// values are a tag's numbers, or the one it has when it is not there.
func (t *tiffFile) values(tag uint16, missing ...int) []int {
	e, ok := t.tags[tag]
	if !ok {
		return missing
	}
	data := e.data(t.data, t.order)
	size := int(kindSize(e.kind))
	var out []int
	for ; len(data) >= size && size > 0 && len(out) < min(int(e.count), maxValues); data = data[size:] {
		switch size {
		case 1:
			out = append(out, int(data[0]))
		case 2:
			out = append(out, int(t.order.Uint16(data)))
		case 4:
			out = append(out, int(t.order.Uint32(data)))
		default:
			return missing
		}
	}
	if len(out) == 0 {
		return missing
	}
	return out
}

func (t *tiffFile) value(tag uint16, missing int) int { return t.values(tag, missing)[0] }

// check refuses what is not read.
func (t *tiffFile) check() error {
	compression, photometric := t.value(tiffCompression, tiffUncompressed), t.value(tiffPhotometric, tiffWhiteIsZero)
	depths := t.values(tiffBits, 1)
	switch {
	case unreadCompression(compression) != "":
		return refusal("a TIFF compressed " + unreadCompression(compression))
	case compression == tiffG3 && t.value(tiffT4, 0)&tiffT4Rows != 0:
		return refusal("a TIFF compressed by CCITT Group 3 in two dimensions")
	case compression == tiffG3 && t.value(tiffT4, 0)&tiffT4Fill != 0:
		return refusal("a TIFF compressed by CCITT Group 3 with rows filled up to bytes (T4Options 4)")
	case t.value(tiffPlanar, 1) == tiffSeparatePlanes && t.samples() > 1:
		return refusal("a TIFF in planes of their own (PlanarConfiguration 2)")
	case t.value(tiffFillOrder, 1) == tiffReverseBits && !t.fax():
		return refusal("a TIFF with its bits reversed (FillOrder 2)")
	case photometric > tiffPaletteColour && photometric != tiffCMYK:
		return refusal("a TIFF in " + colourSpace(photometric))
	}
	for _, format := range t.values(tiffFormat, 1) {
		const unsigned, undefined = 1, 4
		if format != unsigned && format != undefined {
			return refusal("a TIFF of samples that are signed or floats (SampleFormat " + strconv.Itoa(format) + ")")
		}
	}
	for _, depth := range depths {
		small := depth == 2 || depth == 4
		switch {
		case depth != depths[0]:
			return refusal("a TIFF of samples that differ in their bits")
		case depth != 1 && !small && depth != 8 && depth != 16,
			depth < 8 && t.samples() > 1, small && t.value(tiffPredictor, 1) == tiffDifferences,
			depth != 8 && photometric == tiffCMYK:
			return refusal("a TIFF of " + strconv.Itoa(depth) + " bits a sample")
		}
	}
	return t.checkSamples(photometric)
}

// checkSamples refuses numbers of samples that are not read.
func (t *tiffFile) checkSamples(photometric int) error {
	samples, most := t.samples(), 1
	switch photometric {
	case tiffRGB, tiffCMYK:
		most = 4
	case tiffWhiteIsZero, tiffBlackIsZero:
		if t.value(tiffBits, 1) == 8 && photometric == tiffBlackIsZero {
			most = 2
		}
	}
	if samples > most {
		return refusal("a TIFF with " + strconv.Itoa(samples) + " samples a pixel in " + colourSpace(photometric))
	}
	return nil
}

// fax reports whether the picture is compressed as fax machines do.
func (t *tiffFile) fax() bool {
	c := t.value(tiffCompression, tiffUncompressed)
	return c == tiffG3 || c == tiffG4
}

// samples is how many a pixel has.
func (t *tiffFile) samples() int { return max(t.value(tiffSamples, 1), len(t.values(tiffBits, 1))) }

func unreadCompression(c int) string {
	switch c {
	case tiffUncompressed, tiffG3, tiffG4, 5, 8, 32773, 32946:
		return ""
	case 2:
		return "by CCITT run lengths (Compression 2)"
	case 6, 7:
		return "as JPEG (Compression " + strconv.Itoa(c) + ")"
	case 34661:
		return "as JBIG"
	case 34712:
		return "as JPEG 2000"
	case 34925:
		return "by LZMA"
	case 50000:
		return "by Zstandard"
	case 50001:
		return "as WebP"
	default:
		return "in a way that is not known (Compression " + strconv.Itoa(c) + ")"
	}
}

func colourSpace(photometric int) string {
	switch photometric {
	case tiffWhiteIsZero, tiffBlackIsZero:
		return "grey"
	case tiffRGB:
		return "RGB"
	case tiffPaletteColour:
		return "a palette's colours"
	case tiffCMYK:
		return "CMYK"
	case 6:
		return "YCbCr"
	case 8, 9, 10:
		return "L*a*b*"
	default:
		return "the colour space " + strconv.Itoa(photometric)
	}
}

// translate brings pictures that the decoder does not know into a form that it
// does, and back once they are decoded.
func (t *tiffFile) translate() {
	photometric, depth, samples := t.value(tiffPhotometric, tiffWhiteIsZero), t.value(tiffBits, 1), t.samples()
	delete(t.tags, tiffFormat)
	t.estimate(depth * samples)
	if t.fax() && photometric == tiffBlackIsZero {
		// The decoder takes a white run for white. It is zeros, which are black
		// where black is zero.
		t.after = inverted
	}
	switch {
	case photometric == tiffCMYK && samples == 4:
		t.set(tiffPhotometric, tiffRGB)
		t.set(tiffExtra, tiffUnassociated)
		t.after = cmykOf
	case photometric == tiffRGB && samples == 4:
		if len(t.values(tiffBits, 1)) < samples {
			t.pack(tiffBits, depth, depth, depth, depth)
		}
		switch extra := t.value(tiffExtra, tiffUnassociated); extra {
		case tiffPremultiplied, tiffUnassociated:
			t.set(tiffExtra, extra)
		default:
			t.set(tiffExtra, tiffUnassociated)
			t.after = opaque
		}
	case photometric == tiffRGB && samples == 3 && len(t.values(tiffBits, 1)) < samples:
		t.pack(tiffBits, depth, depth, depth)
	case depth == 2 || depth == 4 || samples == 2:
		t.asBytes(photometric, depth, samples)
	}
}

// blocksTIFF are the tiles or strips of a TIFF, as its decoder reads them.
type blocksTIFF struct {
	across, down  int // of the picture, in samples
	width, height int // of one, at most
	compression   int
}

// size notes how large the blocks are.
func (t *tiffFile) size() {
	b := blocksTIFF{across: t.value(tiffWidth, 0), down: t.value(tiffHeight, 0), compression: t.value(tiffCompression, tiffUncompressed)}
	if b.width, b.height = t.value(tiffTileWidth, 0), t.value(tiffTileHeight, 0); b.width == 0 {
		b.width, b.height = b.across, b.down
		if rows := t.value(tiffRowsPerStrip, 0); rows > 0 {
			b.height = min(rows, b.down)
		}
	}
	const larger = 1024 // the decoder refuses blocks that are larger than this and the picture
	b.width, b.height = min(b.width, max(b.across+16, larger)), min(b.height, max(b.down+16, larger))
	t.tiff = b
}

// estimate sets how long strips are where the file does not, as libtiff does:
// of the picture's own size, or to the end of the file.
func (t *tiffFile) estimate(bitsPerPixel int) {
	if slices.Max(t.values(tiffStripBytes, 0)) > 0 || t.value(tiffTileWidth, 0) > 0 {
		return
	}
	height := t.value(tiffHeight, 0)
	rows := min(t.value(tiffRowsPerStrip, height), height)
	size := rows * ((t.value(tiffWidth, 0)*bitsPerPixel + 7) / 8)
	var counts []byte
	offsets := t.values(tiffStrips)
	for i, at := range offsets {
		left := max(len(t.data)-at, 0)
		if t.value(tiffCompression, tiffUncompressed) == tiffUncompressed {
			left = min(left, min(size, max(height-i*rows, 0)*size/max(rows, 1)))
		}
		counts = t.order.AppendUint32(counts, uint32(left))
	}
	if len(offsets) > 0 {
		t.put(tiffStripBytes, kindLong, len(offsets), counts)
	}
}

// asBytes has the picture read as one of bytes, and takes the samples out of
// them.
func (t *tiffFile) asBytes(photometric, depth, samples int) {
	p := packed{
		width: t.value(tiffWidth, 0), height: t.value(tiffHeight, 0), depth: depth,
		inverted: photometric == tiffWhiteIsZero, alpha: samples == 2, premultiplied: t.value(tiffExtra, 0) == tiffPremultiplied,
	}
	if photometric == tiffPaletteColour {
		p.palette = paletteTIFF(t.values(tiffColours))
	}
	if t.value(tiffPredictor, 1) == tiffDifferences {
		p.differences = t.value(tiffTileWidth, p.width)
		delete(t.tags, tiffPredictor)
	}
	t.config = &image.Config{Width: p.width, Height: p.height, ColorModel: color.Gray16Model} // its bytes, and the picture's
	if p.alpha {
		t.config.ColorModel = color.RGBA64Model
	}
	t.set(tiffWidth, (p.width*depth*samples+7)/8)
	t.set(tiffBits, 8)
	t.set(tiffPhotometric, tiffBlackIsZero)
	if tile := t.value(tiffTileWidth, 0); tile > 0 {
		t.set(tiffTileWidth, tile*depth*samples/8)
	}
	delete(t.tags, tiffExtra)
	t.after = p.unpack
}

// set gives a tag a number.
func (t *tiffFile) set(tag uint16, value int) {
	t.put(tag, kindLong, 1, t.order.AppendUint32(nil, uint32(value)))
}

// pack gives a tag several small numbers.
func (t *tiffFile) pack(tag uint16, values ...int) {
	var data []byte
	for _, v := range values {
		data = t.order.AppendUint16(data, uint16(v))
	}
	t.put(tag, kindShort, len(values), data)
}

func (t *tiffFile) put(tag, kind uint16, count int, data []byte) {
	t.tags[tag] = entry{tag: tag, kind: kind, count: uint32(count), own: data}
}

// rewrite adds the file with a directory of its own behind it.
func (t *tiffFile) rewrite() {
	var behind []byte
	var entries []byte
	n := 0
	for _, tag := range []uint16{
		tiffWidth, tiffHeight, tiffBits, tiffCompression, tiffPhotometric, tiffFillOrder, tiffStrips, tiffRowsPerStrip, tiffStripBytes,
		tiffT4, tiffT6, tiffPredictor, tiffColours, tiffTileWidth, tiffTileHeight, tiffTiles, tiffTileBytes, tiffExtra,
	} {
		e, ok := t.tags[tag]
		if !ok {
			continue
		}
		kind := e.kind
		switch kind {
		case kindSShort:
			kind = kindShort
		case kindSLong, kindIFD:
			kind = kindLong
		case kindByte, kindShort, kindLong:
		default:
			continue
		}
		entries = t.order.AppendUint16(t.order.AppendUint16(entries, tag), kind)
		switch {
		case e.own == nil:
			entries = append(entries, e.raw[4:]...)
		case len(e.own) <= inPlace:
			entries = append(append(t.order.AppendUint32(entries, e.count), e.own...), make([]byte, inPlace-len(e.own))...)
		default:
			entries = t.order.AppendUint32(t.order.AppendUint32(entries, e.count), uint32(len(t.data)+len(behind)))
			behind = append(behind, e.own...)
		}
		n++
	}
	head := append([]byte(nil), t.data[:tiffHead]...)
	t.order.PutUint32(head[4:], uint32(len(t.data)+len(behind)))
	t.add(head, t.data[tiffHead:], behind, t.order.AppendUint16(nil, uint16(n)), entries, make([]byte, 4))
}

// paletteTIFF is a colour map: all reds, all greens, all blues, of 16 bits.
func paletteTIFF(values []int) color.Palette {
	n := len(values) / 3
	p := make(color.Palette, n)
	for i := range p {
		p[i] = color.NRGBA{R: uint8(values[i] >> 8), G: uint8(values[n+i] >> 8), B: uint8(values[2*n+i] >> 8), A: 255}
	}
	return p
}

// packed is a picture whose samples stand several to a byte, or two of them to
// a pixel.
type packed struct {
	width, height, depth           int
	differences                    int // over how many pixels samples are stored as differences; 0 if they are not
	palette                        color.Palette
	inverted, alpha, premultiplied bool
}

// unpack takes the samples out of a picture of bytes.
func (p *packed) unpack(m image.Image) (image.Image, error) {
	from, ok := m.(*image.Gray)
	if !ok {
		return nil, refusal("a TIFF whose samples do not fit their bits")
	}
	rect := image.Rect(0, 0, p.width, p.height)
	if p.alpha {
		out := image.NewNRGBA(rect)
		for y := range p.height {
			for x := range p.width {
				v := from.Pix[y*from.Stride+2*x:][:2]
				if p.differences > 0 && x%p.differences > 0 {
					last := from.Pix[y*from.Stride+2*x-2:][:2]
					v[0], v[1] = v[0]+last[0], v[1]+last[1]
				}
				c := color.NRGBA{R: v[0], G: v[0], B: v[0], A: v[1]}
				if p.premultiplied {
					c, _ = color.NRGBAModel.Convert(color.RGBA(c)).(color.NRGBA)
				}
				out.SetNRGBA(x, y, c)
			}
		}
		return out, nil
	}
	most := byte(1<<p.depth - 1)
	index := func(x, y int) byte {
		at := x * p.depth
		return from.Pix[y*from.Stride+at/8] >> (8 - p.depth - at%8) & most
	}
	if p.palette != nil {
		out := image.NewPaletted(rect, p.palette)
		for y := range p.height {
			for x := range p.width {
				if out.Pix[y*out.Stride+x] = index(x, y); int(index(x, y)) >= len(p.palette) {
					return nil, refusal("a TIFF with a colour that its palette lacks")
				}
			}
		}
		return out, nil
	}
	out := image.NewGray(rect)
	for y := range p.height {
		for x := range p.width {
			v := index(x, y) * (255 / most)
			if p.inverted {
				v = 255 - v
			}
			out.Pix[y*out.Stride+x] = v
		}
	}
	return out, nil
}

// cmykOf takes four samples for inks.
func cmykOf(m image.Image) (image.Image, error) {
	from, ok := m.(*image.NRGBA)
	if !ok {
		return nil, refusal("a TIFF in CMYK of more than 8 bits")
	}
	return &image.CMYK{Pix: from.Pix, Stride: from.Stride, Rect: from.Rect}, nil
}

// opaque takes the fourth sample for nothing.
func opaque(m image.Image) (image.Image, error) {
	switch m := m.(type) {
	case *image.NRGBA:
		for i := 3; i < len(m.Pix); i += 4 {
			m.Pix[i] = 255
		}
	case *image.NRGBA64:
		for i := 6; i < len(m.Pix); i += 8 {
			m.Pix[i], m.Pix[i+1] = 255, 255
		}
	}
	return m, nil
}

// inverted makes black of white.
func inverted(m image.Image) (image.Image, error) {
	if gray, ok := m.(*image.Gray); ok {
		for i, v := range gray.Pix {
			gray.Pix[i] = 255 - v
		}
	}
	return m, nil
}
