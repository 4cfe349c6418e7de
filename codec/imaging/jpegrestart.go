package imaging

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/bits"
)

// A restart interval counts MCUs, of which each is one block in a scan of one
// component (ITU-T T.81, A.2.2). Go's decoder counts those of all components
// together, so that it misses restarts wherever one of these has more blocks.

// unrestarted is a tidied JPEG without restarts in scans of one component; nil
// if the stream is broken, or the request is over. It holds the file up to four
// times more, and half a byte for each pixel.
func unrestarted(ctx context.Context, s *source) *source {
	whole := bytes.Join(s.parts, nil)
	j := jpegScans{out: whole[:2:2], seen: map[byte][]uint64{}}
	for rest := whole[2:]; ; {
		marked, ok := nextMarker(rest)
		if !ok {
			return nil
		}
		if marked[1] == jpegEOI {
			j.out = append(j.out, marked...)
			break
		}
		if len(marked) < 4 {
			return nil
		}
		end := 2 + int(binary.BigEndian.Uint16(marked[2:]))
		if end > len(marked) {
			return nil
		}
		segment := marked[:end]
		rest = marked[end:]
		j.take(marked[1], segment)
		var data []byte
		if marked[1] == jpegSOS {
			n := scanEnd(rest)
			data, rest = rest[:n], rest[n:]
		}
		if scan := segment[4:]; data != nil && len(scan) == 6 && scan[0] == 1 {
			if !j.rewrite(ctx, segment, data) {
				return nil
			}
			continue
		}
		j.out = append(append(j.out, segment...), data...)
	}
	out := &source{jpeg: s.jpeg}
	out.add(j.out)
	return out
}

// jpegScans rewrites scans.
type jpegScans struct {
	out         []byte
	frame       []byte // its header's content
	progressive bool
	interval    int
	tables      [2][4]huffman     // DC and AC, by place
	seen        map[byte][]uint64 // of each component's blocks: which coefficients are not zero, in zigzag order
}

// take keeps what a segment defines of the scans behind it.
func (j *jpegScans) take(marker byte, segment []byte) {
	body := segment[4:]
	switch marker {
	case jpegSOF0, jpegSOF1, jpegSOF2:
		if j.frame == nil { // the one whose size was admitted; Go's decoder refuses another
			j.frame, j.progressive = body, marker == jpegSOF2
		}
	case jpegDRI:
		if len(body) == 2 {
			j.interval = int(binary.BigEndian.Uint16(body))
		}
	case jpegDHT:
		for len(body) > 0 {
			table, n := newHuffman(body)
			j.tables[body[0]>>4&1][body[0]&3] = table
			body = body[n:]
		}
	}
}

// rewrite adds a scan of one component, without restarts. Where a restart set
// the DC back the next difference is another, so these have a table of their own.
func (j *jpegScans) rewrite(ctx context.Context, segment, data []byte) bool {
	scan := segment[4:]
	across, down, _ := blocksOf(j.frame, scan[1])
	if across*down == 0 {
		return false
	}
	dc, ac := scan[2]>>4&3, scan[2]&3
	s := jpegScan{in: bitReader{data: data}, dc: j.tables[0][dc], ac: j.tables[1][ac], end: 63}
	if j.progressive {
		s.start, s.end, s.refines = int(scan[3]), int(min(scan[4], 63)), scan[5]>>4 != 0
	}
	if j.seen[scan[1]] == nil {
		j.seen[scan[1]] = make([]uint64, across*down)
	}
	const atOnce = 1 << 12 // blocks between two looks at the request
	for i := range j.seen[scan[1]] {
		if j.interval > 0 && i > 0 && i%j.interval == 0 {
			s.restart(byte(i/j.interval - 1))
		}
		s.block(&j.seen[scan[1]][i])
		if s.in.failed || i%atOnce == 0 && ctx.Err() != nil {
			return false
		}
	}
	none := []byte{0xff, jpegDRI, 0, 4, 0, 0}
	j.out = append(j.out, none...)
	if s.start == 0 && !s.refines {
		j.table(append([]byte{dc}, differences()...))
		defer func() { j.table(j.tables[0][dc].segment) }()
	}
	j.out = append(append(j.out, segment...), s.out.flushed()...)
	none = binary.BigEndian.AppendUint16(none[:4], uint16(j.interval))
	j.out = append(j.out, none...)
	return true
}

