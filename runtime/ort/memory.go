package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"encoding/binary"
	"os"
	"sync"
	"unsafe"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// measure remembers what the session took of the heap; heap is what was in use
// before. Loads at the same time are counted to each other.
func (s *Session) measure(path string, heap int64) {
	if heap >= 0 {
		s.heap = max(0, int64(C.ms_heap())-heap-int64(C.ms_pool_heap(s.pool)))
	} else if info, err := os.Stat(path); err == nil && s.mapping == nil { // this C library does not report it: the weights are most of it
		s.heap = info.Size()
	}
	C.ms_pools_add(s.lib.pools, C.int64_t(s.heap))
}

// Memory is what the session takes of main memory now, in bytes: the pages of
// a mapped model that are in this process, the heap that creating it took, and
// its pool, which grows with the largest runs that are usual. It is 0 once the
// session is closed.
func (s *Session) Memory() int64 {
	s.running.RLock()
	defer s.running.RUnlock()
	if s.ptr == nil {
		return 0
	}
	return residentPages(s.mapping) + s.heap + s.poolSize()
}

// Trim gives back the memory that runs have left for later ones. Runs may be under
// way, and keep theirs.
func (s *Session) Trim() {
	s.running.RLock()
	defer s.running.RUnlock()
	if s.ptr == nil {
		return
	}
	C.ms_pool_trim(s.pool)
	C.ms_trim()
}

// LimitMemory bounds what all sessions of the library have of main memory while they
// run, what they are made of included, in bytes; 0 is no bound. A run that needs more is
// problem.PayloadTooLarge.
func (l *Library) LimitMemory(most int64) { C.ms_pools_most(l.pools, C.size_t(max(most, 0))) }

func (s *Session) poolSize() int64 { return int64(C.ms_pool_size(s.pool)) }

// residentPages is how many bytes of a mapping are in this process's memory, by
// Linux's pagemap; all of them where that cannot be read.
func residentPages(mapping []byte) int64 {
	if len(mapping) == 0 {
		return 0
	}
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return int64(len(mapping))
	}
	defer f.Close()
	page := os.Getpagesize()
	pages := (len(mapping) + page - 1) / page
	entries := make([]byte, 8*pages)
	first := int64(uintptr(unsafe.Pointer(&mapping[0]))) / int64(page)
	if _, err := f.ReadAt(entries, 8*first); err != nil {
		return int64(len(mapping))
	}
	present := 0
	for i := range pages {
		present += int(binary.LittleEndian.Uint64(entries[8*i:]) >> 63)
	}
	return int64(present * page)
}

// usage distinguishes a session's unusually large runs from the others, so that one
// large image does not hold its memory for ever, while runs that are large as a
// rule do not pay for giving it back each time.
type usage struct {
	mu     sync.Mutex
	usual  int // bytes of the largest that are usual; 0 before the first run
	recent int // of the largest in this window
	runs   int // in this window
	large  int // of them that were unusual
}

// leastPooled is what a pool may keep for runs, whatever is usual.
const leastPooled = 4 << 20 // bytes

// What is unusual, and how many runs are looked at to find what is usual.
const (
	usageWindow = 64
	usageFactor = 4 // more than so many times the usual is unusual
	usageOften  = 4 // so many in a window are usual from then on
)

// ran counts a run of so many bytes, and reports whether what is kept for runs is to
// be given back after it.
func (u *usage) ran(size int) (shrink bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	size = max(size, 1)
	if u.usual == 0 {
		u.usual = size
	}
	if size > u.usual*usageFactor {
		u.large++
		if u.large < usageOften {
			return true
		}
		u.usual, u.recent, u.runs, u.large = size, 0, 0, 0
		return false
	}
	u.recent = max(u.recent, size)
	if u.runs++; u.runs < usageWindow {
		return false
	}
	shrink = u.recent*usageFactor < u.usual
	u.usual, u.recent, u.runs, u.large = u.recent, 0, 0, 0
	return shrink
}

func sizeOf(inputs []infer.Tensor) int {
	n := 0
	for i := range inputs {
		n += len(inputs[i].Data)
	}
	return n
}
