package wellknown

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// watcher is one who watches.
type watcher struct {
	client     string // of a caller who is known, or an address
	known      bool
	connection string
	out        chan struct{} // closed when its place is another's
}

// watcherOf is the watcher of a call: caller is who makes it, "" where that is not
// known, and remote its connection's other end.
func watcherOf(caller, remote string) *watcher {
	w := &watcher{client: "caller " + caller, known: caller != "", connection: remote, out: make(chan struct{})}
	if !w.known {
		w.client = "address " + network(remote)
	}
	return w
}

// network is the address of one who connects; of IPv6 the /64, whose addresses are
// all one host's to use.
func network(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if address = address.Unmap().WithZone(""); address.Is6() {
		if prefix, err := address.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}

// places bounds the watchers, so that no client takes what others need: when all
// are taken, whoever has fewest gets one of whoever has most. The last quarter is
// for callers who are known, of whom there are not as many as anybody likes.
type places struct {
	most int

	mu    sync.Mutex
	taken []*watcher // in the order that they came
}

// enter finds a place, and reports whether there was one. leave gives it back.
func (p *places) enter(w *watcher) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	among, full := p.taken, len(p.taken) >= p.most
	if unknown := chosen(p.taken, func(o *watcher) bool { return !o.known }); !w.known && len(unknown) >= p.most-p.most/4 {
		among, full = unknown, true
	}
	if full && !p.makeRoom(w, among) {
		return false
	}
	p.taken = append(p.taken, w)
	return true
}

func (p *places) leave(w *watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(w)
}

func (p *places) remove(w *watcher) {
	if at := slices.Index(p.taken, w); at >= 0 {
		p.taken = slices.Delete(p.taken, at, at+1)
	}
}

// makeRoom takes the place of the last to come, of the connection with most, of the
// client with most among some; false where w has as much already. Connections of
// one client are counted apart, too: many may share an address.
func (p *places) makeRoom(w *watcher, among []*watcher) bool {
	byClient := func(o *watcher) string { return o.client }
	byConnection := func(o *watcher) string { return o.connection }
	of := largest(among, byClient)
	own := chosen(among, func(o *watcher) bool { return o.client == w.client })
	if len(of) <= len(own)+1 {
		of = largest(own, byConnection)
		same := chosen(own, func(o *watcher) bool { return o.connection == w.connection })
		if len(of) <= len(same)+1 {
			return false
		}
	}
	of = largest(of, byConnection)
	last := of[len(of)-1]
	p.remove(last)
	close(last.out)
	return true
}

func chosen(list []*watcher, is func(*watcher) bool) (found []*watcher) {
	for _, w := range list {
		if is(w) {
			found = append(found, w)
		}
	}
	return found
}

// largest are those of a list who have the same of something, where they are most.
func largest(list []*watcher, of func(*watcher) string) []*watcher {
	counts := map[string]int{}
	most := ""
	for _, w := range list {
		key := of(w)
		if counts[key]++; counts[key] > counts[most] {
			most = key
		}
	}
	return chosen(list, func(w *watcher) bool { return of(w) == most })
}
