// Package pipelines is the pipelines service in the local platform: its rows in SQLite,
// its values in the local S3, its channels in this process (local/channel), and the
// gateway's way to it without a connection.
package pipelines

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/local/channel"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/plan"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

// The names that objects have here, as a cluster's have.
const (
	namespace   = "default"
	serviceName = "modelserve-pipelines"
)

// maxVersions bounds the versions whose channels are there. Those of another one are
// made again when it is its turn.
const maxVersions = 256

// versions are where definitions come from.
type versions interface {
	Version(ctx context.Context, id record.VersionID) (*record.Version, error)
}

// Services finds the Service that a function, or else a published model, answers at.
type Services interface {
	// Service returns its name, and whether what was asked for is a model that it
	// serves. The error is definition.ErrNoFunction where there is none.
	Service(ctx context.Context, name string) (service string, model bool, err error)
}

// channels are those of versions, made when the first event of one is sent.
type channels struct {
	hub      *channel.Hub
	versions versions
	services Services
	signer   *ticket.Signer

	mu    sync.Mutex
	made  map[record.VersionID]*made
	clock int64 // of uses
}

// made is a version whose channels are there, or are being made.
type made struct {
	mu   sync.Mutex // held while they are made
	plan *plan.Plan // nil: they are not there
	used int64
}

func newChannels(hub *channel.Hub, v versions, s Services, signer *ticket.Signer) *channels {
	return &channels{hub: hub, versions: v, services: s, signer: signer, made: map[record.VersionID]*made{}}
}

// First is where the event of a segment's step is posted to. The channels of the version
// are made first, where they are not there.
func (c *channels) First(ctx context.Context, owner, pipeline string, version, segment, step int) (url, host string, err error) {
	id := record.VersionID{Owner: owner, Name: pipeline, Number: version}
	one := c.use(id)
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.plan == nil {
		if one.plan, err = c.make(ctx, id); err != nil {
			return "", "", err
		}
	}
	if segment < 0 || segment >= len(one.plan.Segments) || step < 0 || step >= len(one.plan.Segments[segment].Steps) || one.plan.Segments[segment].Outside {
		return "", "", fmt.Errorf("%s version %d has no channel of segment %d, step %d", pipeline, version, segment, step)
	}
	return c.hub.URL(compile.Channel(compile.Sequence(owner, pipeline, version, segment), step)), "", nil
}

// use finds a version's entry, and makes room for a new one: the channels that were used
// least recently go. Events in them fail to reach the next channel, and come again.
func (c *channels) use(id record.VersionID) *made {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	one := c.made[id]
	if one == nil {
		if len(c.made) >= maxVersions {
			oldest := id
			for other, m := range c.made {
				if oldest == id || m.used < c.made[oldest].used {
					oldest = other
				}
			}
			delete(c.made, oldest)
			c.hub.Remove(ownerOf(oldest))
		}
		one = &made{}
		c.made[id] = one
	}
	one.used = c.clock
	return one
}

// ownerOf is the hub's name of a version.
func ownerOf(id record.VersionID) string {
	return fmt.Sprintf("%s/%s@%d", id.Owner, id.Name, id.Number)
}

// make makes the channels of a version.
func (c *channels) make(ctx context.Context, id record.VersionID) (*plan.Plan, error) {
	v, err := c.versions.Version(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("find %s version %d: %w", id.Name, id.Number, err)
	}
	d, err := definition.Parse(v.Canonical)
	if err != nil {
		return nil, fmt.Errorf("read %s version %d: %w", id.Name, id.Number, err)
	}
	p := plan.Of(d)
	target := compile.Target{
		Namespace: namespace, Functions: map[string]compile.Function{},
		Service: duckv1.KReference{APIVersion: "v1", Kind: "Service", Name: serviceName},
	}
	for i := range d.Steps {
		name := d.Steps[i].Function
		if name == "" {
			continue
		}
		service, model, err := c.services.Service(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("step %s: function %s: %w", d.Steps[i].Name, name, err)
		}
		target.Functions[name] = compile.Function{Service: service, Model: model}
	}
	objects, err := compile.Of(p, compile.Version{Tenant: id.Owner, Pipeline: id.Name, Number: id.Number, Digest: v.Digest}, target, c.signer)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the version
	}
	err = c.hub.Apply(ctx, ownerOf(id), channel.Objects{
		Sequences: objects.Sequences, Parallels: objects.Parallels, Subscriptions: objects.Subscriptions,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the version
	}
	return p, nil
}

// late is a handler that is set after whoever needs it was made.
type late struct {
	mu      sync.RWMutex
	handler http.Handler
}

// set puts the handler in place.
func (l *late) set(handler http.Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handler = handler
}

// ServeHTTP has the handler answer; before there is one, the caller may come again.
func (l *late) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.RLock()
	handler := l.handler
	l.mu.RUnlock()
	if handler == nil {
		problem.Write(w, problem.New(problem.Unavailable, "the pipelines service is starting"))
		return
	}
	handler.ServeHTTP(w, r)
}
