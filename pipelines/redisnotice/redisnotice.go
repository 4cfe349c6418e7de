// Package redisnotice carries the notices of package live between replicas, by Redis'
// publish and subscribe, of one server or a cluster.
//
// It stores nothing: who is not connected misses what is published, and looks by itself
// a second later.
package redisnotice

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Notices implements live.Notices. It is safe for concurrent use.
type Notices struct {
	client  redis.UniversalClient
	channel string
}

// New makes Notices of a client, which stays the caller's to close. Deployments that
// share a Redis have prefixes of their own.
func New(client redis.UniversalClient, prefix string) *Notices {
	return &Notices{client: client, channel: prefix + ":executions"}
}

// Publish implements live.Notices.
func (n *Notices) Publish(ctx context.Context, executions []string) error {
	if err := n.client.Publish(ctx, n.channel, strings.Join(executions, "\n")).Err(); err != nil {
		return fmt.Errorf("publish to Redis: %w", err)
	}
	return nil
}

// Receive implements live.Notices.
func (n *Notices) Receive(ctx context.Context, changed func(execution string)) error {
	subscription := n.client.Subscribe(ctx, n.channel)
	defer subscription.Close()
	if _, err := subscription.Receive(ctx); err != nil { // its confirmation
		return fmt.Errorf("subscribe to Redis: %w", err)
	}
	messages := subscription.Channel() // connects again by itself, and pings
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case message, open := <-messages:
			if !open {
				return errors.New("the subscription to Redis ended")
			}
			for execution := range strings.SplitSeq(message.Payload, "\n") {
				changed(execution)
			}
		}
	}
}
