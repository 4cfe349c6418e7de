package ort

import (
	"math/bits"
	"sync"
	"unsafe"
)

// buffers hands out memory for outputs in powers of two and takes it back, so
// that a model's answers do not cost the collector their size each time. What
// lies unused is the collector's to free.
type buffers struct {
	classes [maxClass - minClass + 1]sync.Pool
}

// Classes go from 64 bytes to 64 MiB; what is larger is allocated each time.
const (
	minClass = 6
	maxClass = 26
)

// buffer is memory aligned for every element type.
type buffer struct {
	words []uint64
	class int // -1 when it belongs to no class
}

// get returns a buffer of at least n bytes; its contents are left from before.
func (p *buffers) get(n int) *buffer {
	class := max(bits.Len(uint(max(n, 1)-1)), minClass)
	if class > maxClass {
		return &buffer{words: make([]uint64, (n+7)/8), class: -1}
	}
	if b, ok := p.classes[class-minClass].Get().(*buffer); ok {
		return b
	}
	return &buffer{words: make([]uint64, 1<<(class-3)), class: class}
}

func (p *buffers) put(b *buffer) {
	if b.class >= 0 {
		p.classes[b.class-minClass].Put(b)
	}
}

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
