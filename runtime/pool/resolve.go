package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

const (
	// maxListings bounds the names whose versions are remembered.
	maxListings = 4096

	// listLimit bounds the reading of one.
	listLimit = 10 * time.Second

	// maxListingAge is how long a listing is used while the catalog reports that
	// nothing changed, and unwatchedListingAge where it cannot report changes.
	maxListingAge       = time.Minute
	unwatchedListingAge = longestPoll + 100*time.Millisecond
)

// served is what the pool knows of a name. It is under Pool.mu; the listing
// itself does not change.
type served struct {
	listing *listing

	// serving are the versions that last answered calls without a version (""),
	// and for an alias. They are what stands in while another is loaded.
	serving map[string]int
}

// listing is a model's versions, newest first, at least one, and the policy
// that picks among them.
type listing struct {
	name       string
	versions   []int
	tags       map[int]string // of versions; none of Config.Models
	policy     *model.Policy
	generation string    // of the catalog, before it was read
	read       time.Time // zero is doubted
	until      time.Time // used until then in any case
}

// choice is the version that a call is for.
type choice struct {
	ref   model.Ref
	want  string // as the call has it
	alias string // that decided
	named bool   // want is the version's number
	first bool   // it is the newest, which neither an alias nor a split decided
	wait  bool   // nothing may stand in for the version
	from  *listing
}

// flight is a listing being read, for everyone who asks meanwhile.
type flight struct {
	done    chan struct{} // closed at its end
	listing *listing
	err     error
}

// resolve turns what a request names into one version. fresh reads the listing
// anew whatever its age.
func (p *Pool) resolve(ctx context.Context, name, want string, fresh bool) (choice, error) {
	name, err := infer.ParseName(name)
	if err != nil {
		return choice{}, err
	}
	if p.static() && infer.IsNumber(want) {
		if _, err := infer.ParseVersion(want); err == nil {
			return p.resolveFixed(name, want)
		}
	}
	l, err := p.listingOf(ctx, name, fresh)
	if err != nil {
		return choice{}, err
	}
	c, err := l.pick(want, rand.IntN)
	if problem.CodeOf(err) == problem.ModelNotFound && !fresh {
		return p.resolve(ctx, name, want, true) // it may have been published a moment ago
	}
	return c, err
}

