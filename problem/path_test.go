package problem_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

func TestPath(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 40)
	for want, tokens := range map[string][]string{
		"body":             nil,
		"inputs[0].shape":  {"inputs", "0", "shape"},
		"0":                {"0"}, // a name, since what is above is no list
		"a.-1":             {"a", "-1"},
		long[:64] + "….x":  {long, "x"},
		"a.a.a.a.a.a.a.a…": slices.Repeat([]string{"a"}, 9),
		"polygons[3][0]":   {"polygons", "3", "0"},
		"a.99999999999":    {"a", "99999999999"},
	} {
		if got := problem.Path(slices.Values(tokens)); got != want {
			t.Errorf("%q: %q, want %q", tokens, got, want)
		}
	}
}
