package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/modelserveai/modelserve/pipelines/internal/stored"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/sqlite/db"
)

// rows implements stored.Registry and stored.Finder.
type rows struct{ *db.Queries }

func found(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return record.ErrNotFound
	}
	return err
}

// Hold needs no lock: its transaction is the only one.
func (r rows) Hold(ctx context.Context, tenant, name string) (stored.PipelineRow, error) {
	row, err := r.FindPipeline(ctx, tenant, name)
	if errors.Is(err, record.ErrNotFound) {
		return stored.PipelineRow{Tenant: tenant, Name: name, Removed: true}, nil
	}
	return row, err
}

func (r rows) Set(ctx context.Context, p stored.PipelineRow) error {
	return r.SetPipeline(ctx, db.SetPipelineParams(p)) //nolint:wrapcheck // its callers do
}

func (r rows) OfDigest(ctx context.Context, tenant, name, digest string) (stored.Version, error) {
	row, err := r.VersionOfDigest(ctx, db.VersionOfDigestParams{Tenant: tenant, Name: name, Digest: digest})
	return stored.Version(row), found(err)
}

func (r rows) Add(ctx context.Context, v stored.Version) error {
	return r.AddVersion(ctx, db.AddVersionParams(v)) //nolint:wrapcheck // its callers do
}

func (r rows) Mark(ctx context.Context, id record.VersionID, at int64) error {
	n, err := r.MarkVersion(ctx, db.MarkVersionParams{Tenant: id.Owner, Name: id.Name, Version: int64(id.Number), DeprecatedAt: at})
	if err == nil && n == 0 {
		return record.ErrNotFound
	}
	return err //nolint:wrapcheck // its callers do
}

func (r rows) FindPipeline(ctx context.Context, tenant, name string) (stored.PipelineRow, error) {
	row, err := r.GetPipeline(ctx, db.GetPipelineParams{Tenant: tenant, Name: name})
	return stored.PipelineRow(row), found(err)
}

func (r rows) FindVersion(ctx context.Context, id record.VersionID) (stored.Version, error) {
	row, err := r.GetVersion(ctx, db.GetVersionParams{Tenant: id.Owner, Name: id.Name, Version: int64(id.Number)})
	return stored.Version(row), found(err)
}

// Register implements record.Pipelines.
func (s *Store) Register(ctx context.Context, r record.Registration) (v *record.Version, created bool, err error) {
	err = s.write(ctx, "register pipeline "+r.Name, durable, func(q *db.Queries, now int64) (err error) {
		v, created, err = stored.Register(ctx, rows{q}, r, now)
		return err //nolint:wrapcheck // above
	})
	if err != nil {
		return nil, false, err
	}
	return v, created, nil
}

// Resolve implements record.Pipelines.
func (s *Store) Resolve(ctx context.Context, tenant, name string, number int) (v *record.Version, err error) {
	err = s.read(ctx, fmt.Sprintf("get pipeline %s@%d", name, number), func(ctx context.Context, q *db.Queries) (err error) {
		v, err = stored.Resolve(ctx, rows{q}, tenant, name, number)
		return err //nolint:wrapcheck // above
	})
	return v, err
}

// Pipelines implements record.Pipelines.
func (s *Store) Pipelines(ctx context.Context, query record.PipelineQuery) (page *record.VersionPage, err error) {
	query.Limit = stored.Limit(query.Limit, record.MaxPage)
	before, beforeName := stored.Before(query.After)
	err = s.read(ctx, "list pipelines", func(ctx context.Context, q *db.Queries) error {
		seen, err := q.Visible(ctx, db.VisibleParams{Tenant: query.Tenant, Before: before, BeforeName: beforeName, Most: int64(query.Limit + 1)})
		if err != nil {
			return err //nolint:wrapcheck // above
		}
		all := make([]stored.PipelineRow, 0, len(seen))
		for _, r := range seen {
			all = append(all, stored.PipelineRow(r))
		}
		page, err = stored.PipelinePage(ctx, rows{q}, all, query.Limit)
		return err //nolint:wrapcheck // above
	})
	return page, err
}

