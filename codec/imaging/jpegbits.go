package imaging

// huffman is a Huffman table (ITU-T T.81, annex C and F.2.2.3).
type huffman struct {
	segment []byte // as DHT has it: its name, the codes of each length, the symbols
	symbols []byte
	first   [17]int // code of each length
	count   [17]int // of codes
}

// newHuffman reads the table that body begins with, which has n bytes.
func newHuffman(body []byte) (h huffman, n int) {
	const head = 17
	if len(body) < head {
		return h, len(body)
	}
	code, symbols := 0, 0
	for length := 1; length < head; length++ {
		h.first[length], h.count[length] = code, int(body[length])
		symbols += h.count[length]
		code = (code + h.count[length]) << 1
	}
	n = min(head+symbols, len(body))
	h.segment, h.symbols = body[:n], body[head:n]
	return h, n
}

// decode reads a symbol, and returns it with the bits that it was.
func (h *huffman) decode(in *bitReader) (symbol byte, code, length int) {
	before := 0 // symbols of shorter codes
	for length = 1; length < len(h.first); length++ {
		code = code<<1 | in.bits(1)
		if i := code - h.first[length]; i < h.count[length] && before+i < len(h.symbols) && i >= 0 {
			return h.symbols[before+i], code, length
		}
		before += h.count[length]
	}
	in.failed = true
	return 0, 0, 0
}

// bitReader reads the bits of a scan.
type bitReader struct {
	data   []byte
	byte   byte
	left   int  // bits of it
	failed bool // there was something else than bits
}

// bits reads n of them.
func (b *bitReader) bits(n int) (v int) {
	for range n {
		if b.left == 0 {
			b.next()
		}
		b.left--
		v = v<<1 | int(b.byte>>b.left&1)
	}
	return v
}

// next takes a byte, behind which a zero is stuffed if it is 0xff.
func (b *bitReader) next() {
	b.byte, b.left = 0, 8
	switch {
	case len(b.data) == 0, b.data[0] == 0xff && (len(b.data) == 1 || b.data[1] != 0):
		b.failed = true
	case b.data[0] == 0xff:
		b.byte, b.data = 0xff, b.data[2:]
	default:
		b.byte, b.data = b.data[0], b.data[1:]
	}
}

// restart takes restart marker n, counted from 0.
func (b *bitReader) restart(n byte) {
	b.left = 0
	for len(b.data) > 2 && b.data[0] == 0xff && b.data[1] == 0xff {
		b.data = b.data[1:]
	}
	if len(b.data) < 2 || b.data[0] != 0xff || b.data[1] != jpegRST0+n%8 {
		b.failed = true
		return
	}
	b.data = b.data[2:]
}

// bitWriter writes the bits of a scan.
type bitWriter struct {
	data []byte
	bits int // not yet in data
	n    int // how many
}

// put writes the n low bits of v, 16 at most.
func (b *bitWriter) put(v, n int) {
	b.bits, b.n = b.bits<<n|v, b.n+n
	for ; b.n >= 8; b.n -= 8 {
		full := byte(b.bits >> (b.n - 8))
		if b.data = append(b.data, full); full == 0xff {
			b.data = append(b.data, 0)
		}
	}
	b.bits &= 1<<b.n - 1
}

// flushed is all that was written, filled up with ones.
func (b *bitWriter) flushed() []byte {
	b.put(0x7f>>(7-(8-b.n)%8), (8-b.n)%8)
	return b.data
}
