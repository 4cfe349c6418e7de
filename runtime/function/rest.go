package function

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A function at rest gives back what its last requests and loads left to the
// garbage collector. Go would keep it for the next ones: the heap may double
// before it is looked at again, which takes calls that do not come.
const (
	restAfter = 5 * time.Second // with next to nothing allocated
	restNoise = 1 << 20         // bytes that probes and scrapes allocate in that time, at most
	restWorth = 4 << 20         // bytes allocated since the last time, at least
)

// giveBackAtRest collects and gives back, once for each time of rest, until ctx
// ends.
func giveBackAtRest(ctx context.Context, giveBack func()) {
	tick := time.NewTicker(restAfter)
	defer tick.Stop()
	var r rest
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if r.begins(allocated()) {
				giveBack()
				r.given = allocated()
			}
		}
	}
}

// giveBack collects what is left: buffers that are kept for later answers survive
// one collection, not two.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// rest finds when a time of rest begins.
type rest struct{ seen, given uint64 }

// begins is called every restAfter with how many bytes were ever allocated, and
// reports whether a time of rest begins.
func (r *rest) begins(allocated uint64) bool {
	quiet := allocated-r.seen < restNoise
	r.seen = allocated
	return quiet && allocated-r.given >= restWorth
}

// allocated is how many bytes of heap were ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
