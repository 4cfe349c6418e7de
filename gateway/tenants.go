package gateway

import (
	"sync"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// mostTenants bounds the tenants with a label value of their own: so many that have
// keys, and as many of tokens. The others share one.
const mostTenants = 100

const otherTenants = "_other"

// tenants are the tenants that metrics name, the first ones that called. A tenant of
// keys is one that an admin made. What a token's tenant is, its issuer says, and an
// expression may make one of each of its subjects: those take no key's place.
type tenants struct {
	mu               sync.Mutex
	ofKeys, ofTokens map[string]bool
}

func newTenants() *tenants { return &tenants{ofKeys: map[string]bool{}, ofTokens: map[string]bool{}} }

// label is the label value for whose a call is; "" where nobody is known.
func (t *tenants) label(p *auth.Principal) string {
	if p == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ofKeys[p.Tenant] || t.ofTokens[p.Tenant] {
		return p.Tenant
	}
	known := t.ofTokens
	if p.Lineage != "" {
		known = t.ofKeys
	}
	if len(known) >= mostTenants {
		return otherTenants
	}
	known[p.Tenant] = true
	return p.Tenant
}
