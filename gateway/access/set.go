package access

import (
	"slices"
	"sort"
	"strings"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// Set is what a principal may do, compiled: a decision takes about a microsecond at
// most, however many permissions there are. The zero Set allows nothing.
type Set struct {
	all   []auth.Permission // as they were added, none of which covers one that came later
	index *index            // of all, where they are many
}

// few is up to how many permissions are looked through one by one. Nearly every key
// has fewer, and the index of five takes a kilobyte (make bench, callers).
const few = 16

// index finds what covers a permission.
type index struct {
	fixed map[auth.Permission]bool // with those that they include
	kinds map[string]*patterns     // of permissions that name something
}

// patterns are the names and beginnings of names that a kind of permission has.
type patterns struct {
	names  map[string]bool
	begins []string // sorted; none begins with another
}

// Allows reports whether the set has a permission, or one that covers it.
func (s *Set) Allows(p auth.Permission) bool {
	if s.index != nil {
		return s.index.allows(p)
	}
	return slices.ContainsFunc(s.all, func(has auth.Permission) bool { return has.Covers(p) })
}

func (i *index) allows(p auth.Permission) bool {
	if i.fixed[auth.Admin] {
		return true
	}
	kind, pattern := p.Split()
	if kind == "" {
		return i.fixed[p]
	}
	of := i.kinds[kind]
	return of != nil && of.covers(pattern)
}

// covers reports whether a name, or a pattern, is within the patterns. Of the
// beginnings only the last that is not behind it in order can be its own, since
// none begins with another.
func (p *patterns) covers(pattern string) bool {
	if p.names[pattern] {
		return true
	}
	name, _ := strings.CutSuffix(pattern, "*")
	i := sort.SearchStrings(p.begins, name)
	if i < len(p.begins) && p.begins[i] == name {
		return true
	}
	return i > 0 && strings.HasPrefix(name, p.begins[i-1])
}

// add adds a permission.
func (s *Set) add(p auth.Permission) {
	if s.Allows(p) {
		return
	}
	s.all = append(s.all, p)
	switch {
	case s.index != nil:
		s.index.add(p)
	case len(s.all) > few:
		s.index = &index{fixed: map[auth.Permission]bool{}, kinds: map[string]*patterns{}}
		for _, p := range s.all {
			s.index.add(p)
		}
	}
}

func (i *index) add(p auth.Permission) {
	kind, pattern := p.Split()
	if kind == "" {
		for _, other := range auth.Fixed() {
			if p.Covers(other) {
				i.fixed[other] = true
			}
		}
		return
	}
	of := i.kinds[kind]
	if of == nil {
		of = &patterns{names: map[string]bool{}}
		i.kinds[kind] = of
	}
	of.add(pattern)
}

func (p *patterns) add(pattern string) {
	begin, ok := strings.CutSuffix(pattern, "*")
	if !ok {
		p.names[pattern] = true
		return
	}
	p.begins = slices.DeleteFunc(p.begins, func(b string) bool { return strings.HasPrefix(b, begin) })
	i := sort.SearchStrings(p.begins, begin)
	p.begins = slices.Insert(p.begins, i, begin)
}

// Covers reports whether the set has all that another has.
func (s *Set) Covers(other *Set) bool { return s.lacks(other) == "" }

// lacks is the first permission of another set that this one has not; "" is none.
func (s *Set) lacks(other *Set) auth.Permission {
	for _, p := range other.all {
		if !s.Allows(p) {
			return p
		}
	}
	return ""
}
