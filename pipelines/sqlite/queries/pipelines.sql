-- name: GetPipeline :one
SELECT * FROM pipelines WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name);

-- name: SetPipeline :exec
INSERT INTO pipelines (tenant, name, created_at, default_version, last_version, removed) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, name) DO UPDATE SET
  created_at = excluded.created_at, default_version = excluded.default_version, last_version = excluded.last_version, removed = excluded.removed;

-- name: AddVersion :exec
INSERT INTO versions (tenant, name, version, digest, created_at, deprecated_at, canonical) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: VersionOfDigest :one
SELECT * FROM versions WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name) AND digest = sqlc.arg(digest);

-- name: GetVersion :one
SELECT * FROM versions WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name) AND version = sqlc.arg(version);

-- name: MarkVersion :execrows
UPDATE versions SET deprecated_at = sqlc.arg(deprecated_at) WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name) AND version = sqlc.arg(version);

-- name: LiveOf :one
SELECT
  (SELECT count(*) FROM (SELECT 1 FROM due AS q WHERE q.stage = 0 AND q.tenant = sqlc.arg(tenant) AND q.owner = sqlc.arg(tenant) AND q.pipeline = sqlc.arg(name) LIMIT 1))
  + (SELECT count(*) FROM (SELECT 1 FROM due AS r WHERE r.stage IN (1, 2) AND r.tenant = sqlc.arg(tenant) AND r.owner = sqlc.arg(tenant) AND r.pipeline = sqlc.arg(name) LIMIT 1)) AS live;

-- Visible are the pipelines that a tenant sees: their own, and shipped ones of which
-- they have none of that name.
-- name: Visible :many
SELECT p.* FROM pipelines AS p
WHERE NOT p.removed AND (p.tenant = sqlc.arg(tenant) OR p.tenant = '' AND NOT EXISTS (
  SELECT 1 FROM pipelines AS own WHERE own.tenant = sqlc.arg(tenant) AND own.name = p.name AND NOT own.removed))
  AND (p.created_at, p.name) < (sqlc.arg(before), CAST(sqlc.arg(before_name) AS TEXT))
ORDER BY p.created_at DESC, p.name DESC LIMIT sqlc.arg(most);

-- name: VersionsOf :many
SELECT tenant, name, version, digest, created_at, deprecated_at, CAST('' AS BLOB) AS canonical FROM versions
WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name) AND version < sqlc.arg(before)
ORDER BY version DESC LIMIT sqlc.arg(most);

-- name: DefaultsAfter :many
SELECT tenant, name, default_version FROM pipelines
WHERE NOT removed AND (tenant, name, default_version) > (sqlc.arg(tenant), CAST(sqlc.arg(name) AS TEXT), CAST(sqlc.arg(version) AS INTEGER))
ORDER BY tenant, name LIMIT sqlc.arg(most);

-- name: LiveVersions :many
SELECT DISTINCT owner, pipeline, version FROM due
WHERE stage <= 2 AND pipeline <> '' AND (owner, pipeline, version) > (sqlc.arg(owner), CAST(sqlc.arg(name) AS TEXT), CAST(sqlc.arg(number) AS INTEGER))
ORDER BY owner, pipeline, version LIMIT sqlc.arg(most);
