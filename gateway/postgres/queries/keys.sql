-- name: GetKey :one
SELECT * FROM keys WHERE id = sqlc.arg(id);

-- name: ListKeys :many
SELECT * FROM keys
WHERE (created_at, id) < (sqlc.arg(before), CAST(sqlc.arg(before_id) AS TEXT))
ORDER BY created_at DESC, id DESC
LIMIT sqlc.arg(most)::bigint;

-- name: ListKeysOfTenant :many
SELECT * FROM keys
WHERE tenant = sqlc.arg(tenant) AND (created_at, id) < (sqlc.arg(before), CAST(sqlc.arg(before_id) AS TEXT))
ORDER BY created_at DESC, id DESC
LIMIT sqlc.arg(most)::bigint;

-- name: ChangedKeys :many
SELECT keys.* FROM tenants JOIN keys ON keys.tenant = tenants.tenant
WHERE tenants.number > sqlc.arg(number) AND keys.revoked_at = 0
  AND (keys.expires_at = 0 OR keys.expires_at >= sqlc.arg(expired_after))
ORDER BY keys.id;

-- PutKey leaves alone what uses of a key note, and keeps it in its tenant.
-- name: PutKey :execrows
INSERT INTO keys (id, name, tenant, scopes, roles, hash, created_at, expires_at, revoked_at, description, hash_by, lineage, replaces, imported, planned_end)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (id) DO UPDATE SET
  name = excluded.name, scopes = excluded.scopes, roles = excluded.roles,
  created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at,
  description = excluded.description, lineage = excluded.lineage, replaces = excluded.replaces, imported = excluded.imported,
  planned_end = excluded.planned_end
WHERE keys.tenant = excluded.tenant;

-- ForgetKeys removes a tenant's oldest ended keys, but for those of the configuration.
-- name: ForgetKeys :exec
DELETE FROM keys WHERE id IN (
  SELECT ended.id FROM keys AS ended
  WHERE ended.tenant = sqlc.arg(tenant) AND NOT ended.imported
    AND (ended.revoked_at > 0 OR ended.expires_at > 0 AND ended.expires_at < sqlc.arg(expired_before))
  ORDER BY CASE WHEN ended.revoked_at > 0 THEN ended.revoked_at ELSE ended.expires_at END DESC, ended.id DESC
  OFFSET sqlc.arg(keep)::bigint
);

-- name: NoteUse :batchexec
UPDATE keys SET last_used_at = greatest(last_used_at, sqlc.arg(used_at)),
  hash = coalesce(sqlc.narg(hash)::bytea, hash), hash_by = coalesce(sqlc.narg(hash_by)::text, hash_by)
WHERE id = sqlc.arg(id);

-- name: PlainHashes :many
SELECT id, hash FROM keys WHERE hash_by = '' ORDER BY id FOR UPDATE;

-- name: ConvertHash :batchexec
UPDATE keys SET hash = sqlc.arg(hash), hash_by = sqlc.arg(hash_by) WHERE id = sqlc.arg(id);

-- name: CountHashKeys :many
SELECT hash_by, count(*) AS keys FROM keys
WHERE revoked_at = 0 AND (expires_at = 0 OR expires_at > sqlc.arg(now))
GROUP BY hash_by;
