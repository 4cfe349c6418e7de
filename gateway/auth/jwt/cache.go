package jwt

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// The bounds of what is remembered of verified tokens.
const (
	cacheFor  = time.Minute
	cacheMost = 10_000
	cacheLook = 32 // entries looked at to make room for one
)

// remembered is a verified token.
type remembered struct {
	principal *auth.Principal
	until     time.Time
	by        *issuer
	set       *keySet // that verified it
}

// cache remembers verified tokens by their hash; of the tokens themselves it holds
// nothing.
type cache struct {
	mu      sync.RWMutex
	entries map[[sha256.Size]byte]remembered
}

func newCache() *cache { return &cache{entries: map[[sha256.Size]byte]remembered{}} }

func (c *cache) get(hash [sha256.Size]byte) (remembered, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	found, ok := c.entries[hash]
	return found, ok
}

func (c *cache) put(hash [sha256.Size]byte, entry remembered, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.entries[hash]; !there {
		c.makeRoom(now)
	}
	c.entries[hash] = entry
}

// makeRoom drops what is spent among a few entries, else any of them. A map's order is
// random, so that over time all are met.
func (c *cache) makeRoom(now time.Time) {
	if len(c.entries) < cacheMost {
		return
	}
	seen := 0
	for hash, entry := range c.entries {
		if seen++; seen > cacheLook {
			break
		}
		if !now.Before(entry.until) {
			delete(c.entries, hash)
		}
	}
	for hash := range c.entries {
		if len(c.entries) < cacheMost {
			return
		}
		delete(c.entries, hash)
	}
}
