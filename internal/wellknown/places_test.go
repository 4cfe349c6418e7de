package wellknown

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// arrival is so many calls of one client in a row; caller is "" without a key.
type arrival struct {
	caller, remote string
	times          int
}

// TestPlacesAreShared holds who watches when more would than may, here twelve, nine
// of them without a key.
func TestPlacesAreShared(t *testing.T) {
	t.Parallel()
	from := func(address, port int) string { return fmt.Sprintf("10.0.0.%d:%d", address, port) }
	swarm := func(addresses int) (list []arrival) {
		for i := range addresses {
			list = append(list, arrival{"", from(i, 1), 1})
		}
		return list
	}
	greedy := arrival{"", from(1, 1), 100}
	for name, tc := range map[string]struct {
		come []arrival
		want map[string]int // places, by client and connection
	}{
		"one alone":                  {[]arrival{greedy}, map[string]int{"address 10.0.0.1 10.0.0.1:1": 9}},
		"another address":            {[]arrival{greedy, {"", from(2, 1), 1}}, map[string]int{"address 10.0.0.1 10.0.0.1:1": 8, "address 10.0.0.2 10.0.0.2:1": 1}},
		"another as greedy":          {[]arrival{greedy, {"", from(2, 1), 100}}, map[string]int{"address 10.0.0.1 10.0.0.1:1": 5, "address 10.0.0.2 10.0.0.2:1": 4}},
		"another of the address":     {[]arrival{greedy, {"", from(1, 2), 2}}, map[string]int{"address 10.0.0.1 10.0.0.1:1": 7, "address 10.0.0.1 10.0.0.1:2": 2}},
		"a caller with a key":        {[]arrival{greedy, {"k", from(1, 1), 100}}, map[string]int{"address 10.0.0.1 10.0.0.1:1": 6, "caller k 10.0.0.1:1": 6}},
		"a caller who came before":   {[]arrival{{"k", from(2, 1), 3}, greedy}, map[string]int{"address 10.0.0.1 10.0.0.1:1": 9, "caller k 10.0.0.2:1": 3}},
		"a greedy caller":            {[]arrival{{"k", from(2, 1), 100}, {"", from(1, 1), 2}, {"l", from(2, 1), 1}}, map[string]int{"caller k 10.0.0.2:1": 9, "address 10.0.0.1 10.0.0.1:1": 2, "caller l 10.0.0.2:1": 1}},
		"addresses of one network":   {[]arrival{{"", "[2001:db8::1]:1", 5}, {"", "[2001:db8::2]:1", 5}, {"", "[2001:db8:0:1::1]:1", 9}}, map[string]int{"address 2001:db8::/64 [2001:db8::1]:1": 2, "address 2001:db8::/64 [2001:db8::2]:1": 3, "address 2001:db8:0:1::/64 [2001:db8:0:1::1]:1": 4}},
		"an address of version 4":    {[]arrival{{"", "[::ffff:10.0.0.1]:1", 1}, {"", "@", 1}}, map[string]int{"address 10.0.0.1 [::ffff:10.0.0.1]:1": 1, "address @ @": 1}},
		"a swarm, then callers":      {append(swarm(100), arrival{"k", from(0, 1), 2}, arrival{"l", from(0, 1), 1}), map[string]int{"caller k 10.0.0.0:1": 2, "caller l 10.0.0.0:1": 1}},
		"a swarm takes no other's":   {append([]arrival{{"", from(200, 1), 1}}, swarm(100)...), map[string]int{"address 10.0.0.200 10.0.0.200:1": 1}},
		"the greedy one comes again": {[]arrival{greedy, {"", from(2, 1), 1}, greedy}, map[string]int{"address 10.0.0.1 10.0.0.1:1": 8, "address 10.0.0.2 10.0.0.2:1": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &places{most: 12}
			var all []*watcher
			for _, a := range tc.come {
				for range a.times {
					if w := watcherOf(a.caller, a.remote); p.enter(w) {
						all = append(all, w)
					}
				}
			}
			have := map[string]int{}
			for _, w := range p.taken {
				have[w.client+" "+w.connection]++
			}
			maps.DeleteFunc(have, func(key string, _ int) bool { return len(tc.come) > 100 && tc.want[key] == 0 })
			if diff := cmp.Diff(tc.want, have); diff != "" {
				t.Error(diff)
			}
			for _, w := range all { // who lost a place knows, and gives back nobody's
				select {
				case <-w.out:
					if slices.Contains(p.taken, w) {
						t.Error("one with a place is ended")
					}
				default:
					if !slices.Contains(p.taken, w) {
						t.Error("one without a place is not ended")
					}
				}
				p.leave(w)
			}
			if len(p.taken) != 0 {
				t.Errorf("%d places are kept", len(p.taken))
			}
		})
	}
}
