package function

import (
	"slices"
	"strings"
	"testing"
)

// TestFaultsAreReportedInOneOrder holds that the same mistakes are reported alike
// each time.
func TestFaultsAreReportedInOneOrder(t *testing.T) {
	t.Parallel()
	var first []string
	for range 20 {
		var names []string
		for _, fault := range new(config).Check() {
			name, _, _ := strings.Cut(fault.Error(), ":")
			names = append(names, name)
		}
		if first == nil {
			first = names
		}
		if len(names) < 10 || !slices.Equal(names, first) {
			t.Fatalf("faults of %q, then of %q", first, names)
		}
	}
}
