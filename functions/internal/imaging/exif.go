package imaging

import (
	"bytes"
	"encoding/binary"
)

// traits are what a file says beside its pixels.
type traits struct {
	orientation int // EXIF's, 1 to 8

	// Of a JPEG:
	scans       int     // those of a thumbnail counted with them
	progressive bool    // so that all coefficients are held at once
	samples     float64 // per pixel, 1 to 4; 0 if not known
}

// inspect finds the EXIF orientation (CIPA DC-008, tag 0x0112) where each
// format keeps it. What cannot be read counts as upright, as everywhere.
func inspect(name string, data []byte) traits {
	about := traits{orientation: 1}
	var exif []byte
	switch name {
	case "JPEG":
		exif = about.jpeg(data)
		about.scans = bytes.Count(data, []byte{0xff, 0xda})
	case "PNG":
		exif = pngEXIF(data)
	case "WebP":
		exif = webpEXIF(data)
	case "TIFF":
		exif = data
	}
	if o := orientation(exif); o != 0 {
		about.orientation = o
	}
	return about
}

// orientation reads tag 0x0112 of the first directory of a TIFF structure; 0
// if there is none.
func orientation(exif []byte) int {
	const (
		tag       = 0x0112
		typeShort = 3
		entrySize = 12
	)
	if len(exif) < 8 {
		return 0
	}
	var order binary.ByteOrder = binary.LittleEndian
	if exif[0] == 'M' {
		order = binary.BigEndian
	}
	at := int64(order.Uint32(exif[4:]))
	if at+2 > int64(len(exif)) {
		return 0
	}
	entries := exif[at+2:]
	for range order.Uint16(exif[at:]) {
		if len(entries) < entrySize {
			return 0
		}
		if order.Uint16(entries) == tag {
			value := int(order.Uint16(entries[8:]))
			if order.Uint16(entries[2:]) != typeShort || value < 1 || value > 8 {
				return 0
			}
			return value
		}
		entries = entries[entrySize:]
	}
	return 0
}

// jpeg walks the segments before the first scan: it takes in the frame, and
// returns the TIFF structure in the first APP1 that has one.
func (t *traits) jpeg(data []byte) (exif []byte) {
	const (
		fill                                  = 0xff
		app1, startOfScan                     = 0xe1, 0xda
		baseline, extended, progressiveMarker = 0xc0, 0xc1, 0xc2
	)
	for i := 2; i+4 <= len(data) && data[i] == 0xff; {
		marker := data[i+1]
		if marker == fill {
			i++
			continue
		}
		size := int(binary.BigEndian.Uint16(data[i+2:]))
		end := i + 2 + size
		if marker == startOfScan || size < 2 || end > len(data) {
			break
		}
		segment := data[i+4 : end]
		switch marker {
		case app1:
			if found, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00")); ok && exif == nil {
				exif = found
			}
		case baseline, extended, progressiveMarker:
			t.progressive = marker == progressiveMarker
			t.samples = samplesPerPixel(segment)
		}
		i = end
	}
	return exif
}

// samplesPerPixel reads a frame header (ITU-T T.81, B.2.2): each component's
// share of the largest, by its sampling factors.
func samplesPerPixel(frame []byte) float64 {
	const head, each = 6, 3
	if len(frame) < head || len(frame) < head+each*int(frame[5]) {
		return 0
	}
	sum, maxH, maxV := 0, 1, 1
	for c := head; c < head+each*int(frame[5]); c += each {
		h, v := int(frame[c+1]>>4), int(frame[c+1]&15)
		sum, maxH, maxV = sum+h*v, max(maxH, h), max(maxV, v)
	}
	return float64(sum) / float64(maxH*maxV)
}

// pngEXIF is the eXIf chunk, wherever it stands.
func pngEXIF(data []byte) []byte {
	const head, tail = 8, 4 // length and type; checksum
	for i := int64(8); i+head <= int64(len(data)); {
		size := int64(binary.BigEndian.Uint32(data[i:]))
		end := i + head + size
		if end > int64(len(data)) {
			return nil
		}
		if string(data[i+4:i+8]) == "eXIf" {
			return data[i+head : end]
		}
		i = end + tail
	}
	return nil
}

// webpEXIF is the EXIF chunk of the RIFF container.
func webpEXIF(data []byte) []byte {
	const head = 8
	for i := int64(12); i+head <= int64(len(data)); {
		size := int64(binary.LittleEndian.Uint32(data[i+4:]))
		end := i + head + size
		if end > int64(len(data)) {
			return nil
		}
		if string(data[i:i+4]) == "EXIF" {
			exif := data[i+head : end]
			return bytes.TrimPrefix(exif, []byte("Exif\x00\x00"))
		}
		i = end + size&1
	}
	return nil
}