// resolveFixed finds a version of Config.Models by its number, which waits for
// nothing: a function loads its own so. The policy comes meanwhile.
func (p *Pool) resolveFixed(name, want string) (choice, error) {
	l := &listing{name: name, versions: p.fixed(name), policy: new(model.Policy)}
	if len(l.versions) == 0 {
		return choice{}, notServed(name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchCatalog()
	if p.models[name] == nil {
		p.read(name, p.notice.generation)
	}
	return l.pick(want, nil)
}

func notServed(name string) error {
	return problem.New(problem.ModelNotFound, "model %q is not served here", name)
}

func (l *listing) pick(want string, roll func(n int) int) (choice, error) {
	version, alias, err := l.policy.Pick(l.name, l.versions, want, roll)
	if err != nil {
		return choice{}, err
	}
	return choice{
		ref:   model.Ref{Name: l.name, Version: version},
		want:  want,
		alias: alias,
		named: want != "" && alias == "",
		first: want == "" && alias == "" && !l.policy.Splits(l.versions),
		from:  l,
	}, nil
}

// splits reports whether a version has a part of a split.
func (l *listing) splits(version int) bool {
	return slices.ContainsFunc(l.policy.Split, func(s model.Share) bool { return s.Version == version })
}

// reach are the versions that calls for want may get; none when it means
// nothing any more.
func (l *listing) reach(want string) []int {
	if want == "" {
		var versions []int
		for _, s := range l.policy.Split {
			if slices.Contains(l.versions, s.Version) {
				versions = append(versions, s.Version)
			}
		}
		if len(versions) > 0 {
			return versions
		}
	}
	c, err := l.pick(want, func(int) int { return 0 })
	if err != nil {
		return nil
	}
	return []int{c.ref.Version}
}

// static reports whether the versions served are those of Config.Models.
func (p *Pool) static() bool { return len(p.cfg.Models) > 0 }

// listingOf is what is known of a model, read anew where it is too old, or fresh
// is wanted.
func (p *Pool) listingOf(ctx context.Context, name string, fresh bool) (*listing, error) {
	if p.static() && !p.hasFixed(name) {
		return nil, notServed(name)
	}
	p.mu.Lock()
	refreshed := p.watchCatalog()
	var known *listing
	if m := p.models[name]; m != nil {
		if refreshed != nil {
			p.mu.Unlock()
			select {
			case <-refreshed:
			case <-ctx.Done():
			}
			p.mu.Lock()
		}
		known = m.listing
		if !fresh && p.current(known) {
			p.mu.Unlock()
			return known, nil
		}
	}
	f := p.read(name, p.notice.generation)
	p.mu.Unlock()
	if f == nil {
		return nil, errStopping()
	}
	var enough <-chan time.Time // what was known is better than a long wait
	if known != nil {
		enough = time.After(unwatchedListingAge)
	}
	select {
	case <-f.done:
		return f.listing, f.err
	case <-enough:
		return known, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("list versions of model %q: %w", name, ctx.Err())
	}
}

// current reports whether a listing need not be read again. While the catalog does
// not answer, it is kept for models in memory, which need nothing else of it.
func (p *Pool) current(l *listing) bool {
	age := time.Since(l.read)
	switch {
	case time.Now().Before(l.until):
		return true
	case p.notice.failing:
		return age < maxListingAge || p.inMemory(l.name)
	case p.notice.generation == "":
		return age < unwatchedListingAge
	default:
		return age < maxListingAge && l.generation == p.notice.generation
	}
}

// read begins reading a model's listing, or joins who does. generation is the
// catalog's as last seen. It is called under Pool.mu; nil is a pool that stops.
func (p *Pool) read(name, generation string) *flight {
	if f := p.flights[name]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	if !p.spawn(func() {
		l := &listing{name: name, generation: generation}
		err := p.list(l)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.flights, name)
		f.listing, f.err = p.learn(l, err)
		close(f.done)
		if err == nil && l.generation == "" && p.notice.generation != "" {
			p.read(name, p.notice.generation) // the first was not to wait for that
		}
	}) {
		return nil
	}
	p.flights[name] = f
	return f
}

// list fills a listing from the catalog.
func (p *Pool) list(l *listing) error {
	ctx, cancel := context.WithTimeout(p.ctx, listLimit)
	defer cancel()
	l.read = time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if l.versions = p.fixed(l.name); l.versions != nil {
			return nil
		}
		published, err := p.catalog.Versions(ctx, l.name)
		l.tags = make(map[int]string, len(published))
		for _, v := range published {
			l.versions = append(l.versions, v.Version)
			l.tags[v.Version] = v.Tag
		}
		return err
	})
	g.Go(func() (err error) {
		l.policy, err = p.catalog.Policy(ctx, l.name)
		return err
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("list versions of model %q: %w", l.name, err)
	}
	if len(l.versions) == 0 {
		return problem.New(problem.ModelNotFound, "model %q is not published", l.name)
	}
	return nil
}

// learn takes a listing in, or what is known when it could not be read. What is
// loaded follows it.
func (p *Pool) learn(l *listing, err error) (*listing, error) {
	m := p.models[l.name]
	if err != nil && m == nil && p.static() {
		p.logger.Warn("cannot read a model's policy: its newest version answers", "model", l.name, "error", err)
		l.policy, err = new(model.Policy), nil
	}
	if l.generation == "" {
		l.until = time.Now().Add(unwatchedListingAge) // the catalog is being asked
	}
	switch {
	case problem.CodeOf(err) == problem.ModelNotFound && !p.static():
		delete(p.models, l.name)
		p.dropOthers(l.name, nil)
		return nil, err
	case err != nil && m != nil:
		kept := *m.listing
		kept.until = time.Now().Add(unwatchedListingAge)
		m.listing = &kept
		return m.listing, nil
	case err != nil && !errors.As(err, new(*problem.Error)):
		return nil, problem.New(problem.Unavailable, "models cannot be looked up now: %w", err).WithRetryAfter(time.Second)
	case err != nil:
		return nil, err
	case m == nil:
		p.forgetSome()
		p.models[l.name] = &served{listing: l, serving: map[string]int{}}
	default:
		m.listing = l
		p.follow(m)
	}
	return l, nil
}

// forgetSome keeps the number of names bounded; those in memory stay known.
func (p *Pool) forgetSome() {
	if len(p.models) < maxListings {
		return
	}
	for name := range p.models {
		if !p.inMemory(name) {
			delete(p.models, name)
		}
	}
}

// hasFixed reports whether Config.Models has a version of a name.
func (p *Pool) hasFixed(name string) bool {
	return slices.ContainsFunc(p.cfg.Models, func(ref model.Ref) bool { return ref.Name == name })
}

// fixed are the versions of Config.Models of one name, newest first.
func (p *Pool) fixed(name string) []int {
	var versions []int
	for _, ref := range p.cfg.Models {
		if ref.Name == name {
			versions = append(versions, ref.Version)
		}
	}
	slices.SortFunc(versions, func(a, b int) int { return b - a })
	return versions
}
