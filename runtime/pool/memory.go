package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
)

const (
	// memoryWait is how long a load waits for a lease to end when all memory is in
	// use.
	memoryWait = time.Second

	// measureEvery is how often a session is asked what it takes: its arenas grow
	// with what it is asked to run.
	measureEvery = time.Second
)

// The reasons for evicting a version, in metrics and the log.
const (
	evictedMemory     = "memory"
	evictedCount      = "count"
	evictedSuperseded = "superseded"
	evictedDeleted    = "deleted"
	evictedUnload     = "unload"
)

// sized is a Session that knows the bytes it takes.
type sized interface{ Memory() int64 }

// ledger counts what versions take, from the moment memory was reserved for them
// until their session is closed. It is under Pool.mu.
type ledger struct {
	budget int64 // bytes; 0 is no bound
	most   int   // versions

	used    int64
	held    int
	coming  int64 // of used: sessions that are being closed
	closing int   // of held: the same

	waiting int
	changed chan struct{} // closed when memory may be free, if anyone waits
}

// take counts a version. Counting one twice counts it once, anew.
func (l *ledger) take(e *entry, bytes int64) {
	l.free(e)
	e.counted, e.bytes = true, bytes
	l.used += bytes
	l.held++
}

func (l *ledger) resize(e *entry, bytes int64) {
	l.used += bytes - e.bytes
	e.bytes = bytes
	l.signal()
}

// free counts e no more, once nothing of it is in memory.
func (l *ledger) free(e *entry) {
	if !e.counted {
		return
	}
	l.used -= e.bytes
	l.held--
	e.counted, e.bytes = false, 0
	l.signal()
}

// over is what is too much if need more bytes and one more version come in and
// what is closing has gone: bytes and versions, neither when not positive.
func (l *ledger) over(need int64) (bytes int64, versions int) {
	if l.budget > 0 {
		bytes = sum(l.used-l.coming, need) - l.budget
	}
	return bytes, l.held - l.closing + 1 - l.most
}

// String is what is in use, of what there is.
func (l *ledger) String() string {
	text := fmt.Sprintf("%d of %d models", l.held, l.most)
	if l.budget > 0 {
		text += fmt.Sprintf(" with %s of %s", size(l.used), size(l.budget))
	}
	return text
}

