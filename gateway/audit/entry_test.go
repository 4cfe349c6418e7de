package audit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/audit"
)

// TestTheLongestActorIsWhole holds that no two subjects of tokens are one in the log.
func TestTheLongestActorIsWhole(t *testing.T) {
	t.Parallel()
	actor := "subject:" + strings.Repeat("i", 255) + " " + strings.Repeat("s", 255)
	e, err := audit.Head{Tenant: "acme"}.Next(audit.Entry{At: time.Now(), Actor: actor, Action: "key.create", Outcome: audit.Done})
	if err != nil || e.Actor != actor {
		t.Errorf("actor %q, error %v", e.Actor, err)
	}
}
