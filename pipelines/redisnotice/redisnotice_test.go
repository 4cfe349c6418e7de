package redisnotice_test

import (
	"context"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/pipelines/live"
	"github.com/modelserveai/modelserve/pipelines/redisnotice"
	"github.com/modelserveai/modelserve/test/redistest"
)

var _ live.Notices = (*redisnotice.Notices)(nil)

func TestWhatOnePublishesAllReceive(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	address := server.Addr()
	open := func(prefix string) *redisnotice.Notices {
		client := redis.NewClient(&redis.Options{Addr: address})
		t.Cleanup(func() { _ = client.Close() })
		return redisnotice.New(client, prefix)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, ended := make(chan string, 10), make(chan error, 2)
	for range 2 {
		go func() { ended <- open("a").Receive(ctx, func(id string) { got <- id }) }()
	}
	for server.PubSubNumSub("a:executions")["a:executions"] < 2 {
		runtime.Gosched()
	}
	if err := open("b").Publish(t.Context(), []string{"other"}); err != nil {
		t.Fatal(err)
	}
	if err := open("a").Publish(t.Context(), []string{"x1", "x2"}); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for range 4 {
		count[<-got]++
	}
	if diff := cmp.Diff(map[string]int{"x1": 2, "x2": 2}, count); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	cancel()
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("it ended without a reason")
		}
	}
	server.Close()
	if err := open("a").Publish(t.Context(), []string{"x"}); err == nil {
		t.Error("published to nobody")
	}
	if err := open("a").Receive(t.Context(), nil); err == nil {
		t.Error("received of nobody")
	}
}

// TestTheUserOfTheDocs holds that a user who may do no more than docs/operate.md says may
// do enough, of one server and of a cluster.
func TestTheUserOfTheDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	var rule []any
	for word := range strings.FieldsSeq(regexp.MustCompile("(?m)^ACL SETUSER pipelines on >PASSWORD .+$").FindString(string(page))) {
		rule = append(rule, word)
	}
	server, cluster := redistest.Start(t), redistest.StartCluster(t)
	for _, s := range append([]*redistest.Server{server}, cluster.Servers...) {
		if err := s.Client().Do(t.Context(), rule...).Err(); err != nil {
			t.Fatalf("%q: %v", rule, err)
		}
	}
	for name, address := range map[string]string{"one server": server.URL(), "a cluster": cluster.URL()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.UserPassword("pipelines", "PASSWORD")
			client, err := redislimit.Client(u.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			notices := redisnotice.New(client, "modelserve")
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			got, ended := make(chan string, 1), make(chan error, 1)
			go func() {
				ended <- notices.Receive(ctx, func(id string) {
					select {
					case got <- id:
					default:
					}
				})
			}()
			for {
				if err := notices.Publish(ctx, []string{"x1"}); err != nil {
					t.Fatal(err)
				}
				select {
				case id := <-got:
					if id != "x1" {
						t.Errorf("got %s", id)
					}
					return
				case err := <-ended:
					t.Fatal(err)
				default: // nobody listens yet
					runtime.Gosched()
				}
			}
		})
	}
}