// signal wakes who waits for room.
func (l *ledger) signal() {
	if l.waiting > 0 {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// need is the memory that a version takes, and by what that is known.
type need struct {
	bytes int64
	by    string // "" is by its own measure
}

func (n need) String() string { return size(n.bytes) + " of memory" + n.by }

// needOf is what a version will take, before it is there to be measured: what it
// took when it was loaded here, what it took when it was published, or what its
// files have. The last two may be wrong. They are used because the other
// error, more models than there is memory for, ends the process under all.
func (p *Pool) needOf(e *entry, m *model.Manifest) need {
	if seen := p.statsOf(e.ref).took; seen.bytes > 0 && seen.tag == e.tag {
		return need{seen.bytes, ""}
	}
	if m.Cost != nil && m.Cost.Memory > 0 {
		return need{m.Cost.Memory, " by its manifest"}
	}
	var files int64
	for i := range m.Files {
		if m.Files[i].Optimized == nil { // an optimised file is loaded in place of the model, and is as large
			files = sum(files, max(0, m.Files[i].Size))
		}
	}
	return need{files, " by the size of its files"}
}

// admit reserves memory for e: it evicts the least recently used that nobody
// holds, waits a short while for a lease to end where that is not enough, and
// returns when the sessions of what it evicted are closed.
func (p *Pool) admit(ctx context.Context, e *entry, m *model.Manifest) error {
	short, stop := context.WithTimeout(ctx, memoryWait)
	defer stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	need := p.needOf(e, m)
	for {
		if err := p.tooLarge(e, need); err != nil {
			return err
		}
		if p.freeMemory(e, need.bytes) {
			break
		}
		if !p.waitForMemory(short) {
			return p.noMemory(ctx, e, need)
		}
	}
	p.memory.take(e, need.bytes)
	for p.memory.closing > 0 && (p.memory.held > p.memory.most || p.memory.budget > 0 && p.memory.used > p.memory.budget) {
		if !p.waitForMemory(ctx) {
			return fmt.Errorf("wait for memory: %w", ctx.Err())
		}
	}
	return nil
}

// waitForMemory gives up Pool.mu until the ledger changes or ctx ends, which is
// false.
func (p *Pool) waitForMemory(ctx context.Context) bool {
	changed := p.memory.changed
	p.memory.waiting++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.memory.waiting--
	}()
	select {
	case <-changed:
		return true
	case <-ctx.Done():
		return false
	}
}

// ErrTooLarge is in the error of a version that never fits: it needs more memory
// than Config.Memory leaves beside the models that stay.
var ErrTooLarge = errors.New("the model is larger than the memory")

// tooLargeError is a problem that is ErrTooLarge too.
type tooLargeError struct{ error }

// Is is true of ErrTooLarge.
func (tooLargeError) Is(target error) bool { return target == ErrTooLarge }

// Unwrap returns the problem.
func (e tooLargeError) Unwrap() error { return e.error }

// tooLarge is the error of a version that never fits beside those that stay.
func (p *Pool) tooLarge(e *entry, need need) error {
	if p.memory.budget == 0 {
		return nil
	}
	var stay int64
	for _, other := range p.entries {
		if other != e && p.pinned[other.ref] {
			stay += other.bytes
		}
	}
	if need.bytes <= p.memory.budget-stay {
		return nil
	}
	beside := ""
	if stay > 0 {
		beside = fmt.Sprintf(", of which %s are taken by models that stay", size(stay))
	}
	return tooLargeError{problem.New(problem.ModelUnavailable, "it needs %s, and models may take %s%s: raise MODELSERVE_MEMORY",
		need, size(p.memory.budget), beside)}
}

// noMemory is the error of a version that would fit if others were not in use.
func (p *Pool) noMemory(ctx context.Context, e *entry, need need) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("wait for memory: %w", ctx.Err())
	case e.beside:
		e.failedForMemory = true
		return problem.New(problem.ModelUnavailable,
			"it needs %s beside the version that it replaces, and %s are in use: raise MODELSERVE_MEMORY or MODELSERVE_MAX_LOADED, or unload the model",
			need, &p.memory)
	default:
		return problem.New(problem.Overloaded, "model %s needs %s, and %s are in use; call again",
			e.ref, need, &p.memory).WithRetryAfter(time.Second)
	}
}

// freeMemory evicts as many versions as e needs, or none when all of them would
// not be enough.
func (p *Pool) freeMemory(e *entry, need int64) bool {
	bytes, versions := p.memory.over(need)
	idle := p.idle(e)
	n := 0
	reasons := make([]string, 0, len(idle))
	for ; n < len(idle) && (bytes > 0 || versions > 0); n++ {
		if bytes > 0 {
			reasons = append(reasons, evictedMemory)
		} else {
			reasons = append(reasons, evictedCount)
		}
		bytes -= idle[n].bytes
		versions--
	}
	if bytes > 0 || versions > 0 {
		return false
	}
	for i, reason := range reasons {
		p.evict(idle[i], reason)
	}
	return true
}

// shrink evicts what it can when e grew past the budget.
func (p *Pool) shrink(e *entry) {
	for _, other := range p.idle(e) {
		bytes, _ := p.memory.over(0)
		if bytes <= 0 {
			return
		}
		p.evict(other, evictedMemory)
	}
}

// idle are the versions that may go for e, least recently used first: nobody
// holds them, they need not stay, and e does not load to replace them.
func (p *Pool) idle(e *entry) []*entry {
	var out []*entry
	for ref, other := range p.entries {
		if other == e || other.leases > 0 || !other.ready() || p.pinned[ref] ||
			e.beside && ref.Name == e.ref.Name && p.serves(ref) {
			continue
		}
		out = append(out, other)
	}
	slices.SortFunc(out, func(a, b *entry) int {
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.ref.Name, b.ref.Name), a.ref.Version-b.ref.Version)
	})
	return out
}

// size writes bytes as people read them.
func size(n int64) string {
	const mib = 1 << 20
	if n < 10*mib {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d MiB", n/mib)
}
