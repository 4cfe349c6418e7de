package redistest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// A cluster's parts. A primary that is silent for nodeTimeout is replaced.
const (
	primaries   = 3
	slots       = 16384
	nodeTimeout = 2000 // ms; well above what a busy machine keeps a process waiting
)

// Cluster is a Redis Cluster of three primaries and a replica of each. One goroutine at a
// time uses it.
type Cluster struct {
	Servers  []*Server // the three that began as primaries, and their replicas in the same order
	Password string
}

// StartCluster runs a cluster with nothing in it, which ends with its test.
func StartCluster(t *testing.T) *Cluster {
	t.Helper()
	c, err := RunCluster(t.Context())
	until(t, c, err)
	return c
}

// RunCluster runs a cluster with nothing in it, for who is no test: they Close it. Every
// member knows all others, and the replicas follow.
func RunCluster(ctx context.Context) (*Cluster, error) {
	c := &Cluster{Password: "p@ss/w:rd?#%" + rand.Text()}
	err := c.open(ctx)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) open(ctx context.Context) error {
	for range 2 * primaries {
		s, err := newServer(c.Password)
		if err != nil {
			return err
		}
		c.Servers = append(c.Servers, s)
		if err := s.configureMember(); err != nil {
			return err
		}
	}
	if err := c.each(ctx, func(ctx context.Context, _ int, s *Server) error { return s.start(ctx) }); err != nil {
		return err
	}
	if err := c.meet(ctx); err != nil {
		return fmt.Errorf("make a cluster: %w", err)
	}
	return c.ready(ctx)
}

// configureMember has a server be a member of a cluster, with a port for the others.
func (s *Server) configureMember() error {
	bus, err := freePortOf(s.Addr)
	if err != nil {
		return err
	}
	s.bus = bus
	host, _, _ := net.SplitHostPort(s.Addr) // it is one
	return s.configure(
		"cluster-enabled yes", "cluster-config-file nodes.conf", fmt.Sprintf("cluster-node-timeout %d", nodeTimeout),
		"cluster-port "+bus, "cluster-announce-ip "+host, "cluster-replica-validity-factor 0", "cluster-allow-replica-migration no",
	)
}

// freePortOf is another free port of an address' host.
func freePortOf(address string) (string, error) {
	host, _, _ := net.SplitHostPort(address) // it is one
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// each does something to every server at once.
func (c *Cluster) each(ctx context.Context, do func(ctx context.Context, i int, s *Server) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range c.Servers {
		group.Go(func() error { return do(ctx, i, s) })
	}
	return group.Wait()
}

// meet gives the primaries their slots, introduces all to one another, and has the
// replicas follow.
func (c *Cluster) meet(ctx context.Context) error {
	first := c.Servers[0]
	for i, s := range c.Servers {
		if err := s.client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		if i < primaries {
			if err := s.client.ClusterAddSlotsRange(ctx, i*slots/primaries, (i+1)*slots/primaries-1).Err(); err != nil {
				return err
			}
		}
		if i > 0 {
			host, port, _ := net.SplitHostPort(s.Addr) // it is one
			if err := first.client.Do(ctx, "CLUSTER", "MEET", host, port, s.bus).Err(); err != nil {
				return err
			}
		}
	}
	var ids []string
	for _, s := range c.Servers[:primaries] {
		id, err := s.client.ClusterMyID(ctx).Result()
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	return c.each(ctx, func(ctx context.Context, i int, s *Server) error {
		if i < primaries {
			return nil
		}
		return s.await(ctx, "know its primary", func(ctx context.Context) error {
			return s.client.ClusterReplicate(ctx, ids[i-primaries]).Err()
		})
	})
}

// ready waits until every server serves all slots, and every replica follows.
func (c *Cluster) ready(ctx context.Context) error {
	return c.each(ctx, func(ctx context.Context, i int, s *Server) error {
		err := s.await(ctx, "serve the cluster", func(ctx context.Context) error {
			nodes, err := s.client.ClusterNodes(ctx).Result()
			if err == nil && (strings.Count(nodes, " master ")+strings.Count(nodes, ",master ") != primaries || strings.Count(nodes, "slave ") != primaries) {
				err = errors.New(nodes)
			}
			if err != nil {
				return err
			}
			return s.serves(ctx)
		})
		if err == nil && i >= primaries {
			err = s.synced(ctx)
		}
		return err
	})
}

// serves is an error unless a member finds that every slot is served.
func (s *Server) serves(ctx context.Context) error {
	info, err := s.client.ClusterInfo(ctx).Result()
	if err == nil && !strings.Contains(info, "cluster_state:ok") {
		err = errors.New(info)
	}
	return err
}

// URL is the cluster's, by all its servers.
func (c *Cluster) URL() string {
	query := url.Values{}
	for _, s := range c.Servers[1:] {
		query.Add("addr", s.Addr)
	}
	return c.Servers[0].URL() + "?" + query.Encode()
}

// PrimaryOf is Primary for a test, which ends where there is none.
func (c *Cluster) PrimaryOf(t *testing.T, slot int) *Server {
	t.Helper()
	s, err := c.Primary(t.Context(), slot)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Primary is the server that serves a slot, as all that run find, and waits until they
// do: after KillPrimary, until the cluster has made another one primary.
func (c *Cluster) Primary(ctx context.Context, slot int) (*Server, error) {
	var running []*Server
	for _, s := range c.Servers {
		if s.run != nil {
			running = append(running, s)
		}
	}
	var found *Server
	// All are asked anew until they say the same: who was asked first may have said so
	// before another was made primary.
	err := running[0].await(ctx, "find the primary of a slot", func(ctx context.Context) error {
		found = nil
		for _, s := range running {
			shards, err := s.client.ClusterShards(ctx).Result()
			if err != nil {
				return err
			}
			address := primaryOf(shards, int64(slot))
			at := slices.IndexFunc(running, func(s *Server) bool { return s.Addr == address })
			if at < 0 || found != nil && found != running[at] {
				return fmt.Errorf("slot %d is served by %q, finds %s", slot, address, s.Addr)
			}
			if err := s.serves(ctx); err != nil {
				return err
			}
			found = running[at]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// primaryOf is the address of who serves a slot; "" is nobody.
func primaryOf(shards []redis.ClusterShard, slot int64) string {
	for _, shard := range shards {
		if !slices.ContainsFunc(shard.Slots, func(r redis.SlotRange) bool { return r.Start <= slot && slot <= r.End }) {
			continue
		}
		for _, node := range shard.Nodes {
			if node.Role == "master" && node.Health == "online" {
				return net.JoinHostPort(node.IP, strconv.FormatInt(node.Port, 10))
			}
		}
	}
	return ""
}

// KillPrimaryOf is KillPrimary for a test, which ends where there is none.
func (c *Cluster) KillPrimaryOf(t *testing.T, slot int) *Server {
	t.Helper()
	s, err := c.KillPrimary(t.Context(), slot)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// KillPrimary ends the server that serves a slot as a crash does, and returns it at
// once: the slot is served again when Primary returns.
func (c *Cluster) KillPrimary(ctx context.Context, slot int) (*Server, error) {
	s, err := c.Primary(ctx, slot)
	if err != nil {
		return nil, err
	}
	s.kill()
	return s, nil
}

// Close ends the cluster, and leaves nothing of it.
func (c *Cluster) Close() error {
	var faults []error
	for _, s := range c.Servers {
		faults = append(faults, s.Close())
	}
	return errors.Join(faults...)
}
