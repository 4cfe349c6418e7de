package sqlite

import (
	"context"
	"fmt"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/internal/stored"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/gateway/sqlite/db"
)

// Since implements rights.Store.
func (s *Store) Since(ctx context.Context, p rights.Position) (*rights.Update, error) {
	if err := s.files.InPlace(); err != nil {
		return nil, err
	}
	var update *rights.Update
	err := s.read(ctx, s.poll, func(ctx context.Context, q *db.Queries) error {
		newest, err := q.Newest(ctx)
		if err != nil {
			return fmt.Errorf("read the newest change: %w", err)
		}
		if at := rights.Position(newest); at == p && p.Mark != "" {
			update = &rights.Update{Position: p}
			return nil
		}
		update, err = since(ctx, q, p)
		return err
	})
	return update, err
}

// since reads what changed since a position, in a transaction.
func since(ctx context.Context, q *db.Queries, p rights.Position) (*rights.Update, error) {
	newest, err := q.Newest(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the newest change: %w", err)
	}
	known, err := q.CountGeneration(ctx, db.CountGenerationParams(p))
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	number := p.Number
	if known == 0 {
		number = stored.Everything
	}
	tenants, err := q.ChangedTenants(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("read changed tenants: %w", err)
	}
	u := stored.NewUpdate(rights.Position(newest), known == 0, tenants)
	if len(tenants) > 0 {
		if err := changed(ctx, q, number, u); err != nil {
			return nil, fmt.Errorf("read changed tenants: %w", err)
		}
	}
	return u.Done()
}

// changed reads all of the tenants that changed after a number.
func changed(ctx context.Context, q *db.Queries, number int64, u *stored.Update) error {
	keys, err := q.ChangedKeys(ctx, db.ChangedKeysParams{Number: number, ExpiredAfter: stored.ExpiredBefore()})
	if err != nil {
		return err
	}
	for _, row := range keys {
		u.Key(stored.Key(row))
	}
	roles, err := q.ChangedRoles(ctx, number)
	if err != nil {
		return err
	}
	for _, row := range roles {
		u.Role(stored.Role(row))
	}
	grants, err := q.ChangedGrants(ctx, number)
	if err != nil {
		return err
	}
	for _, row := range grants {
		u.Grant(stored.Grant(row))
	}
	subjects, err := q.ChangedSubjects(ctx, number)
	if err != nil {
		return err
	}
	for _, row := range subjects {
		u.Subject(stored.Subject(row))
	}
	return nil
}

// Commit implements rights.Store.
func (s *Store) Commit(ctx context.Context, p rights.Position, decide func(*rights.Update) (*rights.Stored, error)) (rights.Position, error) {
	var position rights.Position
	err := s.write(ctx, func(q *db.Queries) error {
		update, err := since(ctx, q, p)
		if err != nil {
			return err
		}
		change, err := decide(update)
		if err != nil {
			return err
		}
		if position = update.Position; stored.Empty(change) {
			return nil
		}
		position = stored.Next(position)
		if err := move(ctx, q, position, change.Change.Tenants()); err != nil {
			return fmt.Errorf("store the change's number: %w", err)
		}
		if err := put(ctx, q, &change.Change); err != nil {
			return err
		}
		return stored.Append(ctx, chains{q}, change.Entries)
	})
	if err != nil {
		return p, err
	}
	return position, nil
}

// move makes a position the newest, and the tenants' last.
func move(ctx context.Context, q *db.Queries, p rights.Position, tenants []string) error {
	if err := q.MoveCounter(ctx, db.MoveCounterParams(p)); err != nil {
		return err
	}
	if err := q.AddGeneration(ctx, db.AddGenerationParams(p)); err != nil {
		return err
	}
	if err := q.ForgetGenerations(ctx, p.Number-stored.Generations); err != nil {
		return err
	}
	for _, tenant := range tenants {
		if err := q.PutTenant(ctx, db.PutTenantParams{Tenant: tenant, Number: p.Number}); err != nil {
			return err
		}
	}
	return nil
}

// put writes a change's rows.
func put(ctx context.Context, q *db.Queries, c *access.Change) error {
	if err := putKeys(ctx, q, c); err != nil {
		return err
	}
	for _, r := range c.Roles {
		if err := q.PutRole(ctx, db.PutRoleParams(stored.RoleRow(r))); err != nil {
			return fmt.Errorf("store a role: %w", err)
		}
	}
	for _, r := range c.EndRoles {
		if err := q.DeleteRole(ctx, db.DeleteRoleParams{Tenant: r.Tenant, Name: r.Name}); err != nil {
			return fmt.Errorf("delete a role: %w", err)
		}
	}
	for _, g := range c.Grants {
		n, err := q.PutGrant(ctx, db.PutGrantParams(stored.GrantRow(g)))
		if err == nil && n == 0 {
			err = stored.ErrOthers
		}
		if err != nil {
			return fmt.Errorf("store a grant: %w", err)
		}
	}
	for _, g := range c.EndGrants {
		if err := q.DeleteGrant(ctx, db.DeleteGrantParams{Tenant: g.Tenant, ID: g.ID}); err != nil {
			return fmt.Errorf("delete a grant: %w", err)
		}
	}
	for _, sub := range c.Subjects {
		if err := q.PutSubject(ctx, db.PutSubjectParams(stored.SubjectRow(sub))); err != nil {
			return fmt.Errorf("store a subject: %w", err)
		}
	}
	return nil
}

func putKeys(ctx context.Context, q *db.Queries, c *access.Change) error {
	for _, k := range stored.Sorted(c.Keys) {
		r := stored.KeyRow(k)
		n, err := q.PutKey(ctx, db.PutKeyParams{
			ID: r.ID, Name: r.Name, Tenant: r.Tenant, Scopes: r.Scopes, Roles: r.Roles, Hash: r.Hash,
			CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, RevokedAt: r.RevokedAt,
			Description: r.Description, HashBy: r.HashBy, Lineage: r.Lineage, Replaces: r.Replaces, Imported: r.Imported, PlannedEnd: r.PlannedEnd,
		})
		if err == nil && n == 0 {
			err = stored.ErrOthers
		}
		if err != nil {
			return fmt.Errorf("store key %s: %w", k.ID, err)
		}
	}
	for _, tenant := range stored.OfKeys(c) {
		err := q.ForgetKeys(ctx, db.ForgetKeysParams{Tenant: tenant, ExpiredBefore: stored.ExpiredBefore(), Keep: stored.EndedKeys})
		if err != nil {
			return fmt.Errorf("forget ended keys: %w", err)
		}
	}
	return nil
}
