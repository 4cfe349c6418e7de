-- HoldPipeline makes a pipeline's row where there is none, and holds it.
-- name: HoldPipeline :one
INSERT INTO pipelines (tenant, name, created_at, default_version, last_version, removed)
VALUES (sqlc.arg(tenant), sqlc.arg(name), CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT), 0, 0, true)
ON CONFLICT (tenant, name) DO UPDATE SET name = excluded.name
RETURNING *;

-- name: SetPipeline :exec
UPDATE pipelines SET default_version = sqlc.arg(default_version), last_version = sqlc.arg(last_version), removed = sqlc.arg(removed), created_at = sqlc.arg(created_at)
WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name);

-- name: Now :one
SELECT CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) AS now;

-- name: GetPipeline :one
SELECT * FROM pipelines WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name);

-- name: AddVersion :exec
INSERT INTO versions (tenant, name, version, digest, created_at, deprecated_at, canonical) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: VersionOfDigest :one
SELECT * FROM versions WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name) AND digest = sqlc.arg(digest);

-- name: GetVersion :one
SELECT * FROM versions WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name) AND version = sqlc.arg(version);

-- Seen is a version of the pipeline that a tenant sees under a name: their own before
-- one that is shipped, whose tenant is ''. Number 0 is its default.
-- name: Seen :one
SELECT sqlc.embed(versions), seen.default_version FROM (
  SELECT p.tenant, p.name, p.default_version FROM pipelines AS p
  WHERE p.name = sqlc.arg(name)::text AND p.tenant IN (sqlc.arg(tenant)::text, '') AND NOT p.removed
  ORDER BY p.tenant DESC LIMIT 1
) AS seen JOIN versions ON versions.tenant = seen.tenant AND versions.name = seen.name
  AND versions.version = CASE WHEN sqlc.arg(number)::bigint = 0 THEN seen.default_version ELSE sqlc.arg(number)::bigint END;

-- name: MarkVersion :execrows
UPDATE versions SET deprecated_at = sqlc.arg(deprecated_at) WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name) AND version = sqlc.arg(version);

-- name: LiveOf :one
SELECT CAST(
  EXISTS (SELECT 1 FROM due AS q WHERE q.stage = 0 AND q.tenant = sqlc.arg(tenant) AND q.owner = sqlc.arg(tenant) AND q.pipeline = sqlc.arg(name))
  OR EXISTS (SELECT 1 FROM due AS r WHERE r.stage IN (1, 2) AND r.tenant = sqlc.arg(tenant) AND r.owner = sqlc.arg(tenant) AND r.pipeline = sqlc.arg(name))
  AS BOOLEAN) AS live;

-- Visible are the pipelines that a tenant sees: their own, and shipped ones of which
-- they have none of that name.
-- name: Visible :many
SELECT p.* FROM pipelines AS p
WHERE NOT p.removed AND (p.tenant = sqlc.arg(tenant) OR p.tenant = '' AND NOT EXISTS (
  SELECT 1 FROM pipelines AS own WHERE own.tenant = sqlc.arg(tenant) AND own.name = p.name AND NOT own.removed))
  AND (p.created_at, p.name) < (sqlc.arg(before)::bigint, sqlc.arg(before_name)::text)
ORDER BY p.created_at DESC, p.name DESC LIMIT sqlc.arg(most)::bigint;

-- name: VersionsOf :many
SELECT tenant, name, version, digest, created_at, deprecated_at, CAST('' AS BYTEA) AS canonical FROM versions
WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name) AND version < sqlc.arg(before)
ORDER BY version DESC LIMIT sqlc.arg(most)::bigint;

-- name: DefaultsAfter :many
SELECT tenant, name, default_version FROM pipelines
WHERE NOT removed AND (tenant, name, default_version) > (sqlc.arg(tenant)::text, sqlc.arg(name)::text, sqlc.arg(version)::bigint)
ORDER BY tenant, name LIMIT sqlc.arg(most)::bigint;

-- LiveVersions are those of executions that have not ended, found as queues are.
-- name: LiveVersions :many
WITH RECURSIVE queued(tenant, owner, pipeline, version) AS (
  (SELECT d.tenant, d.owner, d.pipeline, d.version FROM due AS d WHERE d.stage = 0 ORDER BY d.tenant, d.owner, d.pipeline, d.version LIMIT 1)
  UNION ALL
  SELECT after.tenant, after.owner, after.pipeline, after.version FROM queued CROSS JOIN LATERAL (
    SELECT d.tenant, d.owner, d.pipeline, d.version FROM due AS d
    WHERE d.stage = 0 AND (d.tenant, d.owner, d.pipeline, d.version) > (queued.tenant, queued.owner, queued.pipeline, queued.version)
    ORDER BY d.tenant, d.owner, d.pipeline, d.version LIMIT 1
  ) AS after
)
SELECT live.owner, live.pipeline, live.version FROM (
  SELECT queued.owner, queued.pipeline, queued.version FROM queued
  UNION SELECT r.owner, r.pipeline, r.version FROM due AS r WHERE r.stage IN (1, 2)
) AS live
WHERE live.pipeline <> '' AND (live.owner, live.pipeline, live.version) > (sqlc.arg(owner)::text, sqlc.arg(name)::text, sqlc.arg(number)::bigint)
ORDER BY 1, 2, 3 LIMIT sqlc.arg(most)::bigint;
