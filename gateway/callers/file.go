package callers

import (
	"context"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/internal/telemetry"
)

// follow puts the gateway's file in force.
func (c *Callers) follow(ctx context.Context, tel *telemetry.Telemetry) (err error) {
	c.tokens, err = jwt.New(nil, jwt.Options{Logger: tel.Logger, Registerer: tel.Registry})
	if err != nil {
		return err
	}
	c.file, err = gatewayfile.Follow(ctx, c.config.File, func(f *gatewayfile.File) error { return c.apply(f) }, tel.Registry, tel.Logger)
	if err != nil {
		return fmt.Errorf("the gateway's file: %w", err)
	}
	c.recordFile(ctx)
	return nil
}

func (c *Callers) apply(f *gatewayfile.File) error {
	if c.limits != nil {
		if err := c.limits.Check(f); err != nil {
			return err
		}
	}
	if err := c.tokens.Set(f.Issuers); err != nil {
		return err
	}
	c.rights.SetStale(f.Stale)
	if c.limits != nil {
		c.limits.Use(f)
	}
	return nil
}

// watchEvery is how often it is looked whether another file is in force, or a hash key
// is missing.
const watchEvery = time.Second

// watch records each file that comes in force, and reports hash keys that are missing,
// until ctx ends.
func (c *Callers) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.recordFile(ctx)
			c.report()
		}
	}
}

// fileAction is the action of a file that came in force.
const fileAction = "gateway.file"

// recordFile records the file that is in force, unless that was the last thing
// that was recorded of it: replicas have the same file. Changes wait for each other,
// so of replicas that do so at once one records it.
func (c *Callers) recordFile(ctx context.Context) {
	is := c.file.InForce()
	if is.Generation == c.recorded {
		return
	}
	writing, cancel := context.WithTimeout(ctx, watchEvery)
	defer cancel()
	resource := "file:sha256:" + is.Digest
	if is.Digest == "" {
		resource = "file:none"
	}
	err := c.rights.Update(writing, func(*access.State) (*rights.Stored, error) {
		last, err := c.store.Entries(writing, audit.Filter{Tenant: audit.Platform, Action: fileAction, Limit: 1})
		switch {
		case err != nil:
			return nil, err
		case len(last) == 0 && is.Digest == "", len(last) > 0 && last[0].Resource == resource:
			return &rights.Stored{}, nil
		}
		return &rights.Stored{Entries: []audit.Entry{{
			At: time.Now(), Tenant: audit.Platform, Actor: "gateway", Action: fileAction, Resource: resource, Outcome: audit.Done,
		}}}, nil
	})
	if err != nil {
		return // and tried again
	}
	c.recorded = is.Generation
}

// tokens authenticates tokens, and notes those of subjects that gave grants.
type tokens struct {
	verifier *jwt.Verifier
	rights   *rights.Mirror
}

// Authenticate implements auth.Authenticator. While what is known of grants and
// roles is too old to go by, nobody is authenticated.
func (t tokens) Authenticate(ctx context.Context, credential string) (*auth.Principal, error) {
	p, err := t.verifier.Authenticate(ctx, credential)
	if err != nil {
		return nil, err
	}
	if err := t.rights.Usable(); err != nil {
		return nil, err
	}
	t.rights.Seen(p)
	return p, nil
}

var _ auth.Authenticator = tokens{}
