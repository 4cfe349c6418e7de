package redisnotice_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/pipelines/live"
	"github.com/modelserveai/modelserve/pipelines/redisnotice"
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
