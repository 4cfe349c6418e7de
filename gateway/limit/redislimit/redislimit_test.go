package redislimit_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/gateway/limit/limittest"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/test/redistest"
)

// store is a part of a Redis at a URL, by a prefix of its own.
type store struct {
	url, prefix string
	client      redis.UniversalClient
	next        atomic.Int64
}

func newStore(url string, client redis.UniversalClient) *store {
	return &store{url: url, prefix: "test-" + strings.ToLower(rand.Text()), client: client}
}

func (s *store) Replica(t *testing.T) limit.Counters {
	t.Helper()
	c, err := redislimit.Open(s.url, s.prefix, fmt.Sprintf("replica%d", s.next.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *store) Lifetimes(t *testing.T) map[string]time.Duration {
	t.Helper()
	out := map[string]time.Duration{}
	var mu sync.Mutex
	look := func(ctx context.Context, client redis.UniversalClient) error {
		keys, err := client.Keys(ctx, "{"+s.prefix+"}:*").Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, key := range keys {
			if out[key], err = client.PTTL(ctx, key).Result(); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(t.Context(), func(ctx context.Context, client *redis.Client) error { return look(ctx, client) })
	} else {
		err = look(t.Context(), s.client)
	}
	if err != nil {
		t.Fatal(err)
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
		return newStore("redis://"+m.Addr(), client)
	})
}

func TestRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	limittest.Run(t, func(t *testing.T) limittest.Store {
		t.Helper()
		return newStore(server.URL(), server.Client())
	})
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	options, err := redis.ParseClusterURL(cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClusterClient(options)
	t.Cleanup(func() { _ = client.Close() })
	limittest.Run(t, func(t *testing.T) limittest.Store {
		t.Helper()
		return newStore(cluster.URL(), client)
	})
}
