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
	all    []auth.Permission // as they were added, none of which covers one that came later
	index  *index            // of all, where they are many
	shared []*Set            // what it has besides, with others
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
	switch {
	case s.index != nil && s.index.allows(p):
		return true
	case s.index == nil && slices.ContainsFunc(s.all, func(has auth.Permission) bool { return has.Covers(p) }):
		return true
	}
	return slices.ContainsFunc(s.shared, func(of *Set) bool { return of.Allows(p) })
}

// each is every permission of the set; some may be covered by others.
func (s *Set) each(yield func(auth.Permission) bool) {
	for _, p := range s.all {
		if !yield(p) {
			return
		}
	}
	for _, of := range s.shared {
		for _, p := range of.all {
			if !yield(p) {
				return
			}
		}
	}
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
	i := sort.SearchStrings(p.begins, begin)
	end := i
	for end < len(p.begins) && strings.HasPrefix(p.begins[end], begin) {
		end++ // what begins with it comes behind it in order
	}
	p.begins = slices.Replace(p.begins, i, end, begin)
}

// Covers reports whether the set has all that another has.
func (s *Set) Covers(other *Set) bool { return s.lacks(other) == "" }

// lacks is the first permission of another set that this one has not; "" is none.
func (s *Set) lacks(other *Set) auth.Permission {
	for p := range other.each {
		if !s.Allows(p) {
			return p
		}
	}
	return ""
}
