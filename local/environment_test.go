package local

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFunctionsInheritWhatIsPassedOn holds which of the platform's variables
// functions get: those that set how to run, the pattern for memory that nobody
// wrote among them, and no secrets.
func TestFunctionsInheritWhatIsPassedOn(t *testing.T) {
	t.Parallel()
	got := inherited([]string{
		"PATH=/bin", "MODELSERVE_POISON=all", "OTEL_SERVICE_NAME=x", "MODELSERVE_KEY=ms_x", "MODELSERVE_POISONED=1", "AWS_SECRET_ACCESS_KEY=x",
	})
	if diff := cmp.Diff([]string{"PATH=/bin", "MODELSERVE_POISON=all", "OTEL_SERVICE_NAME=x"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
