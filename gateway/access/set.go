package access

import (
	"slices"
	"sort"
	"strings"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// Set is what a principal may do, compiled: a decision takes well below a
// microsecond, however many permissions there are. The zero Set allows nothing.
type Set struct {
	fixed map[auth.Permission]bool // with those that they include
	kinds map[string]*patterns     // of permissions that name something
	all   []auth.Permission        // as they were added, each once
}

// patterns are the names and beginnings of names that a kind of permission has.
type patterns struct {
	names  map[string]bool
	begins []string // sorted; none begins with another
}

// Allows reports whether the set has a permission, or one that covers it.
func (s *Set) Allows(p auth.Permission) bool {
	if s.fixed[auth.Admin] {
		return true
	}
	kind, pattern := p.Split()
	if kind == "" {
		return s.fixed[p]
	}
	of := s.kinds[kind]
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
	kind, pattern := p.Split()
	if kind == "" {
		if s.fixed == nil {
			s.fixed = map[auth.Permission]bool{}
		}
		for _, other := range auth.Fixed() {
			if p.Covers(other) {
				s.fixed[other] = true
			}
		}
		return
	}
	if s.kinds == nil {
		s.kinds = map[string]*patterns{}
	}
	of := s.kinds[kind]
	if of == nil {
		of = &patterns{names: map[string]bool{}}
		s.kinds[kind] = of
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
