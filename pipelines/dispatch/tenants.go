package dispatch

import (
	"sync"

	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
)

// tenants are whose the executions are that were changed here last and have something to
// send: so the row of one is not read just to see whose turn it is.
type tenants struct {
	mu    sync.Mutex
	known map[string]string // by execution
}

const maxTenants = 4096 // executions; after that they are read again

// saved notes the execution of a change.
func (t *tenants) saved(s *decide.Saved) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.Execution.Status.Ended() {
		delete(t.known, s.Execution.ID)
		return
	}
	for i := range s.Change.Put {
		if s.Change.Put[i].What == execution.Send {
			if len(t.known) >= maxTenants {
				clear(t.known)
			}
			t.known[s.Execution.ID] = s.Execution.Tenant
			return
		}
	}
}

// of is an execution's tenant, where it is known.
func (t *tenants) of(id string) (tenant string, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tenant, known = t.known[id]
	return tenant, known
}
