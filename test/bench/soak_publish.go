package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// soakKept are the versions of a lineage that stay published.
const soakKept = 3

// publisher changes what is published while callers call.
type publisher struct {
	*platform
	dir     string
	newest  *lineage // without a policy, and never called by a number: swapped out at once
	stable  *lineage // the alias stable follows
	split   *lineage // calls are split, now and then
	pushed  int
	changed int // policies
	deleted int
}

// begin publishes the first version of each.
func (p *publisher) begin(ctx context.Context) error {
	for _, l := range []*lineage{p.newest, p.stable, p.split} {
		if err := p.push(ctx, l, []int{1}); err != nil {
			return err
		}
	}
	return p.point(ctx, p.stable, "alias", []int{1}, "stable=1")
}

// push publishes the next version, after which calls without a number get next;
// empty is the new one.
func (p *publisher) push(ctx context.Context, l *lineage, next []int) error {
	if len(next) == 0 {
		next = []int{l.newest + 1}
	}
	return l.change(next, func() error {
		version, err := l.publish(ctx, p.platform, p.dir)
		if err != nil {
			return err
		}
		l.known(version)
		p.pushed++
		return nil
	})
}

// point changes a policy.
func (p *publisher) point(ctx context.Context, l *lineage, what string, next []int, words ...string) error {
	p.changed++
	return l.change(next, func() error {
		return p.modelserve(ctx, append([]string{"models", what, l.name}, words...)...)
	})
}

// prune deletes the oldest version when there are enough.
func (p *publisher) prune(ctx context.Context, l *lineage) error {
	version, err := l.drop(ctx, soakKept)
	if err != nil || version == 0 {
		return err
	}
	p.deleted++
	return p.modelserve(ctx, "models", "delete", l.name+"@"+strconv.Itoa(version), "--yes")
}

// round gives each lineage a new version.
func (p *publisher) round(ctx context.Context) error {
	if err := p.push(ctx, p.newest, nil); err != nil {
		return err
	}
	stable := p.stable.newest
	if err := p.push(ctx, p.stable, []int{stable}); err != nil {
		return err
	}
	if err := p.point(ctx, p.stable, "alias", []int{stable + 1}, fmt.Sprintf("stable=%d", stable+1)); err != nil {
		return err
	}
	old := p.split.newest
	if err := p.push(ctx, p.split, nil); err != nil {
		return err
	}
	weights := []string{fmt.Sprintf("%d=60", old), fmt.Sprintf("%d=40", old+1)}
	if err := p.point(ctx, p.split, "split", []int{old, old + 1}, weights...); err != nil {
		return err
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := p.point(ctx, p.split, "split", []int{old + 1}, "--clear"); err != nil {
		return err
	}
	for _, l := range []*lineage{p.newest, p.stable, p.split} {
		if err := p.prune(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// publish goes on until ctx ends; what is under way then is finished.
func (p *publisher) publish(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := p.round(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		_ = pause(ctx, time.Second)
	}
	return nil
}

// unload unloads one model after the other until ctx ends.
func (p *platform) unload(ctx context.Context, client *http.Client, models []string, every time.Duration) (n int, err error) {
	for ; pause(ctx, every) == nil; n++ {
		if err := p.unloadOne(context.WithoutCancel(ctx), client, models[rand.IntN(len(models))]); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (p *platform) unloadOne(ctx context.Context, client *http.Client, model string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.address+"/v2/repository/models/"+model+"/unload", nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", p.key)
	if _, _, err := send(client, req); err != nil {
		return fmt.Errorf("unload %s: %w", model, err)
	}
	return nil
}

// pause waits for d; the error is that ctx ended before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
