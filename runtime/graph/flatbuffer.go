package graph

import (
	"encoding/binary"
	"fmt"
)

// flat reads a flatbuffer (https://flatbuffers.dev/internals/), every offset of
// which is checked: what lies outside the bytes is an error that stays.
type flat struct {
	data []byte
	err  error
}

// table is where a table begins; 0 is none, for a file's first bytes are its
// root's offset.
type table int

func (f *flat) fail(what string) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: the ORT file's %s lies outside of it", ErrInvalid, what)
	}
}

// bytes are n of them at an offset.
func (f *flat) bytes(at, n int) []byte {
	if f.err != nil || at < 0 || n < 0 || at > len(f.data) || n > len(f.data)-at {
		f.fail("content")
		return nil
	}
	return f.data[at : at+n]
}

func (f *flat) u16(at int) int {
	if b := f.bytes(at, 2); b != nil {
		return int(binary.LittleEndian.Uint16(b))
	}
	return 0
}

func (f *flat) u32(at int) int {
	if b := f.bytes(at, 4); b != nil {
		return int(binary.LittleEndian.Uint32(b))
	}
	return 0
}

func (f *flat) i64(at int) int64 {
	if b := f.bytes(at, 8); b != nil {
		return int64(binary.LittleEndian.Uint64(b))
	}
	return 0
}

// follow is where an offset leads, which is always forward.
func (f *flat) follow(at int) int {
	by := f.u32(at)
	if f.err != nil {
		return 0
	}
	if by == 0 || by > len(f.data)-at {
		f.fail("offset")
		return 0
	}
	return at + by
}

// field is where a table has its field of an index, counted from 0; 0 where it
// has none.
func (f *flat) field(t table, index int) int {
	if t == 0 || f.err != nil {
		return 0
	}
	vtable := int(t) - int(int32(f.u32(int(t))))
	size := f.u16(vtable)
	entry := 4 + 2*index
	if f.err != nil || entry+2 > size {
		return 0
	}
	by := f.u16(vtable + entry)
	if by == 0 {
		return 0
	}
	return int(t) + by
}

func (f *flat) table(t table, index int) table {
	if at := f.field(t, index); at != 0 {
		return table(f.follow(at))
	}
	return 0
}

func (f *flat) int32(t table, index int) int32 {
	if at := f.field(t, index); at != 0 {
		return int32(f.u32(at))
	}
	return 0
}

func (f *flat) int64(t table, index int) int64 {
	if at := f.field(t, index); at != 0 {
		return f.i64(at)
	}
	return 0
}

// vector is where a vector's elements of a size begin, and how many there are.
func (f *flat) vector(t table, index, size int) (at, n int) {
	at = f.field(t, index)
	if at == 0 {
		return 0, 0
	}
	at = f.follow(at)
	n = f.u32(at)
	if f.err != nil || n > (len(f.data)-at-4)/size {
		f.fail("list")
		return 0, 0
	}
	return at + 4, n
}

// raw is a vector of bytes, in place.
func (f *flat) raw(t table, index int) []byte {
	at, n := f.vector(t, index, 1)
	if n == 0 {
		return nil
	}
	return f.bytes(at, n)
}

// tables calls do with each table of a vector of them.
func (f *flat) tables(t table, index int, do func(table) error) error {
	at, n := f.vector(t, index, 4)
	for i := range n {
		child := f.follow(at + 4*i)
		if f.err != nil {
			return f.err
		}
		if err := do(table(child)); err != nil {
			return err
		}
	}
	return f.err
}
