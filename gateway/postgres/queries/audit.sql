-- name: ChainExists :one
SELECT count(*) FROM audit_heads WHERE tenant = sqlc.arg(tenant) AND seq > 0;

-- name: AddHead :exec
INSERT INTO audit_heads (tenant, seq, hash, moved_at) VALUES (sqlc.arg(tenant), 0, '', 0)
ON CONFLICT (tenant) DO NOTHING;

-- name: Head :one
SELECT * FROM audit_heads WHERE tenant = sqlc.arg(tenant);

-- HoldHead holds a head, and says which entry is the chain's last.
-- name: HoldHead :one
SELECT audit_heads.tenant, audit_heads.seq, audit_heads.hash,
  CAST(coalesce((SELECT max(audit.seq) FROM audit WHERE audit.tenant = audit_heads.tenant), 0) AS bigint) AS newest
FROM audit_heads WHERE audit_heads.tenant = sqlc.arg(tenant) FOR UPDATE;

-- name: MoveHead :exec
UPDATE audit_heads SET seq = sqlc.arg(seq), hash = sqlc.arg(hash), moved_at = sqlc.arg(moved_at)
WHERE tenant = sqlc.arg(tenant);

-- name: MovedHeads :many
SELECT * FROM audit_heads WHERE moved_at >= sqlc.arg(since) AND seq > 0
ORDER BY moved_at, tenant LIMIT sqlc.arg(most)::bigint;

-- HeadlessChains are those that have entries and no head, and the platform's where
-- changes were stored: each is found by the index, from the one before. (A database of
-- before there was a history begins with a change that has no entry.)
-- name: HeadlessChains :many
WITH RECURSIVE chains(tenant) AS (
  SELECT CAST(min(audit.tenant) AS text) FROM audit
  UNION ALL
  SELECT (SELECT min(audit.tenant) FROM audit WHERE audit.tenant > chains.tenant) FROM chains WHERE chains.tenant IS NOT NULL
)
SELECT CAST(named.tenant AS text) AS tenant FROM (
  SELECT chains.tenant FROM chains WHERE chains.tenant IS NOT NULL
  UNION SELECT '' FROM counter WHERE counter.number > 1
) AS named
WHERE NOT EXISTS (SELECT 1 FROM audit_heads WHERE audit_heads.tenant = named.tenant AND audit_heads.seq > 0)
ORDER BY 1 LIMIT sqlc.arg(most)::bigint;

-- name: AddEntry :batchexec
INSERT INTO audit (tenant, seq, at, actor, action, resource, outcome, reason, request_id, address, count, previous, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: Chain :many
SELECT * FROM audit WHERE tenant = sqlc.arg(tenant) AND seq >= sqlc.arg(first) ORDER BY seq LIMIT sqlc.arg(most)::bigint;

-- Trimmable is what may be removed of a chain, the oldest first.
-- name: Trimmable :many
SELECT * FROM audit WHERE tenant = sqlc.arg(tenant) AND seq < sqlc.arg(head)
ORDER BY seq LIMIT sqlc.arg(most)::bigint;

-- name: CountOpened :one
SELECT count(*) FROM audit WHERE tenant = '' AND action = 'audit.open' AND actor = 'gateway';

-- name: TrimEntries :execrows
DELETE FROM audit WHERE tenant = sqlc.arg(tenant) AND seq <= sqlc.arg(up_to);

-- What is most often the rarest of a filter has an index; the rest is compared.
-- name: Entries :many
SELECT * FROM audit
WHERE tenant = sqlc.arg(tenant) AND seq < sqlc.arg(before)
  AND (CAST(sqlc.arg(actor) AS TEXT) = '' OR actor = sqlc.arg(actor)) AND (CAST(sqlc.arg(action) AS TEXT) = '' OR action = sqlc.arg(action))
  AND (CAST(sqlc.arg(resource) AS TEXT) = '' OR resource = sqlc.arg(resource)) AND (CAST(sqlc.arg(outcome) AS TEXT) = '' OR outcome = sqlc.arg(outcome))
  AND at >= sqlc.arg(from_at) AND at < sqlc.arg(to_at)
ORDER BY seq DESC LIMIT sqlc.arg(most)::bigint;

-- name: EntriesOfResource :many
SELECT * FROM audit
WHERE tenant = sqlc.arg(tenant) AND seq < sqlc.arg(before)
  AND (CAST(sqlc.arg(actor) AS TEXT) = '' OR actor = sqlc.arg(actor)) AND (CAST(sqlc.arg(action) AS TEXT) = '' OR action = sqlc.arg(action))
  AND resource = sqlc.arg(resource) AND (CAST(sqlc.arg(outcome) AS TEXT) = '' OR outcome = sqlc.arg(outcome))
  AND at >= sqlc.arg(from_at) AND at < sqlc.arg(to_at)
ORDER BY seq DESC LIMIT sqlc.arg(most)::bigint;

-- name: EntriesOfActor :many
SELECT * FROM audit
WHERE tenant = sqlc.arg(tenant) AND seq < sqlc.arg(before)
  AND actor = sqlc.arg(actor) AND (CAST(sqlc.arg(action) AS TEXT) = '' OR action = sqlc.arg(action))
  AND (CAST(sqlc.arg(resource) AS TEXT) = '' OR resource = sqlc.arg(resource)) AND (CAST(sqlc.arg(outcome) AS TEXT) = '' OR outcome = sqlc.arg(outcome))
  AND at >= sqlc.arg(from_at) AND at < sqlc.arg(to_at)
ORDER BY seq DESC LIMIT sqlc.arg(most)::bigint;

-- name: EntriesOfAction :many
SELECT * FROM audit
WHERE tenant = sqlc.arg(tenant) AND seq < sqlc.arg(before)
  AND (CAST(sqlc.arg(actor) AS TEXT) = '' OR actor = sqlc.arg(actor)) AND action = sqlc.arg(action)
  AND (CAST(sqlc.arg(resource) AS TEXT) = '' OR resource = sqlc.arg(resource)) AND (CAST(sqlc.arg(outcome) AS TEXT) = '' OR outcome = sqlc.arg(outcome))
  AND at >= sqlc.arg(from_at) AND at < sqlc.arg(to_at)
ORDER BY seq DESC LIMIT sqlc.arg(most)::bigint;
