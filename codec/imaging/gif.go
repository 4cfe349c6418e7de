package imaging

import (
	"bytes"
	"encoding/binary"
	"math"
)

// GIF's blocks (GIF89a, sections 17 to 27).
const (
	gifHeader, gifFrame                        = 13, 10 // bytes, without colour tables
	gifExtension, gifImage, gifTrailer         = 0x21, 0x2c, 0x3b
	gifControl                                 = 0xf9
	gifHasTable, gifTableBits, gifTableColours = 0x80, 0x07, 3
)

// tidyGIF keeps of a GIF its first frame. Comments, applications' blocks and
// what follows the frame are passed over, known or not. As in Pillow a frame
// that is larger than the screen enlarges it, and a colour that is in no table
// is black, or its grey level if the table has but such.
func tidyGIF(data []byte) (*source, error) {
	s := &source{}
	if len(data) < gifHeader {
		s.cut = true
		s.add(data)
		return s, nil
	}
	table := gifTable(data[10])
	var control []byte
	for rest := data[min(gifHeader+table, len(data)):]; len(rest) > 0; {
		switch rest[0] {
		case gifExtension:
			block := s.upTo(rest, int64(2+gifBlocks(rest[min(2, len(rest)):])))
			// A control block has one sub-block of four bytes.
			if len(block) == 8 && block[1] == gifControl && block[2] == 4 {
				control = block
			}
			rest = rest[len(block):]
		case gifImage:
			s.frameGIF(data[:min(gifHeader+table, len(data))], control, rest)
			return s, nil
		case gifTrailer:
			return nil, refusal("a GIF without a picture")
		default: // as in Pillow
			rest = rest[1:]
		}
	}
	s.cut = true
	s.add(data)
	return s, nil
}

// frameGIF adds the header, the frame's colours, the control block if there is
// one, and the frame that frame begins with.
func (s *source) frameGIF(header, control, frame []byte) {
	begin := s.upTo(frame, gifFrame)
	if len(begin) < gifFrame {
		s.add(header, frame)
		return
	}
	table := header[gifHeader:]
	behind := frame[gifFrame:]
	if own := gifTable(frame[9]); own > 0 {
		table = s.upTo(behind, int64(own))
		behind = behind[len(table):]
	}
	const codeSize = 1
	pixels := s.upTo(behind, int64(codeSize+gifBlocks(behind[min(codeSize, len(behind)):])))

	le := binary.LittleEndian
	screen := append([]byte(nil), header[:gifHeader]...)
	for _, of := range []struct{ screen, start, size int }{{6, 1, 5}, {8, 3, 7}} { // across, and down
		end := int(le.Uint16(frame[of.start:])) + int(le.Uint16(frame[of.size:]))
		le.PutUint16(screen[of.screen:], max(le.Uint16(screen[of.screen:]), uint16(min(end, math.MaxUint16))))
	}
	begin = bytes.Clone(begin)
	begin[9] &^= gifHasTable | gifTableBits
	screen[10] |= gifHasTable | gifTableBits
	s.add(screen, colours(table), control, begin, pixels, []byte{gifTrailer})
}

// colours is a table filled up to 256 colours.
func colours(table []byte) []byte {
	full := make([]byte, 0, gifTableColours<<8)
	for v := range 256 {
		full = append(full, byte(v), byte(v), byte(v))
	}
	if !bytes.HasPrefix(full, table) {
		clear(full[copy(full, table):])
	}
	return full
}

// gifTable is the bytes of the colour table that flags announce.
func gifTable(flags byte) int {
	if flags&gifHasTable == 0 {
		return 0
	}
	return gifTableColours << (1 + flags&gifTableBits)
}

// gifBlocks is the length of a chain of sub-blocks with its end, which may be
// more than there is.
func gifBlocks(data []byte) int {
	n := 0
	for n < len(data) {
		size := int(data[n])
		if n += 1 + size; size == 0 {
			return n
		}
	}
	return max(n, len(data)) + 1
}
