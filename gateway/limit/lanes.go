package limit

import (
	"context"
	"sync"
)

// How many calls ask at once: of one tenant, and of all. Connections are enough for all.
// Quotas' counts that are missing are read from the database by fewer.
const (
	mostOfOne = 16
	MostAsked = 64
	mostReads = 2
	mostRead  = 8
)

// lanes lets calls ask in turn, each tenant's in a lane of their own: one who floods
// waits for themselves.
type lanes struct {
	ofOne int
	all   chan struct{}

	mu sync.Mutex
	by map[string]*lane
}

type lane struct {
	slots chan struct{}
	users int // that have a slot or wait for one
}

func newLanes(ofOne, all int) *lanes {
	return &lanes{ofOne: ofOne, all: make(chan struct{}, all), by: map[string]*lane{}}
}

// enter waits for a turn; it is false where ctx ends first. leave is called when the
// turn is over.
func (l *lanes) enter(ctx context.Context, tenant string) (leave func(), ok bool) {
	l.mu.Lock()
	own := l.by[tenant]
	if own == nil {
		own = &lane{slots: make(chan struct{}, l.ofOne)}
		l.by[tenant] = own
	}
	own.users++
	l.mu.Unlock()
	done := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(l.by, tenant)
		}
	}
	select {
	case own.slots <- struct{}{}:
	case <-ctx.Done():
		done()
		return nil, false
	}
	select {
	case l.all <- struct{}{}:
	case <-ctx.Done():
		<-own.slots
		done()
		return nil, false
	}
	return func() {
		<-l.all
		<-own.slots
		done()
	}, true
}
