package audit

import (
	"cmp"
	"fmt"
	"time"
)

// gateway is the actor of the entries that chains have of themselves.
const gateway = "gateway"

// OpenAction is the action of the entry in the platform's chain that says that a
// tenant's chain was begun. There is one of each chain: where it is removed, it is
// added again.
const OpenAction = "audit.open"

// chainResource is what a chain's resource begins with, before its tenant.
const chainResource = "chain:"

// Opened is that entry. It is stored with the first of the tenant's.
func Opened(tenant string, at time.Time) Entry {
	return Entry{At: at, Tenant: Platform, Actor: gateway, Action: OpenAction, Outcome: Done, Resource: chainResource + tenant}
}

// openings are the entries that say that chains were begun.
func openings() Filter {
	return Filter{Tenant: Platform, Actor: gateway, Action: OpenAction, Outcome: Done}
}

func (e *Entry) opens() bool {
	return e.Tenant == Platform && e.Actor == gateway && e.Action == OpenAction
}

// TrimAction is the action of the entry that says what was removed.
const TrimAction = "audit.trim"

// Trimmed is the entry that says that a chain's entries up to one were removed.
func Trimmed(tenant string, upTo int64, hash string, at time.Time) Entry {
	return Entry{
		At: at, Tenant: tenant, Actor: gateway, Action: TrimAction, Outcome: Done,
		Resource: fmt.Sprintf("entries up to %d", upTo), Reason: hash,
	}
}

func (e *Entry) trims() bool { return e.Actor == gateway && e.Action == TrimAction }

// CutPage is how many of a chain's entries are removed at once.
const CutPage = 10_000

// Cut is how many of a chain's oldest entries are removed: those before a time, and,
// once there are more than most by a tenth of it, those that are more. Entries that
// say that a chain was begun, of which there are so many in this one, do not count,
// for they come back. Nothing is removed where it would be only what the gateway adds
// when it removes something.
func Cut(oldest []Entry, head Head, opened int64, before time.Time, most int64) int {
	if len(oldest) == 0 {
		return 0
	}
	surplus := head.Seq - oldest[0].Seq + 1 - opened - most
	if surplus <= most/10 {
		surplus = 0
	} else {
		surplus++ // for the entry that says so
	}
	n, worth := 0, false
	for i := range oldest {
		e := &oldest[i]
		if !e.At.Before(before) && surplus <= 0 {
			break
		}
		n++
		if !e.opens() {
			surplus--
		}
		worth = worth || !e.opens() && !e.trims()
	}
	if !worth && n < CutPage {
		return 0
	}
	return n
}

// Cutting are the entries that say that a chain's oldest were removed: which, and,
// once more, which chains they said were begun.
func Cutting(removed []Entry, at time.Time) []Entry {
	last := removed[len(removed)-1]
	entries := []Entry{Trimmed(last.Tenant, last.Seq, last.Hash, at)}
	for i := range removed {
		if e := removed[i]; e.opens() {
			e.Reason = cmp.Or(e.Reason, "begun at "+e.At.UTC().Format(time.RFC3339))
			e.At = at
			entries = append(entries, e)
		}
	}
	return entries
}
