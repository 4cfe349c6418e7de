package rightstest_test

import (
	"testing"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/rights/rightstest"
	"github.com/modelserveai/modelserve/gateway/storetest"
)

// memory implements storetest.Database.
type memory struct{ store *rightstest.Store }

func (m memory) Open(*testing.T) storetest.Store    { return m.store }
func (m memory) Copy(*testing.T) storetest.Database { return memory{m.store.Copy()} }

func (m memory) Damage(t *testing.T, tenant string, seq int64, column string) {
	t.Helper()
	err := m.store.Damage(tenant, seq, func(e *audit.Entry) {
		switch column {
		case "tenant":
			e.Tenant += "x"
		case "seq":
			e.Seq++
		case "at":
			e.At = e.At.Add(1e6)
		case "actor":
			e.Actor += "x"
		case "action":
			e.Action += "x"
		case "resource":
			e.Resource += "x"
		case "outcome":
			e.Outcome += "x"
		case "reason":
			e.Reason += "x"
		case "request_id":
			e.RequestID += "x"
		case "address":
			e.Address += "x"
		case "count":
			e.Count++
		case "previous":
			e.Previous += "x"
		case "hash":
			e.Hash += "x"
		default:
			t.Errorf("no column %s", column)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (m memory) Remove(_ *testing.T, tenant string, from, to int64, head bool) {
	m.store.Remove(tenant, from, to, head)
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.RunStore(t, func(*testing.T) storetest.Database { return memory{&rightstest.Store{}} })
}
