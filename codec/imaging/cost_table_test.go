package imaging_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/image/tiff"

	"github.com/modelserveai/modelserve/codec/imaging"
)

// The size of the tables' pictures: no power of two, and no whole number of blocks.
const tableWidth, tableHeight = 503, 497

// kind is a picture of a format's kinds, which a decoder of others reads.
type kind struct {
	data    []byte
	decode  func(io.Reader) (image.Image, error) // nil: our own
	garbage int64                                // bytes that it allocates and does not hold
}

func chunkOf(name string, body []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	out = append(append(out, name...), body...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

// zeros is so many bytes, deflated.
func zeros(t *testing.T, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	_, err := z.Write(make([]byte, n))
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sizePNG is the bytes of a PNG's rows, in passes (Adam7) or not.
func sizePNG(bits int, passes byte) int {
	if passes == 0 {
		return tableHeight * (1 + (tableWidth*bits+7)/8)
	}
	size := 0
	for _, p := range [][4]int{{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}} {
		w, h := (tableWidth-p[0]+p[2]-1)/p[2], (tableHeight-p[1]+p[3]-1)/p[3]
		size += h * (1 + (w*bits+7)/8)
	}
	return size
}

// kindsPNG are all colour types and depths (PNG 3, 11.2.1), in passes and not, each with
// transparency and without.
func kindsPNG(t *testing.T) map[string]kind {
	t.Helper()
	kinds := map[string]kind{}
	for colour, depths := range map[byte][]byte{0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}} {
		samples := map[byte]int{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
		key := map[byte]int{0: 2, 2: 6, 3: 2}[colour] // bytes of tRNS
		for _, depth := range depths {
			for _, passes := range []byte{0, 1} {
				head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, tableWidth), tableHeight)
				begin := append([]byte("\x89PNG\r\n\x1a\n"), chunkOf("IHDR", append(head, depth, colour, 0, 0, passes))...)
				if colour == 3 {
					begin = append(begin, chunkOf("PLTE", make([]byte, 6))...)
				}
				end := append(chunkOf("IDAT", zeros(t, sizePNG(samples*int(depth), passes))), chunkOf("IEND", nil)...)
				name := fmt.Sprintf("PNG, colour %d, depth %d, passes %d", colour, depth, passes)
				kinds[name] = kind{data: bytes.Join([][]byte{begin, end}, nil), decode: png.Decode}
				if key > 0 {
					kinds[name+", tRNS"] = kind{data: bytes.Join([][]byte{begin, chunkOf("tRNS", make([]byte, key)), end}, nil), decode: png.Decode}
				}
			}
		}
	}
	return kinds
}

// kindsJPEG are samplings of one, three and four components, baseline and progressive,
// that end where their decoder has taken what it needs.
func kindsJPEG() map[string]kind {
	kinds := map[string]kind{}
	for components, samplings := range map[int][]byte{
		1: {0x11, 0x21, 0x12, 0x22, 0x41, 0x42, 0x14, 0x44}, 3: {0x11, 0x21, 0x12, 0x22, 0x41, 0x42}, 4: {0x11, 0x22},
	} { // all that are read
		for _, first := range samplings {
			for frame, name := range map[byte]string{0xc0: "baseline", 0xc2: "progressive"} {
				sof := []byte{8, tableHeight >> 8, tableHeight & 0xff, tableWidth >> 8, tableWidth & 0xff, byte(components)}
				sos := []byte{byte(components)}
				for i := range components {
					sampling := byte(0x11)
					if i == 0 || i == 3 { // that of black is as that of cyan
						sampling = first
					}
					sof = append(sof, byte(i+1), sampling, 0)
					sos = append(sos, byte(i+1), 0)
				}
				last := byte(63)
				if frame == 0xc2 {
					last = 0 // of a scan of all components
				}
				data := []byte("\xff\xd8")
				for _, segment := range []struct {
					marker byte
					body   []byte
				}{{frame, sof}, {0xda, append(sos, 0, last, 0)}} {
					data = binary.BigEndian.AppendUint16(append(data, 0xff, segment.marker), uint16(2+len(segment.body)))
					data = append(data, segment.body...)
				}
				kinds[fmt.Sprintf("JPEG, %d components, %#x, %s", components, first, name)] = kind{data: append(data, 0), decode: jpeg.Decode}
			}
		}
	}
	return kinds
}

// tagTIFF is an entry of a TIFF's directory.
type tagTIFF struct {
	tag    uint16
	values []uint32
}

// fileTIFF is a TIFF of a block, which is at 8.
func fileTIFF(block []byte, tags []tagTIFF) []byte {
	le := binary.LittleEndian
	head := append(le.AppendUint32([]byte("II*\x00"), uint32(8+len(block))), block...)
	at := len(head) + 2 + 12*len(tags) + 4
	directory := le.AppendUint16(nil, uint16(len(tags)))
	var behind []byte
	for _, tag := range tags {
		directory = le.AppendUint16(le.AppendUint16(directory, tag.tag), 4)
		directory = le.AppendUint32(directory, uint32(len(tag.values)))
		if len(tag.values) == 1 {
			directory = le.AppendUint32(directory, tag.values[0])
			continue
		}
		directory = le.AppendUint32(directory, uint32(at+len(behind)))
		for _, v := range tag.values {
			behind = le.AppendUint32(behind, v)
		}
	}
	return bytes.Join([][]byte{head, directory, {0, 0, 0, 0}, behind}, nil)
}

// kindTIFF is of blocks of w×h pixels that are all the same.
func kindTIFF(t *testing.T, bits, samples, photometric, compression, w, h int, tiles bool) kind {
	t.Helper()
	plain := h * ((w*bits*samples + 7) / 8)
	block := make([]byte, plain)
	blocks := (tableWidth + w - 1) / w * ((tableHeight + h - 1) / h)
	const unpacker = 64 << 10
	garbage := blocks * plain
	if compression != 1 {
		block = zeros(t, plain)
		garbage = blocks*unpacker + 2*plain // one for each block, and smaller buffers
	}
	places, sizes, depths := make([]uint32, blocks), make([]uint32, blocks), make([]uint32, samples)
	for i := range places {
		places[i], sizes[i] = 8, uint32(len(block))
	}
	for i := range depths {
		depths[i] = uint32(bits)
	}
	one := func(v int) []uint32 { return []uint32{uint32(v)} }
	tags := []tagTIFF{{256, one(tableWidth)}, {257, one(tableHeight)}, {258, depths}, {259, one(compression)}, {262, one(photometric)}}
	if tiles {
		tags = append(tags, tagTIFF{277, one(samples)}, tagTIFF{322, one(w)}, tagTIFF{323, one(h)}, tagTIFF{324, places}, tagTIFF{325, sizes})
	} else {
		tags = append(tags, tagTIFF{273, places}, tagTIFF{277, one(samples)}, tagTIFF{278, one(h)}, tagTIFF{279, sizes})
	}
	if samples == 4 {
		tags = append(tags, tagTIFF{338, one(2)})
	}
	return kind{data: fileTIFF(block, tags), decode: tiff.Decode, garbage: int64(garbage)}
}

// kindsTIFF are depths and samples, in one strip, in several, and in tiles, compressed and
// not.
func kindsTIFF(t *testing.T) map[string]kind {
	t.Helper()
	kinds := map[string]kind{}
	for _, of := range []struct{ bits, samples, photometric int }{{1, 1, 1}, {8, 1, 1}, {16, 1, 1}, {8, 3, 2}, {16, 3, 2}, {8, 4, 2}, {16, 4, 2}} {
		for _, compression := range []int{1, 8} {
			name := fmt.Sprintf("TIFF, %d×%d bits, compression %d", of.samples, of.bits, compression)
			kinds[name+", a strip"] = kindTIFF(t, of.bits, of.samples, of.photometric, compression, tableWidth, tableHeight, false)
			kinds[name+", strips"] = kindTIFF(t, of.bits, of.samples, of.photometric, compression, tableWidth, 64, false)
			kinds[name+", tiles"] = kindTIFF(t, of.bits, of.samples, of.photometric, compression, 256, 256, true)
		}
	}
	return kinds
}

// kindsGIF are one in order, and an interlaced one.
func kindsGIF(t *testing.T) map[string]kind {
	t.Helper()
	var plain bytes.Buffer
	if err := gif.Encode(&plain, image.NewPaletted(image.Rect(0, 0, tableWidth, tableHeight), color.Palette{color.Black, color.White}), nil); err != nil {
		t.Fatal(err)
	}
	passes := bytes.Clone(plain.Bytes())
	const interlaced = 0x40
	passes[bytes.IndexByte(passes, ',')+9] |= interlaced // of the image's descriptor
	return map[string]kind{"GIF": {data: plain.Bytes(), decode: gif.Decode}, "GIF, in passes": {data: passes, decode: gif.Decode}}
}

// kindsBMP are all depths.
func kindsBMP() map[string]kind {
	kinds := map[string]kind{}
	le := binary.LittleEndian
	for _, depth := range []int{1, 2, 4, 8, 16, 24, 32} {
		colours := 0
		if depth <= 8 {
			colours = 1 << depth
		}
		begin := 54 + 4*colours
		rows := tableHeight * ((tableWidth*depth + 31) / 32 * 4)
		data := le.AppendUint32(le.AppendUint32(le.AppendUint32([]byte("BM"), uint32(begin+rows)), 0), uint32(begin))
		data = le.AppendUint32(le.AppendUint32(le.AppendUint32(data, 40), tableWidth), tableHeight)
		data = append(le.AppendUint16(le.AppendUint16(data, 1), uint16(depth)), make([]byte, 24+4*colours+rows)...)
		kinds[fmt.Sprintf("BMP, %d bits", depth)] = kind{data: data}
	}
	return kinds
}

// TestEachKindTakesWhatIsReserved holds, for each kind of a format's pictures, what its
// decoder allocates against what is reserved for that: beside our copy of the picture,
// where the decoder is another's.
func TestEachKindTakesWhatIsReserved(t *testing.T) { //nolint:paralleltest // it measures what the process allocates
	for _, kinds := range []map[string]kind{kindsPNG(t), kindsJPEG(), kindsTIFF(t), kindsGIF(t), kindsBMP()} {
		for name, k := range kinds {
			t.Run(name, func(t *testing.T) {
				var reserved int64
				enough := errors.New("enough")
				options := imaging.Options{Field: "image", Reserve: func(_ context.Context, n int64) error {
					reserved += n
					return enough
				}}
				if _, err := imaging.Decode(t.Context(), k.data, options); !errors.Is(err, enough) {
					t.Fatal(err)
				}
				if k.decode == nil {
					k.decode = func(io.Reader) (image.Image, error) {
						_, err := imaging.Decode(t.Context(), k.data, imaging.Options{Field: "image"})
						return nil, err
					}
				} else {
					reserved -= 3*tableWidth*tableHeight + 16*tableWidth
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := k.decode(bytes.NewReader(k.data))
				runtime.ReadMemStats(&after)
				if cut := strings.HasPrefix(name, "JPEG"); err != nil && !cut {
					t.Fatal(err)
				}
				const small = 64 << 10
				if took := int64(after.TotalAlloc - before.TotalAlloc); took > raced*(reserved+k.garbage+small) {
					t.Errorf("%d bytes were allocated, %d reserved", took, reserved)
				}
			})
		}
	}
}
