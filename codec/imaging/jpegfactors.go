package imaging

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// factor is how many blocks of a JPEG's component are in an MCU, across and
// down (ITU-T T.81, A.1.1): its sampling factors.
type factor struct {
	name byte
	h, v int
}

// factorsOf reads a frame header (ITU-T T.81, B.2.2); none if it is cut off.
func factorsOf(header []byte) (factors []factor) {
	const head, each = 6, 3
	if len(header) < head || len(header) < head+each*int(header[5]) {
		return nil
	}
	for c := header[head : head+each*int(header[5])]; len(c) > 0; c = c[each:] {
		factors = append(factors, factor{c[0], int(c[1] >> 4), int(c[1] & 15)})
	}
	return factors
}

// largest is the most of each.
func largest(factors []factor) (h, v int) {
	h, v = 1, 1
	for _, f := range factors {
		h, v = max(h, f.h), max(v, f.v)
	}
	return h, v
}

// samplesPerPixel is the sum of each component's share of the largest; 0 if
// there is none.
func samplesPerPixel(factors []factor) float64 {
	sum := 0
	for _, f := range factors {
		sum += f.h * f.v
	}
	h, v := largest(factors)
	return float64(sum) / float64(h*v)
}

// readFactors reports whether Go's decoder reads the factors of a colour
// picture: 1, 2 and 4, two down at most, the first a multiple of the other two,
// which are alike. Of four components the last is like the first.
func readFactors(factors []factor) bool {
	if len(factors) < 3 {
		return true
	}
	first, second, third := factors[0], factors[1], factors[2]
	for _, f := range factors {
		if f.h != 1 && f.h != 2 && f.h != 4 || f.v != 1 && f.v != 2 && f.v != 4 {
			return false
		}
	}
	if second.h != third.h || second.v != third.v {
		return false
	}
	if len(factors) == 4 {
		last := factors[3]
		return second.h*second.v == 1 && last.h == first.h && last.v == first.v && first.h == first.v && first.h <= 2
	}
	return first.v <= 2 && first.h%second.h == 0 && first.v%second.v == 0
}

// printedFactors writes factors as cjpeg takes them: "2x2,1x1,1x1".
func printedFactors(factors []factor) string {
	parts := make([]string, len(factors))
	for i, f := range factors {
		parts[i] = strconv.Itoa(f.h) + "x" + strconv.Itoa(f.v)
	}
	return strings.Join(parts, ",")
}

// blocks is how many blocks n samples take.
func blocks(n int) int { return over(n, 8) }

// over divides, and rounds up.
func over(n, by int) int { return (n + by - 1) / by }

// blocksOf is how many blocks a component has in a scan of its own (ITU-T T.81,
// A.1.1 and A.2.2). It is misread if Go's decoder takes its rows for longer: one
// of more than one block across in an MCU, and fewer than the largest.
func blocksOf(header []byte, name byte) (across, down int, misread bool) {
	factors := factorsOf(header)
	h, v := largest(factors)
	for _, f := range factors {
		if f.name == name {
			height, width := int(binary.BigEndian.Uint16(header[1:])), int(binary.BigEndian.Uint16(header[3:]))
			across, down = blocks(over(width*f.h, h)), blocks(over(height*f.v, v))
			return across, down, across != min(blocks(over(width, h))*f.h, blocks(width))
		}
	}
	return 0, 0, false
}
