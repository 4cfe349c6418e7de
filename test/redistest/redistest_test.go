package redistest_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/test/redistest"
)

// open is a client of a URL, which asks once and waits for a moment.
func open(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries, options.ReadTimeout, options.DialTimeout = -1, 200*time.Millisecond, 5*time.Second
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// eventually asks until there is no error, at most for a minute.
func eventually(t *testing.T, what string, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func wants(t *testing.T, client redis.UniversalClient, key, want string) {
	t.Helper()
	eventually(t, key+" is read", func(ctx context.Context) error {
		got, err := client.Get(ctx, key).Result()
		if err == nil && got != want {
			t.Fatalf("%s is %q, want %q", key, got, want)
		}
		return err
	})
}

func set(t *testing.T, client redis.UniversalClient, key, value string) {
	t.Helper()
	eventually(t, key+" is written", func(ctx context.Context) error { return client.Set(ctx, key, value, 0).Err() })
}

func TestDataOutlivesAKilledServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := open(t, server.URL())
	set(t, client, "key", "value")
	server.Kill(t)
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("a killed server answers")
	}
	server.Restart(t)
	wants(t, client, "key", "value")
	server.Restart(t) // one that runs
	wants(t, client, "key", "value")
}

func TestAPausedServerAnswersNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := open(t, server.URL())
	set(t, client, "key", "value")
	server.Pause(t)
	for range 3 { // by a connection that was open, and by new ones
		if err := client.Get(t.Context(), "key").Err(); err == nil {
			t.Error("a paused server answers")
		}
	}
	server.Resume(t)
	wants(t, client, "key", "value")
	server.Pause(t) // and ends with the test
}

func TestThePasswordIsNeeded(t *testing.T) {
	t.Parallel()
	server, other := redistest.Start(t), redistest.Start(t)
	for name, url := range map[string]string{
		"none": "redis://" + server.Addr, "another": "redis://:wrong@" + server.Addr, "another server's": strings.Replace(other.URL(), other.Addr, server.Addr, 1),
	} {
		if err := open(t, url).Get(t.Context(), "key").Err(); err == nil || errors.Is(err, redis.Nil) {
			t.Errorf("with the password %q: %v", name, err)
		}
	}
}

// TestAReplica holds that a replica has what was written before it began and after, and
// that one which is promoted takes writes, without the last ones that it never got.
func TestAReplica(t *testing.T) {
	t.Parallel()
	primary, replica := redistest.StartReplicated(t)
	set(t, primary.Client(), "key", "value")
	eventually(t, "it follows", func(ctx context.Context) error { return replica.Client().Get(ctx, "key").Err() })
	client := open(t, replica.URL())
	if err := client.Set(t.Context(), "key", "other", 0).Err(); err == nil {
		t.Error("a replica is written to")
	}
	replica.Pause(t)
	set(t, primary.Client(), "late", "value")
	primary.Pause(t) // nothing more leaves it, and what the kernel has, the replica may read
	primary.Kill(t)
	replica.Resume(t)
	replica.Promote(t)
	set(t, client, "key", "after")
	wants(t, client, "key", "after")
}

func TestACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	options, err := redis.ParseClusterURL(cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClusterClient(options)
	t.Cleanup(func() { _ = client.Close() })
	keys := []string{"a", "b", "c", "{tag}:1", "{tag}:2"} // a is slot 15495, b 3300, c 7365
	for _, key := range keys {
		set(t, client, key, "of "+key)
	}
	slot, err := client.ClusterKeySlot(t.Context(), "b").Result()
	if err != nil {
		t.Fatal(err)
	}
	serving := map[*redistest.Server]bool{}
	for _, key := range keys[:3] {
		slot, err := client.ClusterKeySlot(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		serving[cluster.PrimaryOf(t, int(slot))] = true
	}
	if len(serving) != 3 {
		t.Errorf("%d servers serve the slots, want 3", len(serving))
	}
	killed := cluster.KillPrimaryOf(t, int(slot))
	if now := cluster.PrimaryOf(t, int(slot)); now == killed {
		t.Error("the killed server still serves")
	}
	client.ReloadState(t.Context()) // it would go on asking the killed one for a minute
	set(t, client, "b", "after")
	wants(t, client, "b", "after")
	wants(t, client, "{tag}:2", "of {tag}:2")
	killed.Restart(t)
	if now := cluster.PrimaryOf(t, int(slot)); now == killed {
		t.Error("the killed server serves again, without the other's data")
	}
}

// TestNothingIsLeft holds that a server ends when it is closed, however it was.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*testing.T, *redistest.Server){
		"running": func(*testing.T, *redistest.Server) {},
		"killed":  func(t *testing.T, s *redistest.Server) { s.Kill(t) },
		"paused":  func(t *testing.T, s *redistest.Server) { s.Pause(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := redistest.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			folder, err := server.Client().ConfigGet(t.Context(), "dir").Result()
			if err != nil {
				t.Fatal(err)
			}
			before(t, server)
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(folder["dir"]); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", folder["dir"], err)
			}
			if err := open(t, server.URL()).Ping(t.Context()).Err(); err == nil {
				t.Error("a closed server answers")
			}
		})
	}
}
