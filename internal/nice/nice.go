// Package nice does what takes long on threads that the system runs after the others:
// threads of a lower priority (nice(2)). Whoever has only a little to do finds a
// processor at once, and what takes long has all that nobody else wants.
//
// It interrupts nothing, and knows nothing of what is done.
package nice

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
)

// Threads do one thing each at a time, in the turn of those who ask. They are made when
// there is something to do, which costs some hundredths of a millisecond, and end with it:
// nobody closes them. Threads are safe for concurrent use.
type Threads struct {
	most int

	mu      sync.Mutex
	busy    int
	waiting []*lane // of each who has something that waits, in the order of their turns
}

// lane is what one asks for, in the order in which it came.
type lane struct {
	who  string
	jobs []*job
}

type job struct {
	do       func()
	done     chan struct{}
	panicked *Panic
}

// Panic is what Do panics with in place of what was run.
type Panic struct {
	Value any
	Stack string // of what was run
}

// Error describes it, with its stack.
func (p *Panic) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// New makes so many Threads at most, one or more.
func New(most int) *Threads { return &Threads{most: max(most, 1)} }

// Do has f run on one of the threads, and returns when it has ended. While all are busy it
// waits, and those who wait, by name, have the next free one in turn. Its error is ctx's,
// and f is not run then. A panic of f is one of Do, with a *Panic. Without Threads f is run
// where Do is called.
func (t *Threads) Do(ctx context.Context, who string, f func()) error {
	if t == nil {
		f()
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err //nolint:wrapcheck // the caller's own
	}
	j := &job{do: f, done: make(chan struct{})}
	t.mu.Lock()
	if t.busy < t.most {
		t.busy++
		go t.work(j)
	} else {
		t.queue(who, j)
	}
	t.mu.Unlock()
	select {
	case <-j.done:
	case <-ctx.Done():
		if t.leave(who, j) {
			return ctx.Err() //nolint:wrapcheck // the caller's own
		}
		<-j.done // it has begun
	}
	if j.panicked != nil {
		panic(j.panicked)
	}
	return nil
}

// Waiting is how many things wait for a thread.
func (t *Threads) Waiting() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.waiting {
		n += len(l.jobs)
	}
	return n
}

// Lend runs wait, which may take long and does nothing meanwhile, amid what Do runs, whose
// thread is another's as long.
func (t *Threads) Lend(wait func()) {
	if t == nil {
		wait()
		return
	}
	t.mu.Lock()
	if j := t.turn(); j != nil {
		go t.work(j)
	} else {
		t.busy--
	}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.busy++ // one too many at times, until one of them has ended
	}()
	wait()
}

// queue has a job wait. It is called under mu, as turn is.
func (t *Threads) queue(who string, j *job) {
	i := slices.IndexFunc(t.waiting, func(l *lane) bool { return l.who == who })
	if i < 0 {
		i = len(t.waiting)
		t.waiting = append(t.waiting, &lane{who: who})
	}
	t.waiting[i].jobs = append(t.waiting[i].jobs, j)
}

// turn is the next job of those that wait; nil is none. Whose it is comes last of all
// after it.
func (t *Threads) turn() *job {
	if len(t.waiting) == 0 {
		return nil
	}
	first := t.waiting[0]
	j := first.jobs[0]
	first.jobs = first.jobs[1:]
	t.waiting = t.waiting[1:]
	if len(first.jobs) > 0 {
		t.waiting = append(t.waiting, first)
	}
	return j
}

// leave takes a job out of those that wait. It reports whether it was there.
func (t *Threads) leave(who string, j *job) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := slices.IndexFunc(t.waiting, func(l *lane) bool { return l.who == who })
	if at < 0 {
		return false
	}
	l := t.waiting[at]
	i := slices.Index(l.jobs, j)
	if i < 0 {
		return false
	}
	if l.jobs = slices.Delete(l.jobs, i, i+1); len(l.jobs) == 0 {
		t.waiting = slices.Delete(t.waiting, at, at+1)
	}
	return true
}

// work is a thread's life. It ends locked, and the thread, whose priority cannot be raised
// again, with it.
func (t *Threads) work(j *job) {
	runtime.LockOSThread()
	lower()
	for ; j != nil; j = t.ended() {
		j.run()
	}
}

// ended is what a thread does next; nil is nothing any more.
func (t *Threads) ended() *job {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy <= t.most {
		if j := t.turn(); j != nil {
			return j
		}
	}
	t.busy--
	return nil
}

func (j *job) run() {
	defer close(j.done)
	defer func() {
		if p := recover(); p != nil {
			j.panicked = &Panic{Value: p, Stack: string(debug.Stack())}
		}
	}()
	j.do()
}
