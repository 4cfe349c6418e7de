package lifecycle

import "runtime"

// spareThreads are for those who only have a little to do. Go gives a goroutine 10 ms of
// a thread at a time, and looks for what has arrived on connections when a thread has
// nothing else, or each 10 ms: beside as many requests that decompress or decode a large
// body as there are processors, a small one waited that long for each of its steps. With
// threads to spare it has one at once, and the system lets it run before those that have
// run for long (docs/benchmarks.md, "A light tenant beside attacks").
const spareThreads = 2

// SpareThreads has Go run so many goroutines at once as there are processors and two
// more, and returns how many processors there are. It is for a server's main, once.
func SpareThreads() (processors int) {
	processors = runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(processors + spareThreads)
	return processors
}
