package model

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// The aliases that every model may have. Latest is always the newest published
// version; Stable, where it is set, answers calls that name no version.
const (
	Latest = "latest"
	Stable = "stable"
)

// Bounds on a policy.
const (
	MaxAliases = 32
	MaxShares  = 16
	MaxWeight  = 1000
)

// Policy is which version of a model answers a call that does not name one
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

// Check returns every rule that the policy breaks.
func (p *Policy) Check() error {
	var c Checker
	c.Require(len(p.Aliases) <= MaxAliases, "aliases", "at most %d, got %d", MaxAliases, len(p.Aliases))
	for _, alias := range slices.Sorted(maps.Keys(p.Aliases)) {
		at := "aliases[" + strconv.Quote(alias[:min(len(alias), 80)]) + "]"
		_, err := infer.ParseName(alias)
		c.Require(err == nil && !infer.IsNumber(alias), at, "expected a name of 1 to 63 of a-z, 0-9 and '-' that is no number")
		c.Require(alias != Latest, at, "is always the newest version, and cannot be set")
		c.Require(p.Aliases[alias] > 0 && p.Aliases[alias] <= infer.MaxVersion, at, "expected a version from 1 to %d, got %d", infer.MaxVersion, p.Aliases[alias])
	}
	c.Require(len(p.Split) <= MaxShares, "split", "at most %d versions, got %d", MaxShares, len(p.Split))
	seen := map[int]bool{}
	for i, share := range p.Split[:min(len(p.Split), MaxShares)] {
		at := "split[" + strconv.Itoa(i) + "]"
		c.Require(share.Version > 0 && share.Version <= infer.MaxVersion, at+".version", "expected 1 to %d, got %d", infer.MaxVersion, share.Version)
		c.Require(!seen[share.Version], at+".version", "%d is there twice", share.Version)
		c.Require(share.Weight >= 1 && share.Weight <= MaxWeight, at+".weight", "expected 1 to %d, got %d", MaxWeight, share.Weight)
		seen[share.Version] = true
	}
	return c.Err()
}

// Uses is what a version is used by: one of its aliases, or the split. It is ""
// for one that neither names.
func (p *Policy) Uses(version int) string {
	for _, alias := range slices.Sorted(maps.Keys(p.Aliases)) {
		if p.Aliases[alias] == version {
			return fmt.Sprintf("alias %q", alias)
		}
	}
	if slices.ContainsFunc(p.Split, func(s Share) bool { return s.Version == version }) {
		return "the split"
	}
	return ""
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
	switch want {
	case Latest:
		return versions[0], Latest, nil
	case "":
		if v := p.draw(versions, roll); v != 0 {
			return v, "", nil
		}
		if v, ok := p.Aliases[Stable]; ok && slices.Contains(versions, v) {
			return v, Stable, nil
		}
		return versions[0], "", nil
	}
	if err := infer.CheckVersion("model_version", want); err != nil {
		return 0, "", err
	}
	if !infer.IsNumber(want) {
		v, ok := p.Aliases[want]
		switch {
		case !ok:
			return 0, "", problem.New(problem.ModelNotFound, "model %q has no alias %q", name, want)
		case !slices.Contains(versions, v):
			return 0, "", problem.New(problem.ModelNotFound, "model %q: alias %q points to version %d, which is not published", name, want, v)
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

// Splits reports whether calls without a version are shared between the
// versions that are published.
func (p *Policy) Splits(versions []int) bool {
	return slices.ContainsFunc(p.Split, func(s Share) bool { return slices.Contains(versions, s.Version) })
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
