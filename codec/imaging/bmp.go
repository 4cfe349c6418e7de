package imaging

import (
	"encoding/binary"
	"image"
	"image/color"
	"io"
	"math/bits"
	"strconv"
)

// A BMP's headers and codings, from OS/2 1.x to Windows' fifth.
const (
	bmpFileHeader                       = 14
	bmpCore, bmpInfo, bmpMasks, bmpMask = 12, 40, 52, 56 // sizes: of OS/2 1.x, and from which on there are masks, and one of alpha
	bmpRaw, bmpRLE8, bmpRLE4, bmpFields = 0, 1, 2, 3
)

// bmp is a BMP's header.
type bmp struct {
	width, height int
	topDown       bool
	depth         int // bits a pixel
	coding        uint32
	masks         [4]uint32 // of red, green, blue, alpha
	palette       color.Palette
	pixels        int64 // where they begin
}

// configBMP and decodeBMP read BMPs as Pillow does: every header, palettes of
// any length, 16 bits, masks, and run lengths. The first has no alpha but where
// a mask defines it.
func configBMP(r *reader) (image.Config, error) {
	b, err := headBMP(r)
	if err != nil {
		return image.Config{}, err
	}
	c := image.Config{Width: b.width, Height: b.height, ColorModel: color.NRGBAModel}
	if b.palette != nil {
		c.ColorModel = b.palette
	}
	return c, nil
}

func decodeBMP(r *reader) (image.Image, error) {
	b, err := headBMP(r)
	if err != nil {
		return nil, err
	}
	if b.coding == bmpRLE8 || b.coding == bmpRLE4 {
		return b.runs(io.NewSectionReader(r, b.pixels, 1<<62))
	}
	var rows interface {
		image.Image
		row(y int, data []byte)
	}
	rect := image.Rect(0, 0, b.width, b.height)
	if b.palette != nil {
		rows = &palettedBMP{image.NewPaletted(rect, b.palette), b}
	} else {
		rows = &colourBMP{image.NewNRGBA(rect), b}
	}
	const align = 32
	data := make([]byte, (b.width*b.depth+align-1)/align*align/8)
	for i := range b.height {
		if _, err := r.ReadAt(data, b.pixels+int64(i)*int64(len(data))); err != nil {
			// The last row's padding is not always there.
			if last := (b.width*b.depth + 7) / 8; i+1 < b.height || !b.tail(r, data[:last], i, len(data)) {
				return nil, err
			}
		}
		y := b.height - 1 - i
		if b.topDown {
			y = i
		}
		rows.row(y, data)
	}
	if p, ok := rows.(*palettedBMP); ok {
		return p.Paletted, nil
	}
	return rows.(*colourBMP).NRGBA, nil //nolint:forcetypeassert // one of the two above
}

// tail reads row i without its padding.
func (b *bmp) tail(r *reader, data []byte, i, stride int) bool {
	_, err := r.ReadAt(data, b.pixels+int64(i)*int64(stride))
	return err == nil
}

// headBMP reads the header and what belongs to it.
func headBMP(r *reader) (*bmp, error) {
	le := binary.LittleEndian
	var buf [bmpFileHeader + 124]byte
	n, err := r.ReadAt(buf[:], 0)
	if n < bmpFileHeader+4 {
		return nil, err
	}
	size := int(le.Uint32(buf[bmpFileHeader:]))
	switch size {
	case bmpCore, bmpInfo, bmpMasks, bmpMask, 64, 108, 124:
	default:
		return nil, refusal("a BMP with a header of " + strconv.Itoa(size) + " bytes")
	}
	if n < bmpFileHeader+size {
		return nil, err
	}
	h := buf[bmpFileHeader : bmpFileHeader+size]
	b := &bmp{pixels: int64(le.Uint32(buf[10:]))}
	colours, each := 0, 4
	if size == bmpCore {
		b.width, b.height, b.depth, each = int(le.Uint16(h[4:])), int(le.Uint16(h[6:])), int(le.Uint16(h[10:])), 3
	} else {
		b.width, b.height, b.depth = int(int32(le.Uint32(h[4:]))), int(int32(le.Uint32(h[8:]))), int(le.Uint16(h[14:]))
		if b.topDown = b.height < 0; b.topDown {
			b.height = -b.height
		}
		b.coding, colours = le.Uint32(h[16:]), int(min(le.Uint32(h[32:]), 1<<16))
	}
	if err := b.checkCoding(size); err != nil {
		return nil, err
	}
	behind := int64(bmpFileHeader + size)
	if b.depth > 8 {
		return b, b.readMasks(r, h, behind)
	}
	return b, b.readPalette(r, behind, colours, each)
}

// checkCoding refuses what is not read.
func (b *bmp) checkCoding(size int) error {
	runs := b.coding == bmpRLE8 && b.depth == 8 || b.coding == bmpRLE4 && b.depth == 4
	fields := b.coding == bmpFields && (b.depth == 16 || b.depth == 32) && size != 64
	switch {
	case b.depth != 1 && b.depth != 2 && b.depth != 4 && b.depth != 8 && b.depth != 16 && b.depth != 24 && b.depth != 32:
		return refusal("a BMP of " + strconv.Itoa(b.depth) + " bits a pixel")
	case b.coding != bmpRaw && !runs && !fields:
		return refusal("a BMP with compression " + strconv.FormatUint(uint64(b.coding), 10) + " at " + strconv.Itoa(b.depth) + " bits a pixel")
	case b.width < 0 || b.height < 0:
		return refusal("a BMP of negative width")
	default:
		return nil
	}
}

