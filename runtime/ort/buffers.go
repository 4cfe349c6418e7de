package ort

import (
	"math/bits"
	"sync"
	"unsafe"
)

// buffers hands out memory for outputs in quarters of powers of two and takes it back, so
// that a model's answers do not cost the collector their size each time. What
// lies unused is the collector's to free.
//
// All sessions of a process share them, so one that was used before holds
// somebody's answer: nothing of it may be seen by whoever gets it next.
type buffers struct {
	poison  byte // what blank memory holds; 0 outside of tests
	classes [quarters*(maxPower-minPower) + 1]sync.Pool
}

// Classes go from 64 bytes to 64 MiB; what is larger is allocated each time.
const (
	minPower = 6
	maxPower = 26
	quarters = 4
)

// classOf is the class of n bytes, -1 for none, and the size of its buffers.
func classOf(n int) (class, size int) {
	n = max(n, 1<<minPower)
	if n > 1<<maxPower {
		return -1, (n + 7) &^ 7
	}
	power := bits.Len(uint(n)) - 1
	quarter := 1 << power / quarters
	more := (n - 1<<power + quarter - 1) / quarter
	return quarters*(power-minPower) + more, 1<<power + more*quarter
}

// buffer is memory aligned for every element type.
type buffer struct {
	words []uint64
	class int  // -1 when it belongs to no class
	used  bool // before: else it is all zeros
}

// blank returns a buffer of at least n bytes, the first n of which hold nothing
// from before: for memory that somebody else is to write.
func (p *buffers) blank(n int) *buffer {
	b := p.take(n)
	if b.used || p.poison != 0 {
		p.fill(b.bytes(n))
	}
	return b
}

// fill makes memory blank.
func (p *buffers) fill(data []byte) {
	if p.poison == 0 {
		clear(data)
		return
	}
	for i := range data {
		data[i] = p.poison
	}
}

// take returns a buffer of at least n bytes, whose contents are left from
// before: its caller writes all of the n.
func (p *buffers) take(n int) *buffer {
	class, size := classOf(n)
	if class >= 0 {
		if b, ok := p.classes[class].Get().(*buffer); ok {
			return b
		}
	}
	return &buffer{words: make([]uint64, size/8), class: class}
}

func (p *buffers) put(b *buffer) {
	if b.class >= 0 {
		b.used = true
		p.classes[b.class].Put(b)
	}
}

// size is the bytes that it takes.
func (b *buffer) size() int64 { return 8 * int64(len(b.words)) }

// bytes views the first n bytes.
func (b *buffer) bytes(n int) []byte {
	if n == 0 {
		return []byte{}
	}
	//nolint:gosec // words seen as the bytes they are
	return unsafe.Slice((*byte)(unsafe.Pointer(&b.words[0])), len(b.words)*8)[:n:n]
}

// data is where its bytes lie.
func (b *buffer) data() unsafe.Pointer {
	return unsafe.Pointer(&b.words[0]) //nolint:gosec // for C
}
