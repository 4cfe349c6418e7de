package gateway

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/eventing/envelope"
)

// FuzzMemberNames holds that of any JSON object a reserved name of its own is found,
// wherever the pieces end, and no other.
func FuzzMemberNames(f *testing.F) {
	f.Add(`{"a":{"ticket":1},"b":["ticket"],"c":"\"ticket\":"}`, 3)
	f.Add(`{"a":"\\","\u0074icket":1}`, 1)
	f.Add(` { "Tenant" : null } `, 2)
	f.Add(`[{"ticket":1}]`, 1)
	f.Fuzz(func(t *testing.T, text string, piece int) {
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &object) != nil || object == nil {
			return
		}
		want := false
		for name := range object {
			want = want || slices.Contains(envelope.Reserved(), strings.ToLower(name))
		}
		m := new(memberNames)
		found := ""
		for p := range slices.Chunk([]byte(text), max(1, min(piece, 64))) {
			if name := m.read(p); name != "" && found == "" {
				found = name
			}
		}
		if (found != "") != want {
			t.Errorf("found %q in %s", found, text)
		}
	})
}
