package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestAttacksAreAllMade holds that every kind of attack is some attack's, and the reverse.
func TestAttacksAreAllMade(t *testing.T) {
	t.Parallel()
	known := slices.Collect(maps.Keys(attackKinds()))
	var used []string
	for _, a := range onslaughts() {
		for _, k := range a.kinds {
			if !slices.Contains(known, k) {
				t.Errorf("%s: there is no %q", a.name, k)
			}
			used = append(used, k)
		}
	}
	for _, k := range known {
		if !slices.Contains(used, k) {
			t.Errorf("%q is no attack's", k)
		}
	}
}

func TestChooseAttacks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": len(onslaughts()), "json": 1, "json,slow": 2, "json,none": -1} {
		chosen, err := chooseAttacks(text)
		if got := len(chosen); err == nil && got != want || (err != nil) != (want < 0) {
			t.Errorf("%q: %d chosen, %v", text, got, err)
		}
	}
}

// TestNamesDiffer holds that an object of names is as the attack means it: each once.
func TestNamesDiffer(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	names(&b)
	all := strings.Split(b.String(), ",")
	if n := len(all); n != largeJSON/10 {
		t.Errorf("%d names", n)
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != largeJSON/10 {
		t.Errorf("%d different names", n)
	}
}
