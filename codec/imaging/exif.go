package imaging

import (
	"bytes"
	"encoding/binary"
	"math"
)

// exifHead precedes EXIF's TIFF structure in a JPEG, and sometimes elsewhere.
const exifHead = "Exif\x00\x00"

// upright is the orientation of a picture that has none in its file.
const upright = 1

// orientation is how the picture is to be turned, 1 to 8, by its EXIF (CIPA
// DC-008, tag 0x0112) or else its XMP, as Pillow's exif_transpose reads them:
// a value that is none of these, or of no number's type, is upright.
func (s *source) orientation() int {
	value, found := exifOrientation(s.exif)
	if !found {
		value = xmpOrientation(s.xmp)
	}
	if value < 1 || value > 8 {
		return upright
	}
	return value
}

// exifOrientation reads tag 0x0112 of the first directory of a TIFF structure.
// It is found with the value 0 where the value is no whole number.
func exifOrientation(exif []byte) (value int, found bool) {
	for range 2 { // some writers put the head there twice
		exif = bytes.TrimPrefix(exif, []byte(exifHead))
	}
	if len(exif) < 8 {
		return 0, false
	}
	order, ok := orderOf(exif)
	if !ok {
		return 0, false
	}
	left := int64(len(exif)) // of what values elsewhere may take
	for _, e := range directory(exif, order) {
		if size := e.size(); size > inPlace {
			if left -= size; left < 0 {
				continue
			}
			if int64(order.Uint32(e.raw[8:]))+size > int64(len(exif)) {
				return 0, false // Pillow stops at an entry that points nowhere
			}
		}
		if data := e.data(exif, order); e.tag == tagOrientation && data != nil {
			return e.whole(data, order), true
		}
	}
	return 0, false
}

// xmpOrientation reads tiff:Orientation out of an XMP packet, written as an
// attribute or as an element; 0 if there is none.
func xmpOrientation(xmp []byte) int {
	for {
		_, rest, ok := bytes.Cut(xmp, []byte("tiff:Orientation"))
		if !ok {
			return 0
		}
		for _, sign := range []string{`="`, ">"} {
			if value, ok := bytes.CutPrefix(rest, []byte(sign)); ok && len(value) > 0 && value[0] >= '0' && value[0] <= '9' {
				return int(value[0] - '0')
			}
		}
		xmp = rest
	}
}

// byteOrder reads and writes numbers of a TIFF structure.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// orderOf reads the mark that a TIFF structure begins with.
func orderOf(tiff []byte) (byteOrder, bool) {
	switch {
	case bytes.HasPrefix(tiff, []byte("II")):
		return binary.LittleEndian, true
	case bytes.HasPrefix(tiff, []byte("MM")):
		return binary.BigEndian, true
	default:
		return nil, false
	}
}

// entry is one of a TIFF directory.
type entry struct {
	tag, kind uint16
	count     uint32
	raw       []byte // all 12 bytes
	own       []byte // its values, if they are not in the file
}

// size is the bytes of its values; 0 where their type is not known.
func (e *entry) size() int64 { return kindSize(e.kind) * int64(e.count) }

// The types of a TIFF directory's values (TIFF 6.0, section 2).
const (
	kindByte, kindASCII, kindShort, kindLong, kindRational         = 1, 2, 3, 4, 5
	kindSByte, kindUndefined, kindSShort, kindSLong, kindSRational = 6, 7, 8, 9, 10
	kindFloat, kindDouble, kindIFD, kindLong8                      = 11, 12, 13, 16
	entrySize, inPlace                                             = 12, 4 // bytes of an entry, and of values that stand in it
	tagOrientation, tagXMP                                         = 0x0112, 700
)

// kindSize is the bytes of one value; 0 if the type is not known.
func kindSize(kind uint16) int64 {
	sizes := [...]int64{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8}
	if int(kind) >= len(sizes) {
		return 0
	}
	return sizes[kind]
}

// directory is the entries of the first directory of a TIFF structure of 8
// bytes or more, as many as there are.
func directory(tiff []byte, order byteOrder) (entries []entry) {
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return nil
	}
	rest := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(rest) < entrySize {
			break
		}
		e := rest[:entrySize]
		entries = append(entries, entry{tag: order.Uint16(e), kind: order.Uint16(e[2:]), count: order.Uint32(e[4:]), raw: e})
		rest = rest[entrySize:]
	}
	return entries
}

// data is the entry's values, in place or where it points; nil if they are not
// there.
func (e *entry) data(tiff []byte, order byteOrder) []byte {
	size := e.size()
	switch {
	case e.own != nil:
		return e.own
	case size == 0:
		return nil
	}
	if size <= inPlace {
		return e.raw[8 : 8+size]
	}
	at := int64(order.Uint32(e.raw[8:]))
	if at+size > int64(len(tiff)) {
		return nil
	}
	return tiff[at : at+size]
}

// whole is the entry's first value as a whole number; 0 if it is none.
func (e *entry) whole(data []byte, order byteOrder) int {
	value := 0.0
	switch e.kind {
	case kindShort:
		value = float64(order.Uint16(data))
	case kindLong, kindIFD:
		value = float64(order.Uint32(data))
	case kindLong8: // BigTIFF's
		value = float64(order.Uint64(data))
	case kindSByte:
		value = float64(int8(data[0]))
	case kindSShort:
		value = float64(int16(order.Uint16(data)))
	case kindSLong:
		value = float64(int32(order.Uint32(data)))
	case kindRational:
		value = float64(order.Uint32(data)) / float64(order.Uint32(data[4:]))
	case kindSRational:
		value = float64(int32(order.Uint32(data))) / float64(int32(order.Uint32(data[4:])))
	case kindFloat:
		value = float64(math.Float32frombits(order.Uint32(data)))
	case kindDouble:
		value = math.Float64frombits(order.Uint64(data))
	}
	if value != math.Trunc(value) || math.Abs(value) > math.MaxInt32 { // not NaN, either
		return 0
	}
	return int(value)
}
