package stored

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/modelserveai/modelserve/pipelines/record"
)

// PipelineRow is a row of pipelines.
type PipelineRow struct {
	Tenant         string
	Name           string
	CreatedAt      int64
	DefaultVersion int64
	LastVersion    int64
	Removed        bool
}

// Version is a row of versions.
type Version struct {
	Tenant       string
	Name         string
	Version      int64
	Digest       string
	CreatedAt    int64
	DeprecatedAt int64
	Canonical    []byte
}

// Of is the row's version, of a pipeline.
func (v *Version) Of(p PipelineRow) *record.Version {
	return &record.Version{
		VersionID: record.VersionID{Owner: v.Tenant, Name: v.Name, Number: int(v.Version)}, Canonical: empty(v.Canonical), Digest: v.Digest,
		Created: Time(v.CreatedAt), DeprecatedAt: Time(v.DeprecatedAt), Default: !p.Removed && p.DefaultVersion == v.Version, Removed: p.Removed,
	}
}

// Registry is the rows of pipelines, within one transaction.
type Registry interface {
	// Hold returns a pipeline's row, which nobody else changes from now on. Where there
	// is none it makes one, removed.
	Hold(ctx context.Context, tenant, name string) (PipelineRow, error)

	// Set stores the row.
	Set(ctx context.Context, p PipelineRow) error

	// OfDigest returns the version of a digest, or record.ErrNotFound.
	OfDigest(ctx context.Context, tenant, name, digest string) (Version, error)

	// Add stores a version.
	Add(ctx context.Context, v Version) error

	// Mark stores when a version was deprecated; 0 is that it is not. It returns
	// record.ErrNotFound where there is none.
	Mark(ctx context.Context, id record.VersionID, at int64) error
}

// Register is record.Pipelines'.
func Register(ctx context.Context, in Registry, r record.Registration, now int64) (*record.Version, bool, error) {
	p, err := in.Hold(ctx, r.Tenant, r.Name)
	if err != nil {
		return nil, false, err
	}
	if p.Removed {
		p.Removed, p.CreatedAt = false, now
	}
	v, err := in.OfDigest(ctx, r.Tenant, r.Name, r.Digest)
	created := errors.Is(err, record.ErrNotFound)
	switch {
	case created:
		p.LastVersion++
		v = Version{r.Tenant, r.Name, p.LastVersion, r.Digest, now, 0, filled(r.Canonical)}
		err = in.Add(ctx, v)
	case err == nil && v.DeprecatedAt > 0:
		v.DeprecatedAt = 0
		err = in.Mark(ctx, v.Of(p).VersionID, 0)
	}
	if err != nil {
		return nil, false, err
	}
	p.DefaultVersion = v.Version
	return v.Of(p), created, in.Set(ctx, p)
}

// Deprecate is record.Pipelines'.
func Deprecate(ctx context.Context, in Registry, id record.VersionID, at int64) error {
	p, err := in.Hold(ctx, id.Owner, id.Name)
	if err == nil && p.Removed {
		err = record.ErrNotFound
	}
	if err != nil {
		return err
	}
	return in.Mark(ctx, id, at)
}

// Remove is record.Pipelines' DeletePipeline; inUse reports whether executions have not
// ended.
func Remove(ctx context.Context, in Registry, tenant, name string, inUse func() (bool, error)) error {
	p, err := in.Hold(ctx, tenant, name)
	if err == nil && p.Removed {
		err = record.ErrNotFound
	}
	if err != nil {
		return err
	}
	used, err := inUse()
	if err == nil && used {
		err = record.ErrInUse
	}
	if err != nil {
		return err
	}
	p.Removed = true
	return in.Set(ctx, p)
}

// Finder finds rows; each method returns record.ErrNotFound where there is none.
type Finder interface {
	FindPipeline(ctx context.Context, tenant, name string) (PipelineRow, error)
	FindVersion(ctx context.Context, id record.VersionID) (Version, error)
}

// Seen is the pipeline that a tenant sees under a name.
func Seen(ctx context.Context, in Finder, tenant, name string) (PipelineRow, error) {
	for _, owner := range []string{tenant, ""} {
		p, err := in.FindPipeline(ctx, owner, name)
		if err == nil && !p.Removed {
			return p, nil
		}
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			return p, err
		}
	}
	return PipelineRow{}, fmt.Errorf("get pipeline %s: %w", name, record.ErrNotFound)
}

// Resolve is record.Pipelines'.
func Resolve(ctx context.Context, in Finder, tenant, name string, number int) (*record.Version, error) {
	p, err := Seen(ctx, in, tenant, name)
	if err != nil {
		return nil, err
	}
	if number == 0 {
		number = int(p.DefaultVersion)
	}
	v, err := in.FindVersion(ctx, record.VersionID{Owner: p.Tenant, Name: name, Number: number})
	if err != nil {
		return nil, err
	}
	return v.Of(p), nil
}

// VersionOf is record.Versions'.
func VersionOf(ctx context.Context, in Finder, id record.VersionID) (*record.Version, error) {
	v, err := in.FindVersion(ctx, id)
	if err != nil {
		return nil, err
	}
	p, err := in.FindPipeline(ctx, id.Owner, id.Name)
	if err != nil {
		return nil, err
	}
	return v.Of(p), nil
}

// BeforeNumber is the number that a page of versions is before.
func BeforeNumber(c record.Cursor) (int64, error) {
	if c.IsZero() {
		return math.MaxInt64, nil
	}
	n, err := strconv.ParseInt(c.ID, 10, 64)
	if err != nil {
		return 0, record.ErrCursor
	}
	return n, nil
}

// VersionPage is a page of versions, newest first, of which one more was read than it
// holds.
func VersionPage(rows []Version, p PipelineRow, limit int) *record.VersionPage {
	page := &record.VersionPage{}
	for i := range rows {
		if i == limit {
			last := rows[i-1]
			page.Next = record.Cursor{At: Time(last.CreatedAt), ID: strconv.FormatInt(last.Version, 10)}
			break
		}
		page.Versions = append(page.Versions, rows[i].Of(p))
	}
	return page
}

// PipelinePage is a page of the defaults of pipelines, likewise.
func PipelinePage(ctx context.Context, in Finder, rows []PipelineRow, limit int) (*record.VersionPage, error) {
	page := &record.VersionPage{}
	for i, p := range rows {
		if i == limit {
			last := rows[i-1]
			page.Next = record.Cursor{At: Time(last.CreatedAt), ID: last.Name}
			break
		}
		v, err := in.FindVersion(ctx, record.VersionID{Owner: p.Tenant, Name: p.Name, Number: int(p.DefaultVersion)})
		if err != nil {
			return nil, err
		}
		v.Canonical = nil
		page.Versions = append(page.Versions, v.Of(p))
	}
	return page, nil
}

// Merge are the versions of two lists, each once and in order, at most MaxBatch.
func Merge(a, b []record.VersionID) []record.VersionID {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(a, b record.VersionID) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Number, b.Number))
	})
	all = slices.Compact(all)
	return all[:min(len(all), record.MaxBatch)]
}
