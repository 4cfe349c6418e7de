package door

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Admit limits a call that goes to no model, by its URL. What it returns is called when
// the call ends.
func (d *Door) Admit(ctx context.Context, c *call.Call) (end func(), err error) {
	share, err := d.admit(ctx, c, d.plain(c))
	if err != nil || share == nil {
		return func() {}, err
	}
	return func() { share.Done(infer.Usage{}) }, nil
}

// Refuse limits a call that ended with an error before it was limited, and returns the
// error that it is answered with: that of the limiter where that refuses it. Who is not
// known or may not do what they ask is not limited, nor who is gone.
func (d *Door) Refuse(ctx context.Context, c *call.Call, err error) error {
	if err == nil || c.Limited || c.Principal == nil || ctx.Err() != nil ||
		slices.Contains([]problem.Code{problem.Unauthenticated, problem.PermissionDenied}, problem.CodeOf(err)) {
		return err
	}
	end, refused := d.Admit(ctx, c)
	if refused != nil {
		return refused
	}
	end()
	return err
}

// admit has a call limited, and notes what its answer reports of that. The share is nil
// where nothing is limited, or the call was refused.
func (d *Door) admit(ctx context.Context, c *call.Call, s *limit.Subject) (Share, error) {
	if d.Limiter == nil {
		return nil, nil //nolint:nilnil // no share of nothing
	}
	c.Limited = true
	share, err := d.Limiter.Admit(ctx, s)
	if share != nil {
		c.Answer = share.Header()
	}
	if err != nil {
		return nil, err
	}
	return share, nil
}

// plain is what a call is to the limits by its URL alone.
func (d *Door) plain(c *call.Call) *limit.Subject {
	s := &limit.Subject{Tenant: c.Tenant(), Route: cmp.Or(c.Operation, c.Log.Route), Path: c.Path, Address: c.Address()}
	if c.Protocol == call.GRPC {
		s.Path = s.Route
	}
	if p := c.Principal; p != nil {
		if s.Key = p.Lineage; s.Key == "" {
			s.Key = p.Subject
		}
	}
	return s
}

// subject is what a call of a model is to the limits: the same by whichever protocol,
// and whichever version it names, so that none of these is a way around one.
func (d *Door) subject(ctx context.Context, c *call.Call, a Ask) *limit.Subject {
	s := d.plain(c)
	s.Path = strings.Replace(c.Operation, "{model}", a.Model, 1)
	s.Model = a.Model
	s.Known = func() bool { return d.Resolver.Known(ctx, c.Bound, a.Model) }
	return s
}
