package pool

import (
	"slices"
	"time"

	"github.com/modelserveai/modelserve/runtime/model"
)

// numberKept is how long a version that another took over from stays for calls
// that name its number.
const numberKept = time.Minute

// maxOlder bounds the older versions that are tried in place of a newest one
// that does not load.
const maxOlder = 2

// before is the version that calls like c got before the one that they are for,
// if it is another and still published. It stands in. Calls that name a number
// get no other.
func (p *Pool) before(c choice) (model.Ref, bool) {
	m := p.models[c.ref.Name]
	if m == nil || c.named || c.wait {
		return model.Ref{}, false
	}
	v := m.serving[c.want]
	if v == c.ref.Version || !slices.Contains(m.listing.versions, v) {
		return p.older(c)
	}
	return model.Ref{Name: c.ref.Name, Version: v}, true
}

// older is the version before a newest one that failed to load, for a pool that
// had none before: one of a few that did not fail too.
func (p *Pool) older(c choice) (model.Ref, bool) {
	if !c.first || !p.entries[c.ref].broken() {
		return model.Ref{}, false
	}
	rest := c.from.versions[slices.Index(c.from.versions, c.ref.Version)+1:]
	for _, v := range rest[:min(maxOlder, len(rest))] {
		if ref := (model.Ref{Name: c.ref.Name, Version: v}); !p.entries[ref].broken() {
			return ref, true
		}
	}
	return model.Ref{}, false
}

// answers remembers that e answers a call, and returns what counts its runs. A
// number that a split names may have been chosen by it, before the call came
// here. What stands in is remembered too, or the next call would wait for what
// failed.
func (p *Pool) answers(c choice, e *entry) *modelStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.named {
		e.byNumber = time.Now()
		c.want = ""
	}
	m := p.models[e.ref.Name]
	switch {
	case m == nil:
	case e.ref == c.ref && (!c.named || c.from.splits(e.ref.Version)), !c.named && !p.entries[c.ref].ready():
		e.byPolicy = true
		m.serving[c.want] = e.ref.Version
	}
	return p.statsOf(e.ref)
}

// serves reports whether calls that leave the version to the policy get this
// one.
func (p *Pool) serves(ref model.Ref) bool {
	m := p.models[ref.Name]
	if m == nil {
		return false
	}
	for _, v := range m.serving {
		if v == ref.Version {
			return true
		}
	}
	return false
}

// follow brings what is loaded of a model in line with a new listing: versions
// that calls will now get begin to load beside those that they got, and what is
// of no use any more goes.
func (p *Pool) follow(m *served) {
	name := m.listing.name
	p.dropOthers(name, m.listing)
	if !p.inMemory(name) {
		return // the next call loads what it needs
	}
	for want := range m.serving {
		reached := m.listing.reach(want)
		if len(reached) == 0 {
			delete(m.serving, want)
		}
		for _, v := range reached {
			_, _ = p.begin(model.Ref{Name: name, Version: v}, true) // a call that needs it gets the error
		}
	}
	p.retire(m)
}

// retire evicts versions from which another took over, when the last request
// inside has its answer.
func (p *Pool) retire(m *served) {
	for ref, e := range p.entries {
		if ref.Name != m.listing.name || !e.ready() || !e.byPolicy || time.Since(e.byNumber) < numberKept || p.pinned[ref] || p.needed(m, ref.Version) {
			continue
		}
		if e.leases > 0 {
			e.superseded = true
			continue
		}
		p.evict(e, evictedSuperseded)
	}
}

// needed reports whether calls that leave the version to the policy may get
// this one, or it stands in for one that is not loaded.
func (p *Pool) needed(m *served, version int) bool {
	for want, last := range m.serving {
		for _, v := range m.listing.reach(want) {
			if v == version || last == version && !p.entries[model.Ref{Name: m.listing.name, Version: v}].ready() {
				return true
			}
		}
	}
	return false
}

// dropOthers evicts the versions of a model that are not published any more
// as they are in memory: deleted, or deleted and published with other bytes. l
// is its listing; nil is none.
func (p *Pool) dropOthers(name string, l *listing) {
	for ref, e := range p.entries {
		if ref.Name == name && !p.pinned[ref] && !l.has(e) && (!e.loading() || e.leases == 0) {
			p.evict(e, evictedDeleted)
		}
	}
}

// has reports whether e is of what is published under its number.
func (l *listing) has(e *entry) bool {
	if l == nil || !slices.Contains(l.versions, e.ref.Version) {
		return false
	}
	tag := l.tags[e.ref.Version]
	return e.tag == tag || e.tag == "" || tag == ""
}

// followLoaded is follow's second half, once a version is loaded: it may have been
// deleted or replaced since its load began, or be what others were kept for.
func (p *Pool) followLoaded(name string) {
	if m := p.models[name]; m != nil {
		p.dropOthers(name, m.listing)
		p.retire(m)
	} else {
		p.dropOthers(name, nil)
	}
}

// inMemory reports whether any version of a model is loaded, or being so.
func (p *Pool) inMemory(name string) bool {
	for ref, e := range p.entries {
		if ref.Name == name && (e.loading() || e.err == nil) {
			return true
		}
	}
	return false
}
