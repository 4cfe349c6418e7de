-- Newest is asked of a primary: one that is behind would forget what has ended.
-- name: Newest :one
SELECT number, mark, pg_is_in_recovery() AS standby FROM counter;

-- Hold waits for the change before.
-- name: Hold :one
SELECT number FROM counter FOR UPDATE;

-- name: CountGeneration :one
SELECT count(*) FROM generations WHERE number = sqlc.arg(number) AND mark = sqlc.arg(mark);

-- name: MoveCounter :exec
UPDATE counter SET number = sqlc.arg(number), mark = sqlc.arg(mark);

-- name: AddGeneration :exec
INSERT INTO generations (number, mark) VALUES ($1, $2);

-- name: ForgetGenerations :exec
DELETE FROM generations WHERE number <= sqlc.arg(up_to);

-- name: ChangedTenants :many
SELECT tenant FROM tenants WHERE number > sqlc.arg(number) ORDER BY tenant;

-- name: PutTenant :batchexec
INSERT INTO tenants (tenant, number) VALUES ($1, $2)
ON CONFLICT (tenant) DO UPDATE SET number = excluded.number;

-- name: ChangedRoles :many
SELECT roles.* FROM tenants JOIN roles ON roles.tenant = tenants.tenant
WHERE tenants.number > sqlc.arg(number) ORDER BY roles.name;

-- name: PutRole :exec
INSERT INTO roles (tenant, name, inherits, permissions, updated_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, name) DO UPDATE SET
  inherits = excluded.inherits, permissions = excluded.permissions, updated_at = excluded.updated_at;

-- name: DeleteRole :exec
DELETE FROM roles WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name);

-- name: ChangedGrants :many
SELECT grants.* FROM tenants JOIN grants ON grants.tenant = tenants.tenant
WHERE tenants.number > sqlc.arg(number) ORDER BY grants.id;

-- name: PutGrant :execrows
INSERT INTO grants (id, tenant, to_key, to_subject, to_tenant, by_tenant, by_key, by_subject, roles, permissions, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO UPDATE SET
  to_key = excluded.to_key, to_subject = excluded.to_subject, to_tenant = excluded.to_tenant,
  by_tenant = excluded.by_tenant, by_key = excluded.by_key, by_subject = excluded.by_subject,
  roles = excluded.roles, permissions = excluded.permissions,
  created_at = excluded.created_at, expires_at = excluded.expires_at
WHERE grants.tenant = excluded.tenant;

-- name: DeleteGrant :exec
DELETE FROM grants WHERE tenant = sqlc.arg(tenant) AND id = sqlc.arg(id);

-- name: ChangedSubjects :many
SELECT subjects.* FROM tenants JOIN subjects ON subjects.tenant = tenants.tenant
WHERE tenants.number > sqlc.arg(number) ORDER BY subjects.subject;

-- name: PutSubject :exec
INSERT INTO subjects (tenant, subject, roles, no_admin, issued_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, subject) DO UPDATE SET
  roles = excluded.roles, no_admin = excluded.no_admin, issued_at = excluded.issued_at;
