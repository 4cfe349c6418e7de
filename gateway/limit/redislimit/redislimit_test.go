package redislimit_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/gateway/limit/limittest"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
)

// store is a Redis at a URL.
type store struct {
	url    string
	client redis.UniversalClient
	next   int
}

func (s *store) Replica(t *testing.T) limit.Counters {
	t.Helper()
	s.next++
	c, err := redislimit.Open(s.url, "test", "replica"+string(rune('0'+s.next)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *store) Lifetimes(t *testing.T) map[string]time.Duration {
	t.Helper()
	out := map[string]time.Duration{}
	keys, err := s.client.Keys(t.Context(), "{test}:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if out[key], err = s.client.PTTL(t.Context(), key).Result(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (s *store) Forget(t *testing.T) {
	t.Helper()
	if err := s.client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestMiniredis(t *testing.T) {
	t.Parallel()
	limittest.Run(t, func(t *testing.T) limittest.Store {
		t.Helper()
		m := miniredis.RunT(t)
		client := redis.NewClient(&redis.Options{Addr: m.Addr()})
		t.Cleanup(func() { _ = client.Close() })
		return &store{url: "redis://" + m.Addr(), client: client}
	})
}
