package redislimit_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/gateway/limit/limittest"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/local/keyvalue"
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
	c, err := redislimit.OpenPatient(s.url, s.prefix, fmt.Sprintf("replica%d", s.next.Add(1)))
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

func (s *store) Spoil(t *testing.T, key string, list bool) {
	t.Helper()
	key = "{" + s.prefix + "}:" + key
	err := s.client.Del(t.Context(), key).Err()
	if err == nil && list {
		err = s.client.RPush(t.Context(), key, "x").Err()
	} else if err == nil {
		err = s.client.Set(t.Context(), key, "nonsense and more", 0).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *store) Forget(t *testing.T) {
	t.Helper()
	if err := s.client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestTheLocalRedis holds the same of what the local platform counts in.
func TestTheLocalRedis(t *testing.T) {
	t.Parallel()
	limittest.Run(t, func(t *testing.T) limittest.Store {
		t.Helper()
		local, err := keyvalue.Open(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		options, err := redis.ParseURL(local.URL)
		if err != nil {
			t.Fatal(err)
		}
		client := redis.NewClient(options)
		t.Cleanup(func() {
			_ = client.Close()
			if err := local.Close(); err != nil {
				t.Error(err)
			}
		})
		return newStore(local.URL, client)
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
	client := clusterClient(t, cluster)
	limittest.Run(t, func(t *testing.T) limittest.Store {
		t.Helper()
		return newStore(cluster.URL(), client)
	})
}

// TestTheUserOfTheDocs holds that a user who may do no more than docs/operate.md says may
// do enough, of one server and of a cluster.
func TestTheUserOfTheDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile("(?m)^ACL SETUSER gateway on >PASSWORD .+$").FindString(string(page))
	var args []any
	for word := range strings.FieldsSeq(rule) {
		args = append(args, word)
	}
	server, cluster := redistest.Start(t), redistest.StartCluster(t)
	for _, s := range append([]*redistest.Server{server}, cluster.Servers...) {
		if err := s.Client().Do(t.Context(), args...).Err(); err != nil {
			t.Fatalf("%q: %v", rule, err)
		}
	}
	for name, tc := range map[string]struct {
		url    string
		client redis.UniversalClient
	}{
		"one server": {server.URL(), server.Client()},
		"a cluster":  {cluster.URL(), clusterClient(t, cluster)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(tc.url)
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.UserPassword("gateway", "PASSWORD")
			limittest.Run(t, func(t *testing.T) limittest.Store {
				t.Helper()
				return newStore(u.String(), tc.client)
			})
		})
	}
}

// clusterClient looks at a cluster as who may do everything.
func clusterClient(t *testing.T, cluster *redistest.Cluster) *redis.ClusterClient {
	t.Helper()
	options, err := redis.ParseClusterURL(cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClusterClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}
