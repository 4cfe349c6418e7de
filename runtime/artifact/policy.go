package artifact

import (
	"slices"

	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// The aliases that every model may have. Latest is always the newest published
// version; Stable, where it is set, answers calls that name no version.
const (
	Latest = "latest"
	Stable = "stable"
)

// Policy says which version of a model answers a call that does not name one
// by its number. It is the model's only mutable object; the zero value sends
// everything to the newest version.
type Policy struct {
	// Aliases are versions by name. Stable is the default for calls without a
	// version; Latest cannot be set.
	Aliases map[string]int `json:"aliases,omitempty"`

	// Split shares the calls without a version between several; it goes before
	// Stable. Empty is no split.
	Split []Share `json:"split,omitempty"`
}

// Share is a version's part of a split.
type Share struct {
	Version int `json:"version"`
	Weight  int `json:"weight"` // 1 to 1000; the parts are weights, not percent
}

// Pick finds the version that a call is for. want is "", an alias or a number;
// versions are the published ones, newest first, at least one. roll returns a
// number in [0, n) and chooses in a split. The alias is the one that decided,
// "" when none did. What is not published is problem.ModelNotFound.
//
// A split or an alias may name a version that was deleted since: the split
// goes on between the others, and calls without a version fall back to the
// newest, but an alias asked for by name is an error.
func (p *Policy) Pick(name string, versions []int, want string, roll func(n int) int) (version int, alias string, err error) {
	switch {
	case want == Latest:
		return versions[0], Latest, nil
	case want == "":
		if v := p.draw(versions, roll); v != 0 {
			return v, "", nil
		}
		if v, ok := p.Aliases[Stable]; ok && slices.Contains(versions, v) {
			return v, Stable, nil
		}
		return versions[0], "", nil
	}
	if v, ok := p.Aliases[want]; ok {
		if !slices.Contains(versions, v) {
			return 0, "", problem.New(problem.ModelNotFound, "model %q: alias %q is of version %d, which is not published any more", name, want, v)
		}
		return v, want, nil
	}
	v, err := infer.ParseVersion(want)
	if err != nil {
		return 0, "", err
	}
	if !slices.Contains(versions, v) {
		return 0, "", problem.New(problem.ModelNotFound, "model %q has no version %d; the newest is %d", name, v, versions[0])
	}
	return v, "", nil
}

// draw chooses in the split among the versions that are published; 0 is none.
func (p *Policy) draw(versions []int, roll func(n int) int) int {
	total := 0
	for _, s := range p.Split {
		if slices.Contains(versions, s.Version) {
			total += s.Weight
		}
	}
	if total == 0 {
		return 0
	}
	at := roll(total)
	for _, s := range p.Split {
		if !slices.Contains(versions, s.Version) {
			continue
		}
		if at -= s.Weight; at < 0 {
			return s.Version
		}
	}
	return 0
}
