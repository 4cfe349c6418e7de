package audit

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"
)

// Verdict is whether a chain holds.
type Verdict struct {
	Holds    bool
	Entries  int64
	BrokenAt int64 // the Seq of the first entry that does not follow; 0 where it holds
}

// mostVerifies is how often a chain is read of which entries are removed meanwhile.
const mostVerifies = 3

// Verify reads a tenant's chain, and holds each entry to its hash, to the one
// before, to the entry that says what was removed before the first, and the last to
// the head that is stored beside the chain. A chain that was removed whole is found out
// by the platform's, also when it was begun anew, and the platform's by the others,
// each of which it says was begun. Whoever writes anew a whole chain and its head is
// not found out by this, but by heads that were logged.
func Verify(ctx context.Context, s Store, tenant string) (v Verdict, err error) {
	for range mostVerifies {
		if tenant == Platform {
			v, err = verifyPlatform(ctx, s)
		} else {
			v, err = verifyTenant(ctx, s, tenant)
		}
		if !errors.Is(err, ErrMoved) {
			break
		}
	}
	return v, err
}

// verifyTenant reads what the platform's chain says first: what it says was begun is
// there to be read then.
func verifyTenant(ctx context.Context, s Store, tenant string) (Verdict, error) {
	of := openings()
	of.Resource, of.Limit = chainResource+tenant, 2
	opened, err := s.Entries(ctx, of)
	if err != nil {
		return Verdict{}, err
	}
	c := chain{tenant: tenant}
	if err := c.read(ctx, s, c.follow); err != nil {
		return Verdict{}, err
	}
	if c.broken == 0 && (len(opened) > 1 || len(opened) == 1 && c.entries == 0) { // begun anew, or gone
		c.broken = 1
	}
	return c.verdict(), nil
}

// verifyPlatform lists the chains first: what has begun by then, the platform's says.
func verifyPlatform(ctx context.Context, s Store) (Verdict, error) {
	heads, err := s.Heads(ctx, time.Time{}, math.MaxInt32)
	if err != nil {
		return Verdict{}, err
	}
	unknown := make(map[string]bool, len(heads))
	for _, head := range heads {
		unknown[head.Tenant] = true
	}
	c := chain{tenant: Platform}
	err = c.read(ctx, s, func(e *Entry) error {
		delete(unknown, Platform) // it is not empty
		if e.opens() {
			delete(unknown, strings.TrimPrefix(e.Resource, chainResource))
		}
		return c.follow(e)
	})
	if err != nil {
		return Verdict{}, err
	}
	if c.broken == 0 && len(unknown) > 0 {
		c.broken = max(c.first.Seq, 1)
	}
	return c.verdict(), nil
}

// chain is one that is being verified.
type chain struct {
	tenant  string
	entries int64
	first   Entry // its Seq, and its Previous, which an entry has to vouch for
	last    Head
	vouched bool // for what was removed before the first
	broken  int64
}

func (c *chain) verdict() Verdict {
	return Verdict{Holds: c.broken == 0, Entries: c.entries, BrokenAt: c.broken}
}

var errBroken = errors.New("the chain is broken")

// read follows the chain up to where it breaks.
func (c *chain) read(ctx context.Context, s Store, follow func(*Entry) error) error {
	head, err := Read(ctx, s, c.tenant, follow)
	if err == nil {
		c.end(head)
	} else if errors.Is(err, errBroken) {
		err = nil
	}
	return err
}

func (c *chain) follow(e *Entry) error {
	if c.entries == 0 {
		c.first = Entry{Seq: e.Seq, Previous: e.Previous}
		c.last = Head{Tenant: c.tenant, Seq: e.Seq - 1, Hash: e.Previous}
		c.vouched = e.Seq == 1 && e.Previous == ""
	}
	c.entries++
	sum, err := e.Sum()
	if err != nil || sum != e.Hash || e.Tenant != c.tenant || e.Seq != c.last.Seq+1 || e.Previous != c.last.Hash {
		c.broken = c.last.Seq + 1
		return errBroken
	}
	c.last.Seq, c.last.Hash = e.Seq, e.Hash
	if e.trims() {
		want := Trimmed(c.tenant, c.first.Seq-1, c.first.Previous, e.At)
		c.vouched = c.vouched || e.Resource == want.Resource && e.Reason == want.Reason
	}
	return nil
}

func (c *chain) end(head Head) {
	switch {
	case c.entries > 0 && !c.vouched:
		c.broken = c.first.Seq
	case c.last.Seq != head.Seq || c.last.Hash != head.Hash:
		c.broken = c.last.Seq + 1
	}
}
