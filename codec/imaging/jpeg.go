package imaging

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// frame is the header of a JPEG's picture, before the pixels.
type frame struct {
	scans       int
	progressive bool    // so that all coefficients are held at once
	restarts    bool    // in a scan of one component of several
	samples     float64 // per pixel, 1 to 4; 0 if not known

	across, down int  // blocks of 8×8 in an MCU
	converted    bool // the decoder makes another picture of the samples
}

// JPEG's markers (ITU-T T.81, table B.1), each behind 0xff.
const (
	jpegTEM, jpegSOF0, jpegSOF1, jpegSOF2, jpegDHT = 0x01, 0xc0, 0xc1, 0xc2, 0xc4
	jpegRST0, jpegRST7, jpegSOI, jpegEOI, jpegSOS  = 0xd0, 0xd7, 0xd8, 0xd9, 0xda
	jpegDQT, jpegDNL, jpegDRI                      = 0xdb, 0xdc, 0xdd
	jpegAPP0, jpegAPP1, jpegAPP14, jpegAPP15       = 0xe0, 0xe1, 0xee, 0xef
	jpegCOM                                        = 0xfe
)

// jpegFile is a JPEG as far as it was read.
type jpegFile struct {
	*source
	tables, adobe bool // were there
	transform     byte // of Adobe's segment: how the components are made of colours
	components    int
	header        []byte   // of the frame
	interval      bool     // there is one of restarts
	exifs         [][]byte // EXIF, which may go on in further segments
}

// tidyJPEG keeps of a JPEG what its picture is made of, to its end or that of
// the file. As libjpeg does it takes Huffman tables that are not there for the
// standard's own (frames of Motion JPEG), and four components for Adobe's.
func tidyJPEG(data []byte) (*source, error) {
	f := jpegFile{source: &source{}}
	f.add(data[:2])
	rest := data[2:]
	for !f.cut {
		var ok bool
		if rest, ok = nextMarker(rest); !ok {
			f.cut = true
			break
		}
		marker := rest[1]
		if marker == jpegEOI {
			break
		}
		if marker == jpegTEM || marker >= jpegRST0 && marker <= jpegSOI {
			rest = rest[2:] // these have no content
			continue
		}
		if len(rest) < 4 {
			f.cut = true
			break
		}
		size := int64(binary.BigEndian.Uint16(rest[2:]))
		if size < 2 {
			return nil, refusal("a JPEG whose segment " + hexByte(marker) + " has an impossible length")
		}
		segment := f.upTo(rest, 2+size)
		if err := f.take(marker, segment); err != nil {
			return nil, err
		}
		rest = rest[len(segment):]
		if marker == jpegSOS {
			n := scanEnd(rest)
			f.add(rest[:n])
			rest = rest[n:]
		}
	}
	f.add([]byte{0xff, jpegEOI})
	f.exif = bytes.Join(f.exifs, nil)
	return f.source, nil
}

// nextMarker finds the next marker: what begins with it, and with the 0xff
// before it. Bytes that belong to no segment are passed over, as libjpeg does.
func nextMarker(data []byte) ([]byte, bool) {
	for {
		at := bytes.IndexByte(data, 0xff)
		if at < 0 || at+1 == len(data) {
			return nil, false
		}
		data = data[at:]
		if data[1] != 0xff && data[1] != 0 {
			return data, true
		}
		data = data[1:]
	}
}

// scanEnd is where a scan's data ends: at a marker that is no restart.
func scanEnd(data []byte) int {
	for i := 0; ; {
		at := bytes.IndexByte(data[i:], 0xff)
		if at < 0 || i+at+1 >= len(data) {
			return len(data)
		}
		i += at
		if next := data[i+1]; next != 0 && next != 0xff && (next < jpegRST0 || next > jpegRST7) {
			return i
		}
		i++
		if data[i] != 0xff {
			i++
		}
	}
}

// take reads one segment, with its marker and length.
func (f *jpegFile) take(marker byte, segment []byte) error {
	body := segment[4:]
	switch {
	case marker == jpegAPP0 && bytes.HasPrefix(body, []byte("JFIF\x00")) && len(body) >= 14:
		f.add(segment)
	case marker == jpegAPP14 && bytes.HasPrefix(body, []byte("Adobe")) && len(body) >= 12:
		f.adobe, f.transform = true, body[11]
		f.add(segment)
	case marker == jpegAPP1 && f.jpeg.scans == 0: // as in Pillow, which looks no further
		f.metadata(body)
	case marker >= jpegAPP0 && marker <= jpegAPP15, marker == jpegCOM, marker == jpegDNL:
	case marker == jpegSOF0, marker == jpegSOF1, marker == jpegSOF2:
		f.jpeg.progressive = marker == jpegSOF2
		return f.frame(segment)
	case marker == jpegDHT:
		f.tables = true
		f.huffman(segment)
	case marker == jpegSOS:
		return f.scan(segment)
	case marker == jpegDRI:
		f.interval = f.interval || !bytes.Equal(body, []byte{0, 0})
		f.add(segment)
	case marker == jpegDQT:
		f.add(segment)
	default:
		return refusal(jpegFeature(marker))
	}
	return nil
}

