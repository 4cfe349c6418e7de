package nice_test

import (
	"os"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/nice"
)

// TestAThreadIsNicerThanTheOthers holds what the system says of the thread that runs it,
// and that the caller's own is as it was.
func TestAThreadIsNicerThanTheOthers(t *testing.T) {
	t.Parallel()
	before := niceness(t)
	var inside string
	if err := nice.New(1).Do(t.Context(), "a", func() { inside = niceness(t) }); err != nil {
		t.Fatal(err)
	}
	if inside == before || inside <= "0" {
		t.Errorf("its niceness is %s, the others' %s", inside, before)
	}
	if after := niceness(t); after != before {
		t.Errorf("the caller's niceness is %s, and was %s", after, before)
	}
}

// niceness is field 19 of proc_pid_stat(5), of the thread that reads it.
func niceness(t *testing.T) string {
	t.Helper()
	stat, err := os.ReadFile("/proc/thread-self/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.Fields(rest)[16]
}
