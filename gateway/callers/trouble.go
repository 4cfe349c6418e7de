package callers

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/rights"
)

// unchecked watches for keys that cannot be checked, because the hash key that they
// were hashed with is not configured here. Callers get the answer of an unknown key, so
// that only the operator learns of it.
type unchecked struct {
	rights *rights.Mirror
	hasher *auth.Hasher

	mu   sync.Mutex
	of   *access.State
	keys []*auth.Key // of it
}

func newUnchecked(r *rights.Mirror, hasher *auth.Hasher, registry prometheus.Registerer) (*unchecked, error) {
	u := &unchecked{rights: r, hasher: hasher}
	err := registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "modelserve_gateway_keys_unchecked", Help: "Keys that are good and cannot be checked: the hash key that they were hashed with is not configured.",
	}, func() float64 {
		sum := 0
		for _, n := range u.by() {
			sum += n
		}
		return float64(sum)
	}))
	if err != nil {
		return nil, fmt.Errorf("register the metric of keys that cannot be checked: %w", err)
	}
	return u, nil
}

// by are how many keys that are good cannot be checked, by the id of their hash key.
func (u *unchecked) by() map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if state := u.rights.State(); state != u.of { // which does not change
		u.of = state
		u.keys = state.KeysThat(func(k *auth.Key) bool { return !u.hasher.Knows(k.Hash) })
	}
	out, now := map[string]int{}, time.Now()
	for _, k := range u.keys {
		if k.Status(now) == auth.Active {
			out[k.Hash.By]++
		}
	}
	return out
}

// report logs each hash key that is missing, once.
func (c *Callers) report() {
	by := c.unchecked.by()
	for id, n := range by {
		if !c.reported[id] {
			c.logger.Error("keys cannot be checked: the hash key that they were hashed with is not configured", "hash_key", id, "keys", n)
		}
	}
	clear(c.reported)
	for id := range by {
		c.reported[id] = true
	}
}

// troubles are what the operator should look at. They are shown to anybody.
func (c *Callers) troubles() []string {
	var out []string
	if c.file.InForce().Bad != "" {
		out = append(out, "the gateway's file is a bad one, and what was in force before it stays")
	}
	if len(c.unchecked.by()) > 0 {
		out = append(out, "there are keys whose hash key this gateway does not have")
	}
	return out
}