// Deprecate implements record.Pipelines.
func (s *Store) Deprecate(ctx context.Context, tenant, name string, number int, deprecated bool) error {
	return s.write(ctx, fmt.Sprintf("deprecate pipeline %s@%d", name, number), durable, func(q *db.Queries, now int64) error {
		if !deprecated {
			now = 0
		}
		return stored.Deprecate(ctx, rows{q}, record.VersionID{Owner: tenant, Name: name, Number: number}, now) //nolint:wrapcheck // above
	})
}

// DeletePipeline implements record.Pipelines.
func (s *Store) DeletePipeline(ctx context.Context, tenant, name string) error {
	return s.write(ctx, "delete pipeline "+name, durable, func(q *db.Queries, _ int64) error {
		return stored.Remove(ctx, rows{q}, tenant, name, func() (bool, error) { //nolint:wrapcheck // above
			live, err := q.LiveOf(ctx, db.LiveOfParams{Tenant: tenant, Name: name})
			return live > 0, err //nolint:wrapcheck // above
		})
	})
}

// Version implements record.Versions.
func (s *Store) Version(ctx context.Context, id record.VersionID) (v *record.Version, err error) {
	err = s.read(ctx, fmt.Sprintf("get pipeline %s@%d", id.Name, id.Number), func(ctx context.Context, q *db.Queries) (err error) {
		v, err = stored.VersionOf(ctx, rows{q}, id)
		return err //nolint:wrapcheck // above
	})
	return v, err
}

// Versions implements record.Versions.
func (s *Store) Versions(ctx context.Context, name string, query record.PipelineQuery) (page *record.VersionPage, err error) {
	query.Limit = stored.Limit(query.Limit, record.MaxPage)
	err = s.read(ctx, "list versions of pipeline "+name, func(ctx context.Context, q *db.Queries) error {
		p, err := stored.Seen(ctx, rows{q}, query.Tenant, name)
		if err != nil {
			return err //nolint:wrapcheck // above
		}
		before, err := stored.BeforeNumber(query.After)
		if err != nil {
			return err //nolint:wrapcheck // above
		}
		versions, err := q.VersionsOf(ctx, db.VersionsOfParams{Tenant: p.Tenant, Name: name, Before: before, Most: int64(query.Limit + 1)})
		if err != nil {
			return err //nolint:wrapcheck // above
		}
		all := make([]stored.Version, 0, len(versions))
		for _, v := range versions {
			all = append(all, stored.Version(v))
		}
		page = stored.VersionPage(all, p, query.Limit)
		return nil
	})
	return page, err
}

// InUse implements record.Versions.
func (s *Store) InUse(ctx context.Context, after record.VersionID) (all []record.VersionID, err error) {
	err = s.read(ctx, "find the versions in use", func(ctx context.Context, q *db.Queries) error {
		defaults, err := q.DefaultsAfter(ctx, db.DefaultsAfterParams{Tenant: after.Owner, Name: after.Name, Version: int64(after.Number), Most: record.MaxBatch})
		if err != nil {
			return err //nolint:wrapcheck // above
		}
		live, err := q.LiveVersions(ctx, db.LiveVersionsParams{Owner: after.Owner, Name: after.Name, Number: int64(after.Number), Most: record.MaxBatch})
		if err != nil {
			return err //nolint:wrapcheck // above
		}
		var a, b []record.VersionID
		for _, r := range defaults {
			a = append(a, record.VersionID{Owner: r.Tenant, Name: r.Name, Number: int(r.DefaultVersion)})
		}
		for _, r := range live {
			b = append(b, record.VersionID{Owner: r.Owner, Name: r.Pipeline, Number: int(r.Version)})
		}
		all = stored.Merge(a, b)
		return nil
	})
	return all, err
}
