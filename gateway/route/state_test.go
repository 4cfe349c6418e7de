package route_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/route"
)

func TestShared(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ lists, want [][]string }{
		"none":          {nil, [][]string{nil, nil}},
		"one":           {[][]string{{"a", "b"}}, [][]string{{"a", "b"}, nil}},
		"a canary":      {[][]string{{"a@1", "b"}, {"b", "a@2"}}, [][]string{{"b"}, {"a@1", "a@2"}}},
		"one of no one": {[][]string{{"a"}, nil}, [][]string{nil, {"a"}}},
		"twice":         {[][]string{{"a"}, {"b"}, {"b"}}, [][]string{nil, {"a", "b"}}},
	} {
		common, mixed := route.Shared(tc.lists)
		got := [][]string{append([]string(nil), common...), append([]string(nil), mixed...)}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}
