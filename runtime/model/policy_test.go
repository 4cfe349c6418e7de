package model

import (
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
)

func TestPolicyPicks(t *testing.T) {
	t.Parallel()
	versions := []int{4, 3, 1}
	last := func(n int) int { return n - 1 }
	first := func(int) int { return 0 }
	stable := Policy{Aliases: map[string]int{"stable": 3, "old": 1, "gone": 2}}
	split := Policy{Aliases: map[string]int{"stable": 1}, Split: []Share{{Version: 2, Weight: 900}, {Version: 3, Weight: 90}, {Version: 4, Weight: 10}}}
	for name, tc := range map[string]struct {
		policy  Policy
		want    string
		roll    func(int) int
		version int
		alias   string
		code    problem.Code
	}{
		"nothing set":                      {Policy{}, "", first, 4, "", ""},
		"latest":                           {stable, "latest", first, 4, "latest", ""},
		"stable, unasked":                  {stable, "", first, 3, "stable", ""},
		"stable, by name":                  {stable, "stable", first, 3, "stable", ""},
		"another alias":                    {stable, "old", first, 1, "old", ""},
		"a number":                         {stable, "1", first, 1, "", ""},
		"a number that is not":             {stable, "2", first, 0, "", problem.ModelNotFound},
		"an alias of what was deleted":     {stable, "gone", first, 0, "", problem.ModelNotFound},
		"an alias that is not":             {stable, "beta", first, 0, "", problem.ModelNotFound},
		"no stable by name":                {Policy{}, "stable", first, 0, "", problem.ModelNotFound},
		"stable was deleted":               {Policy{Aliases: map[string]int{"stable": 2}}, "", first, 4, "", ""},
		"a split, its first that is there": {split, "", first, 3, "", ""},
		"a split, its last":                {split, "", last, 4, "", ""},
		"a split is not for an alias":      {split, "stable", last, 1, "stable", ""},
		"nor for a number":                 {split, "1", last, 1, "", ""},
		"a split of what was deleted":      {Policy{Split: []Share{{Version: 2, Weight: 1}}}, "", first, 4, "", ""},
		"no form":                          {stable, "Stable", first, 0, "", problem.InvalidArgument},
		"zero":                             {stable, "0", first, 0, "", problem.InvalidArgument},
		"a leading zero":                   {stable, "03", first, 0, "", problem.InvalidArgument},
		"a sign":                           {stable, "-3", first, 0, "", problem.InvalidArgument},
		"too large":                        {stable, "99999999999999999999", first, 0, "", problem.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			version, alias, err := tc.policy.Pick("m", versions, tc.want, tc.roll)
			if version != tc.version || alias != tc.alias || (err != nil || tc.code != "") && problem.CodeOf(err) != tc.code {
				t.Errorf("%d %q %v, want %d %q %q", version, alias, err, tc.version, tc.alias, tc.code)
			}
		})
	}
}

func TestASplitSharesByWeight(t *testing.T) {
	t.Parallel()
	p := Policy{Split: []Share{{Version: 3, Weight: 90}, {Version: 4, Weight: 10}}}
	random := rand.New(rand.NewPCG(1, 2))
	counts := map[int]int{}
	for range 10_000 {
		v, alias, err := p.Pick("m", []int{4, 3}, "", random.IntN)
		if err != nil || alias != "" {
			t.Fatal(alias, err)
		}
		counts[v]++
	}
	if n := counts[4]; n < 900 || n > 1100 {
		t.Errorf("%v, want 9000 and 1000", counts)
	}
	if !p.Splits([]int{4}) || p.Splits([]int{5}) {
		t.Error("a split is one as long as one of its versions is published")
	}
}

func TestPolicyCheck(t *testing.T) {
	t.Parallel()
	many := map[string]int{}
	for i := range MaxAliases + 1 {
		many["a"+strconv.Itoa(i)] = 1
	}
	for name, tc := range map[string]struct {
		policy Policy
		want   string // "" is good
	}{
		"nothing":         {Policy{}, ""},
		"everything":      {Policy{map[string]int{"stable": 1, "4x": 2}, []Share{{1, 1}, {2, 1000}}}, ""},
		"latest":          {Policy{Aliases: map[string]int{"latest": 1}}, "always the newest"},
		"a number":        {Policy{Aliases: map[string]int{"12": 1}}, `aliases["12"]: expected a name`},
		"a capital":       {Policy{Aliases: map[string]int{"Stable": 1}}, "expected a name"},
		"a path":          {Policy{Aliases: map[string]int{"../x": 1}}, "expected a name"},
		"a long one":      {Policy{Aliases: map[string]int{strings.Repeat("a", 64): 1}}, "expected a name"},
		"version 0":       {Policy{Aliases: map[string]int{"stable": 0}}, "expected a version from 1 to 2147483647, got 0"},
		"over the bound":  {Policy{Aliases: map[string]int{"stable": 1 << 31}}, "got 2147483648"},
		"a share over it": {Policy{Split: []Share{{1 << 31, 1}}}, "split[0].version"},
		"too many":        {Policy{Aliases: many}, "at most 32, got 33"},
		"too many shares": {Policy{Split: make([]Share, 17)}, "at most 16 versions, got 17"},
		"no weight":       {Policy{Split: []Share{{1, 0}}}, "split[0].weight: expected 1 to 1000, got 0"},
		"a heavy one":     {Policy{Split: []Share{{1, 1001}}}, "expected 1 to 1000"},
		"a share of none": {Policy{Split: []Share{{-1, 1}}}, "split[0].version"},
		"a version twice": {Policy{Split: []Share{{1, 1}, {1, 1}}}, "split[1].version: 1 is there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.policy.Check()
			if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(`{"policy":{"schema":1,"name":"m","generation":5,"aliases":{"stable":1},"split":[{"version":1,"weight":2}]},"signatures":["AA=="]}`))
	f.Add([]byte(`{"policy":{"schema":1,"name":"m","generation":0}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy("m", data)
		if err != nil {
			return
		}
		again, err := p.Marshal(nil)
		if err != nil {
			t.Fatal(err)
		}
		q, err := ParsePolicy("m", again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !maps.Equal(p.Aliases, q.Aliases) || !cmp.Equal(len(p.Split), len(q.Split)) {
			t.Errorf("%+v became %+v", p, q)
		}
	})
}