// frame takes a frame header (ITU-T T.81, B.2.2).
func (f *jpegFile) frame(segment []byte) error {
	f.header = segment[4:]
	if len(f.header) > 5 {
		if f.header[0] != 8 {
			return refusal("a JPEG of " + strconv.Itoa(int(f.header[0])) + " bits a sample")
		}
		f.components = int(f.header[5])
	}
	factors := factorsOf(f.header)
	f.jpeg.samples = samplesPerPixel(factors)
	if f.jpeg.across, f.jpeg.down = largest(factors); len(factors) == 1 {
		f.jpeg.across, f.jpeg.down = 1, 1
	}
	if !readFactors(factors) {
		return refusal("a JPEG with components sampled " + printedFactors(factors))
	}
	f.add(alone(segment))
	return nil
}

// scan takes a scan header (ITU-T T.81, B.2.3).
func (f *jpegFile) scan(segment []byte) error {
	if f.jpeg.scans++; f.jpeg.scans == 1 {
		f.firstScan()
	}
	if body := segment[4:]; len(body) > 1 && body[0] == 1 && f.components > 1 {
		if _, _, misread := blocksOf(f.header, body[1]); misread {
			return refusal("a JPEG with components sampled " + printedFactors(factorsOf(f.header)) + " in scans of their own")
		}
		f.jpeg.restarts = f.jpeg.restarts || f.interval
	}
	f.add(segment)
	return nil
}

// alone is a frame header in which a single component has one block in an MCU:
// whatever it says, it has (ITU-T T.81, A.2.2).
func alone(segment []byte) []byte {
	const factors, single = 11, 13 // where they are, and the least bytes with them
	if len(segment) < single || segment[9] != 1 {
		return segment
	}
	segment = bytes.Clone(segment)
	segment[factors] = 0x11
	return segment
}

// metadata takes the EXIF or XMP of an APP1 segment.
func (f *jpegFile) metadata(body []byte) {
	const most = 1 << 10 // segments of EXIF: one is 64 kB
	if exif, ok := bytes.CutPrefix(body, []byte(exifHead)); ok && len(exif) > 0 && len(f.exifs) < most {
		f.exifs = append(f.exifs, exif)
	}
	if xmp, ok := bytes.CutPrefix(body, []byte("http://ns.adobe.com/xap/1.0/\x00")); ok {
		f.xmp = xmp
	}
}

// firstScan adds what decoders take for granted and ours does not. Ours takes
// components named R, G and B for these whatever Adobe's segment says, but not
// in a JFIF file.
func (f *jpegFile) firstScan() {
	named := ""
	for _, c := range factorsOf(f.header) {
		named += string(rune(c.name))
	}
	f.jpeg.converted = f.components == 4 || named == "RGB" || f.adobe && f.transform == 0
	if f.components == 3 && f.adobe && f.transform != 0 {
		f.add([]byte("\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"))
	}
	if f.components == 4 && !f.adobe {
		f.add([]byte("\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"))
	}
	if !f.tables && !f.jpeg.progressive {
		f.add(standardTables())
	}
}

// huffman keeps the tables of a DHT segment that have codes: some writers put
// empty ones where none is needed.
func (f *jpegFile) huffman(segment []byte) {
	const head, counts = 4, 17 // of a table: its name, and the codes of each length
	var tables [][]byte
	size, empty := 2, false
	for body := segment[head:]; len(body) > 0; {
		codes := 0
		for _, n := range body[min(1, len(body)):min(counts, len(body))] {
			codes += int(n)
		}
		table := body[:min(counts+codes, len(body))]
		body = body[len(table):]
		if empty = empty || codes == 0; codes > 0 {
			tables = append(tables, table)
			size += len(table)
		}
	}
	if !empty {
		f.add(segment)
		return
	}
	if len(tables) > 0 {
		f.add(binary.BigEndian.AppendUint16([]byte{0xff, jpegDHT}, uint16(size)))
		f.add(tables...)
	}
}

// hexByte writes a marker as JPEG's tables do.
func hexByte(b byte) string { return strconv.FormatUint(uint64(b), 16) }

// jpegFeature names what a marker that we do not read stands for.
func jpegFeature(marker byte) string {
	switch marker {
	case 0xc3, 0xc7, 0xcb, 0xcf:
		return "a lossless JPEG"
	case 0xc5, 0xc6, 0xcd, 0xce, 0xde, 0xdf:
		return "a hierarchical JPEG"
	case 0xc9, 0xca, 0xcc:
		return "a JPEG with arithmetic coding"
	case 0xf7:
		return "a JPEG-LS"
	default:
		return "a JPEG with the unknown segment " + hexByte(marker)
	}
}