// table adds a DHT segment of one table.
func (j *jpegScans) table(content []byte) {
	j.out = binary.BigEndian.AppendUint16(append(j.out, 0xff, jpegDHT), uint16(2+len(content)))
	j.out = append(j.out, content...)
}

// differencesBits is the length of each code of differences.
const differencesBits, maxDifference = 5, 16

// differences is a Huffman table of all sizes of DC differences, each of which
// is its own code.
func differences() []byte {
	table := make([]byte, 16, 16+maxDifference+1)
	table[differencesBits-1] = maxDifference + 1
	for size := range byte(maxDifference + 1) {
		table = append(table, size)
	}
	return table
}

// jpegScan copies a scan of one component bit by bit (ITU-T T.81, F.2 and G.2).
type jpegScan struct {
	in         bitReader
	out        bitWriter
	dc, ac     huffman
	start, end int  // of the coefficients, in zigzag order
	refines    bool // adds a bit to what earlier scans had
	run        int  // of blocks without more of these coefficients

	was, becomes int // the last DC, as it is predicted in the one and the other
}

// restart takes a restart marker.
func (s *jpegScan) restart(n byte) {
	s.in.restart(n)
	s.run, s.was = 0, 0
}

// copy copies n bits.
func (s *jpegScan) copy(n int) int {
	v := s.in.bits(n)
	s.out.put(v, n)
	return v
}

// symbol copies a symbol of the table for AC.
func (s *jpegScan) symbol() (zeros, size int) {
	symbol, code, length := s.ac.decode(&s.in)
	s.out.put(code, length)
	return int(symbol >> 4), int(symbol & 15)
}

// block copies one block. Seen is which of its coefficients are not zero.
func (s *jpegScan) block(seen *uint64) {
	k := s.start
	if k == 0 {
		s.first()
		k = 1
	}
	switch {
	case s.refines:
		s.refine(k, seen)
		return
	case s.run > 0:
		s.run--
		return
	}
	for ; k <= s.end && !s.in.failed; k++ {
		zeros, size := s.symbol()
		k += zeros
		if size > 0 {
			s.copy(size)
			*seen |= 1 << k
			continue
		}
		if zeros < 15 {
			s.run = 1<<zeros + s.copy(zeros) - 1
			return
		}
	}
}

// first copies the DC coefficient.
func (s *jpegScan) first() {
	if s.refines {
		s.copy(1)
		return
	}
	symbol, _, _ := s.dc.decode(&s.in)
	size := int(symbol)
	if size > maxDifference {
		s.in.failed = true
		return
	}
	difference := s.in.bits(size)
	if size > 0 && difference>>(size-1) == 0 {
		difference -= 1<<size - 1
	}
	s.was += difference
	difference, s.becomes = s.was-s.becomes, s.was
	size = bits.Len(uint(max(difference, -difference)))
	if size > maxDifference {
		s.in.failed = true
		return
	}
	if difference < 0 {
		difference += 1<<size - 1
	}
	s.out.put(size, differencesBits)
	s.out.put(difference, size)
}

// refine copies a further bit of each coefficient from k on, and what becomes
// more than zero by it.
func (s *jpegScan) refine(k int, seen *uint64) {
	for ; s.run == 0 && k <= s.end && !s.in.failed; k++ {
		zeros, size := s.symbol()
		switch {
		case size > 0:
			s.copy(1) // the sign
		case zeros < 15:
			s.run = 1<<zeros + s.copy(zeros)
			zeros = 64
		}
		for ; k <= s.end; k++ {
			if *seen>>k&1 != 0 {
				s.copy(1)
				continue
			}
			if zeros == 0 {
				break
			}
			zeros--
		}
		if size > 0 {
			*seen |= 1 << k
		}
	}
	if s.run > 0 {
		for ; k <= s.end; k++ {
			if *seen>>k&1 != 0 {
				s.copy(1)
			}
		}
		s.run--
	}
}
