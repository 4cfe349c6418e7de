package audit

import (
	"fmt"
	"slices"
)

const (
	// refusalsASecond is how many entries one chain gets of the refusals of a
	// second; the others are counted in one more.
	refusalsASecond = 20

	// mostKept bounds what waits to be stored, in entries: when there are so many,
	// the chain that has the most of them loses one for each of a chain with less.
	mostKept = 10_000
)

// chainSecond is a second of a chain.
type chainSecond struct {
	tenant string
	second int64
}

// refusal is what one entry is for.
type refusal struct {
	chainSecond

	source, action string
	others         bool // of the second, that have none of their own
}

func refusalOf(e *Entry) refusal {
	return refusal{chainSecond{e.Tenant, e.At.Unix()}, e.Address, e.Action, e.Action == OthersAction}
}

// pending are the refusals that wait to be stored.
type pending struct {
	chains map[string]map[refusal]*Entry
	counts map[chainSecond]int // of entries that were noted
	kept   int                 // entries, of all chains
}

func newPending() pending {
	return pending{map[string]map[refusal]*Entry{}, map[chainSecond]int{}, 0}
}

// note keeps a refusal, among the others of its second where there are too many. It
// returns how many refusals are lost for it.
func (p *pending) note(e Entry) (lost int64) {
	of := refusalOf(&e)
	if p.chains[of.tenant][of] == nil && p.counts[of.chainSecond] >= refusalsASecond {
		e = others(&e)
	}
	return p.keep(e)
}

// keep keeps an entry, in the one of the same refusal where there is one. It returns
// how many refusals are lost for it.
func (p *pending) keep(e Entry) (lost int64) {
	of := refusalOf(&e)
	if before := p.chains[of.tenant][of]; before != nil {
		before.merge(&e)
		return 0
	}
	if p.kept >= mostKept {
		if lost = p.makeRoom(of.tenant); lost == 0 {
			return e.Count
		}
	}
	if p.chains[of.tenant] == nil {
		p.chains[of.tenant] = map[refusal]*Entry{}
	}
	p.chains[of.tenant][of] = &e
	p.counts[of.chainSecond]++
	p.kept++
	return lost
}

// makeRoom drops an entry of the chain that has the most, if a tenant has less. It
// returns how many refusals it counted.
func (p *pending) makeRoom(tenant string) int64 {
	own := len(p.chains[tenant])
	if own >= mostKept/max(len(p.chains), 1) { // its share
		return 0
	}
	var most map[refusal]*Entry
	for _, chain := range p.chains {
		if len(chain) > len(most) {
			most = chain
		}
	}
	if len(most) <= own+1 {
		return 0
	}
	for of, e := range most {
		delete(most, of)
		p.kept--
		return e.Count
	}
	return 0
}

// take takes the refusals of the seconds before one, in order of time.
func (p *pending) take(before int64) []Entry {
	var ready []Entry
	for tenant, chain := range p.chains {
		for of, e := range chain {
			if of.second < before {
				ready = append(ready, *e)
				delete(chain, of)
				p.kept--
			}
		}
		if len(chain) == 0 {
			delete(p.chains, tenant)
		}
	}
	for of := range p.counts {
		if of.second < before {
			delete(p.counts, of)
		}
	}
	slices.SortFunc(ready, func(a, b Entry) int { return a.At.Compare(b.At) })
	return ready
}

// OthersAction is the action of an entry that counts the refusals of a second that
// have none of their own.
const OthersAction = "refusals.others"

func others(e *Entry) Entry {
	return Entry{
		At: e.At, Tenant: e.Tenant, Action: OthersAction, Outcome: Refused, Count: 1,
		Reason: fmt.Sprintf("more than %d sources and actions in one second", refusalsASecond),
	}
}

// merge counts the refusals of another entry in this one: what differs is left out.
func (e *Entry) merge(other *Entry) {
	e.Count += other.Count
	if e.Action == OthersAction {
		return
	}
	for _, field := range []struct{ of, other *string }{
		{&e.Actor, &other.Actor},
		{&e.Resource, &other.Resource},
		{&e.Reason, &other.Reason},
		{&e.RequestID, &other.RequestID},
	} {
		if *field.of != *field.other {
			*field.of = ""
		}
	}
}
