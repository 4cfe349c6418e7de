package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/modelserveai/modelserve/internal/postgresql"
	"github.com/modelserveai/modelserve/pipelines/internal/stored"
	"github.com/modelserveai/modelserve/pipelines/postgres/db"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// rows implements stored.Registry and stored.Finder.
type rows struct{ *db.Queries }

func found(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return record.ErrNotFound
	}
	return err
}

func (r rows) Hold(ctx context.Context, tenant, name string) (stored.PipelineRow, error) {
	row, err := r.HoldPipeline(ctx, db.HoldPipelineParams{Tenant: tenant, Name: name})
	return stored.PipelineRow(row), err //nolint:wrapcheck // its callers do
}

func (r rows) Set(ctx context.Context, p stored.PipelineRow) error {
	return r.SetPipeline(ctx, db.SetPipelineParams{ //nolint:wrapcheck // its callers do
		Tenant: p.Tenant, Name: p.Name, CreatedAt: p.CreatedAt, DefaultVersion: p.DefaultVersion, LastVersion: p.LastVersion, Removed: p.Removed,
	})
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

// change has do change pipelines, at the database's time.
func (s *Store) change(ctx context.Context, what string, do func(r rows, now int64) error) error {
	err := within(ctx, s.durable, func(q *db.Queries) error {
		now, err := q.Now(ctx)
		if err != nil {
			return err //nolint:wrapcheck // below
		}
		return do(rows{q}, now)
	})
	return s.failed(ctx, what, err)
}

// Register implements record.Pipelines.
func (s *Store) Register(ctx context.Context, r record.Registration) (v *record.Version, created bool, err error) {
	if !postgresql.Storable(r.Tenant, r.Name, r.Digest) {
		return nil, false, errors.New("register a pipeline: its names are not UTF-8, or have zero bytes")
	}
	err = s.change(ctx, "register pipeline "+r.Name, func(in rows, now int64) (err error) {
		v, created, err = stored.Register(ctx, in, r, now)
		return err //nolint:wrapcheck // above
	})
	if err != nil {
		return nil, false, err
	}
	return v, created, nil
}

// Resolve implements record.Pipelines.
func (s *Store) Resolve(ctx context.Context, tenant, name string, number int) (*record.Version, error) {
	what := fmt.Sprintf("get pipeline %s@%d", name, number)
	if !postgresql.Storable(tenant, name) {
		return nil, fmt.Errorf("%s: %w", what, record.ErrNotFound)
	}
	row, err := db.New(s.reading).Seen(ctx, db.SeenParams{Tenant: tenant, Name: name, Number: int64(number)})
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	v := stored.Version(row.Version)
	return v.Of(stored.PipelineRow{DefaultVersion: row.DefaultVersion}), nil
}

// Pipelines implements record.Pipelines.
func (s *Store) Pipelines(ctx context.Context, q record.PipelineQuery) (*record.VersionPage, error) {
	const what = "list pipelines"
	q.Limit = stored.Limit(q.Limit, record.MaxPage)
	before, beforeName := stored.Before(q.After)
	if !postgresql.Storable(q.Tenant, beforeName) {
		return &record.VersionPage{}, nil
	}
	queries := db.New(s.reading)
	seen, err := queries.Visible(ctx, db.VisibleParams{Tenant: q.Tenant, Before: before, BeforeName: beforeName, Most: int64(q.Limit + 1)})
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	all := make([]stored.PipelineRow, 0, len(seen))
	for _, r := range seen {
		all = append(all, stored.PipelineRow(r))
	}
	page, err := stored.PipelinePage(ctx, rows{queries}, all, q.Limit)
	return page, s.failed(ctx, what, err)
}

// Deprecate implements record.Pipelines.
func (s *Store) Deprecate(ctx context.Context, tenant, name string, number int, deprecated bool) error {
	what := fmt.Sprintf("deprecate pipeline %s@%d", name, number)
	if !postgresql.Storable(tenant, name) {
		return fmt.Errorf("%s: %w", what, record.ErrNotFound)
	}
	return s.change(ctx, what, func(in rows, now int64) error {
		if !deprecated {
			now = 0
		}
		return stored.Deprecate(ctx, in, record.VersionID{Owner: tenant, Name: name, Number: number}, now) //nolint:wrapcheck // above
	})
}

// DeletePipeline implements record.Pipelines.
func (s *Store) DeletePipeline(ctx context.Context, tenant, name string) error {
	what := "delete pipeline " + name
	if !postgresql.Storable(tenant, name) {
		return fmt.Errorf("%s: %w", what, record.ErrNotFound)
	}
	return s.change(ctx, what, func(in rows, _ int64) error {
		return stored.Remove(ctx, in, tenant, name, func() (bool, error) { //nolint:wrapcheck // above
			live, err := in.LiveOf(ctx, db.LiveOfParams{Tenant: tenant, Name: name})
			return live, err //nolint:wrapcheck // above
		})
	})
}

// Version implements record.Versions.
func (s *Store) Version(ctx context.Context, id record.VersionID) (*record.Version, error) {
	what := fmt.Sprintf("get pipeline %s@%d", id.Name, id.Number)
	if !postgresql.Storable(id.Owner, id.Name) {
		return nil, fmt.Errorf("%s: %w", what, record.ErrNotFound)
	}
	v, err := stored.VersionOf(ctx, rows{db.New(s.reading)}, id)
	return v, s.failed(ctx, what, err)
}

// Versions implements record.Versions.
func (s *Store) Versions(ctx context.Context, name string, q record.PipelineQuery) (*record.VersionPage, error) {
	what := "list versions of pipeline " + name
	if !postgresql.Storable(q.Tenant, name) {
		return nil, fmt.Errorf("%s: %w", what, record.ErrNotFound)
	}
	q.Limit = stored.Limit(q.Limit, record.MaxPage)
	in := rows{db.New(s.reading)}
	p, err := stored.Seen(ctx, in, q.Tenant, name)
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	before, err := stored.BeforeNumber(q.After)
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	versions, err := in.VersionsOf(ctx, db.VersionsOfParams{Tenant: p.Tenant, Name: name, Before: before, Most: int64(q.Limit + 1)})
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	all := make([]stored.Version, 0, len(versions))
	for _, v := range versions {
		all = append(all, stored.Version(v))
	}
	return stored.VersionPage(all, p, q.Limit), nil
}

// InUse implements record.Versions.
func (s *Store) InUse(ctx context.Context, after record.VersionID) ([]record.VersionID, error) {
	const what = "find the versions in use"
	q := db.New(s.reading)
	defaults, err := q.DefaultsAfter(ctx, db.DefaultsAfterParams{Tenant: after.Owner, Name: after.Name, Version: int64(after.Number), Most: record.MaxBatch})
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	live, err := q.LiveVersions(ctx, db.LiveVersionsParams{Owner: after.Owner, Name: after.Name, Number: int64(after.Number), Most: record.MaxBatch})
	if err != nil {
		return nil, s.failed(ctx, what, err)
	}
	var a, b []record.VersionID
	for _, r := range defaults {
		a = append(a, record.VersionID{Owner: r.Tenant, Name: r.Name, Number: int(r.DefaultVersion)})
	}
	for _, r := range live {
		b = append(b, record.VersionID{Owner: r.Owner, Name: r.Pipeline, Number: int(r.Version)})
	}
	return stored.Merge(a, b), nil
}