// readMasks takes the masks that the header has, or that stand behind it.
func (b *bmp) readMasks(r *reader, h []byte, behind int64) error {
	le := binary.LittleEndian
	b.masks = [4]uint32{0xff0000, 0xff00, 0xff, 0}
	if b.depth == 16 {
		b.masks = [4]uint32{0x7c00, 0x03e0, 0x001f, 0}
	}
	if b.coding != bmpFields {
		return nil
	}
	const place = 40
	masks := make([]byte, 12, 16)
	switch {
	case len(h) >= bmpMask:
		masks = h[place : place+16]
	case len(h) >= bmpMasks:
		masks = h[place : place+12]
	default:
		if _, err := r.ReadAt(masks, behind); err != nil {
			return err
		}
	}
	given := [4]uint32{}
	for i := range len(masks) / 4 {
		given[i] = le.Uint32(masks[4*i:])
	}
	if given != [4]uint32{} { // as in Pillow, none means the usual ones
		b.masks = given
	}
	return nil
}

// readPalette takes the palette, and the pixels' place from it where the header
// has none. Colours that it lacks are black.
func (b *bmp) readPalette(r *reader, behind int64, colours, each int) error {
	most := 1 << b.depth
	if colours == 0 {
		colours = most
	}
	if b.pixels == behind {
		b.pixels += int64(colours * each)
	}
	data := make([]byte, min(colours, most)*each)
	// A palette may run into the pixels, or be cut short by the end.
	n, err := r.ReadAt(data, behind)
	if n < len(data) {
		return err
	}
	b.palette = make(color.Palette, most)
	for i := range b.palette {
		b.palette[i] = color.NRGBA{A: 255}
		if at := i * each; at+3 <= len(data) {
			b.palette[i] = color.NRGBA{R: data[at+2], G: data[at+1], B: data[at], A: 255}
		}
	}
	return nil
}

type palettedBMP struct {
	*image.Paletted
	head *bmp
}

func (p *palettedBMP) row(y int, data []byte) {
	depth := p.head.depth
	mask := byte(1<<depth - 1)
	for x := range p.head.width {
		at := x * depth
		p.Pix[y*p.Stride+x] = data[at/8] >> (8 - depth - at%8) & mask
	}
}

type colourBMP struct {
	*image.NRGBA
	head *bmp
}

func (c *colourBMP) row(y int, data []byte) {
	b := c.head
	width := b.depth / 8
	for x := range b.width {
		out, in := c.Pix[y*c.Stride+4*x:][:4], data[x*width:][:width]
		if width == 3 {
			out[0], out[1], out[2], out[3] = in[2], in[1], in[0], 255
			continue
		}
		v := uint32(in[0]) | uint32(in[1])<<8
		if width == 4 {
			v |= uint32(in[2])<<16 | uint32(in[3])<<24
		}
		for i, mask := range b.masks {
			out[i] = masked(v, mask)
		}
		if b.masks[3] == 0 {
			out[3] = 255
		}
	}
}

// masked is the bits under a mask, brought to eight.
func masked(v, mask uint32) uint8 {
	if mask == 0 {
		return 0
	}
	shift := bits.TrailingZeros32(mask)
	return uint8(uint64(v&mask>>shift<<shift) >> shift * 255 / uint64(mask>>shift))
}

// runs decodes run lengths. Pixels that are left out are the first colour.
func (b *bmp) runs(section io.Reader) (image.Image, error) {
	m := image.NewPaletted(image.Rect(0, 0, b.width, b.height), b.palette)
	r := byteReader{r: section}
	x, y := 0, 0
	put := func(index byte) {
		if x < b.width && y < b.height {
			line := b.height - 1 - y
			if b.topDown {
				line = y
			}
			m.Pix[line*m.Stride+x] = index
		}
		x++
	}
	for y < b.height {
		n, v := int(r.next()), r.next()
		if r.err != nil {
			return nil, r.err
		}
		if n > 0 {
			for i := range min(n, b.width-min(x, b.width)) {
				put(b.nibble(v, i))
			}
			continue
		}
		switch v {
		case 0: // end of a row
			x, y = 0, y+1
		case 1: // end of the picture
			return m, nil
		case 2: // a step
			x += int(r.next())
			y += int(r.next())
		default: // as they are, padded to 16 bits
			bytes := int(v)
			if b.depth == 4 {
				bytes = (int(v) + 1) / 2
			}
			var each byte
			for i := range int(v) {
				if b.depth == 8 || i%2 == 0 {
					each = r.next()
				}
				put(b.nibble(each, i))
			}
			if bytes%2 == 1 {
				r.next()
			}
		}
	}
	return m, r.err
}

// nibble is pixel i of a byte: all of it, or by turns its high and its low half.
func (b *bmp) nibble(v byte, i int) byte {
	switch {
	case b.depth == 8:
		return v
	case i%2 == 0:
		return v >> 4
	default:
		return v & 15
	}
}

// byteReader reads single bytes until there is an error.
type byteReader struct {
	r   io.Reader
	buf [1]byte
	err error
}

func (b *byteReader) next() byte {
	if b.err == nil {
		_, b.err = io.ReadFull(b.r, b.buf[:])
	}
	if b.err != nil {
		return 0
	}
	return b.buf[0]
}
