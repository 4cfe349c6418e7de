package grpcwire

import "sync"

// turns is whose turn it is to take room for an answer: the first's who has none, and
// will need some.
type turns struct {
	mu      sync.Mutex
	next    int64
	settled map[int64]struct{} // those behind next that need no more room
	waiting map[int64]chan struct{}
}

// of is closed when it is the turn of an exchange, or was.
func (t *turns) of(number int64) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	come := t.waiting[number]
	if come == nil {
		come = make(chan struct{})
		if number <= t.next {
			close(come)
			return come
		}
		if t.waiting == nil {
			t.waiting = map[int64]chan struct{}{}
		}
		t.waiting[number] = come
	}
	return come
}

// settle notes that an exchange needs no more room. Settling twice is safe.
func (t *turns) settle(number int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number < t.next {
		return
	}
	if t.settled == nil {
		t.settled = map[int64]struct{}{}
	}
	t.settled[number] = struct{}{}
	for has(t.settled, t.next) {
		delete(t.settled, t.next)
		t.next++
		if come := t.waiting[t.next]; come != nil {
			close(come)
			delete(t.waiting, t.next)
		}
	}
}

func has(set map[int64]struct{}, number int64) bool {
	_, ok := set[number]
	return ok
}
