-- name: CreateKey :execrows
INSERT INTO keys (id, name, tenant, scopes, roles, hash, created_at, expires_at, revoked_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING;

-- name: GetKey :one
SELECT * FROM keys WHERE id = ?;

-- name: ListKeys :many
SELECT * FROM keys
WHERE (created_at, id) < (sqlc.arg(before), CAST(sqlc.arg(before_id) AS TEXT))
ORDER BY created_at DESC, id DESC
LIMIT sqlc.arg(max);

-- name: ListKeysOfTenant :many
SELECT * FROM keys
WHERE tenant = sqlc.arg(tenant) AND (created_at, id) < (sqlc.arg(before), CAST(sqlc.arg(before_id) AS TEXT))
ORDER BY created_at DESC, id DESC
LIMIT sqlc.arg(max);

-- name: RevokeKey :execrows
UPDATE keys SET revoked_at = CASE revoked_at WHEN 0 THEN sqlc.arg(revoked_at) ELSE revoked_at END
WHERE id = sqlc.arg(id);
