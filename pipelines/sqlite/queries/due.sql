-- NextWork is the tenant and priority that come after others.
-- name: NextWork :one
SELECT tenant, priority FROM due
WHERE stage >= 2 AND (tenant, priority) > (sqlc.arg(tenant), CAST(sqlc.arg(priority) AS INTEGER)) ORDER BY tenant, priority LIMIT 1;

-- name: Work :many
SELECT * FROM due WHERE stage >= 2 AND tenant = sqlc.arg(tenant) AND priority = sqlc.arg(priority) AND free_at <= sqlc.arg(now)
ORDER BY free_at LIMIT sqlc.arg(most);

-- name: Hold :exec
UPDATE due SET free_at = sqlc.arg(free_at) WHERE execution = sqlc.arg(execution) AND segment = sqlc.arg(segment) AND item = sqlc.arg(item);

-- Again are executions that were admitted, and not begun in time.
-- name: Again :many
SELECT * FROM due WHERE stage = 1 AND free_at <= sqlc.arg(now) ORDER BY free_at LIMIT sqlc.arg(most);

-- name: Running :many
SELECT tenant, owner, pipeline, version, count(*) AS running FROM due WHERE stage IN (1, 2) GROUP BY tenant, owner, pipeline, version;

-- NextQueue is the queue that comes after another.
-- name: NextQueue :one
SELECT tenant, owner, pipeline, version, priority, concurrency FROM due
WHERE stage = 0 AND (tenant, owner, pipeline, version, priority) > (
  sqlc.arg(tenant), CAST(sqlc.arg(owner) AS TEXT), CAST(sqlc.arg(pipeline) AS TEXT), CAST(sqlc.arg(version) AS INTEGER), CAST(sqlc.arg(priority) AS INTEGER))
ORDER BY tenant, owner, pipeline, version, priority LIMIT 1;

-- name: Heads :many
SELECT * FROM due
WHERE stage = 0 AND tenant = sqlc.arg(tenant) AND owner = sqlc.arg(owner) AND pipeline = sqlc.arg(pipeline) AND version = sqlc.arg(version)
  AND priority = sqlc.arg(priority) AND due_at <= sqlc.arg(now)
ORDER BY due_at, execution LIMIT sqlc.arg(most);

-- name: Take :exec
UPDATE due SET stage = 1, free_at = sqlc.arg(free_at) WHERE execution = sqlc.arg(execution) AND segment = -1 AND item = 0;

-- name: Sent :execrows
UPDATE due SET what = 'lease', step = sqlc.arg(step), epoch = sqlc.arg(epoch), due_at = sqlc.arg(due_at), free_at = sqlc.arg(due_at)
WHERE execution = sqlc.arg(execution) AND segment = sqlc.arg(segment) AND item = sqlc.arg(item)
  AND epoch = CAST(sqlc.arg(epoch) AS INTEGER) - 1 AND what = 'send';

-- name: VoidLeases :execrows
UPDATE due SET due_at = sqlc.arg(now), free_at = sqlc.arg(now) WHERE stage = 3 AND what = 'lease';

-- name: GiveBack :exec
UPDATE due SET free_at = due_at WHERE what <> 'lease' AND free_at > due_at;

-- PutBack gives back a row that was taken and is as it was then. An execution queues again:
-- with the others where it is to come at once, else behind those of its time.
-- name: PutBack :exec
UPDATE due SET
  stage = CASE WHEN stage = 1 THEN 0 ELSE stage END, attempts = sqlc.arg(attempts), free_at = sqlc.arg(at),
  due_at = CASE WHEN stage = 1 AND CAST(sqlc.arg(later) AS INTEGER) <> 0 THEN sqlc.arg(at) ELSE due_at END
WHERE execution = sqlc.arg(execution) AND segment = sqlc.arg(segment) AND item = sqlc.arg(item)
  AND stage >= 1 AND what = sqlc.arg(what) AND epoch = sqlc.arg(epoch);

-- name: Waiting :one
SELECT count(*) FROM (SELECT 1 FROM due WHERE stage = 0 AND tenant = sqlc.arg(tenant) LIMIT sqlc.arg(most)) AS waiting;

-- Backlog is of all executions that have not ended. Due is what nobody has taken.
-- name: Backlog :one
SELECT
  CAST(coalesce(sum(stage = 0), 0) AS INTEGER) AS queued,
  CAST(coalesce(sum(stage IN (1, 2)), 0) AS INTEGER) AS running,
  CAST(coalesce(sum(stage >= 1 AND free_at <= CAST(sqlc.arg(now) AS INTEGER)), 0) AS INTEGER) AS due,
  CAST(coalesce(max(CASE WHEN stage >= 1 AND free_at <= CAST(sqlc.arg(now) AS INTEGER) THEN CAST(sqlc.arg(now) AS INTEGER) - due_at END), 0) AS INTEGER) AS age
FROM due;
