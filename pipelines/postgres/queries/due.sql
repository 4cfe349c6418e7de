-- Claim takes what is due. Each tenant's rows of a priority are found by the index, from
-- one tenant and priority to the next.
-- name: Claim :many
WITH RECURSIVE clock AS (
  SELECT CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) AS now
), groups(tenant, priority) AS (
  (SELECT d.tenant, d.priority FROM due AS d WHERE d.stage >= 2 ORDER BY d.tenant, d.priority LIMIT 1)
  UNION ALL
  SELECT after.tenant, after.priority FROM groups CROSS JOIN LATERAL (
    SELECT d.tenant, d.priority FROM due AS d WHERE d.stage >= 2 AND (d.tenant, d.priority) > (groups.tenant, groups.priority)
    ORDER BY d.tenant, d.priority LIMIT 1
  ) AS after
), found AS (
  SELECT locked.execution, locked.segment, locked.item, locked.priority, locked.free_at,
    row_number() OVER (PARTITION BY locked.tenant ORDER BY locked.priority DESC, locked.free_at) AS turn
  FROM groups CROSS JOIN LATERAL (
    SELECT d.execution, d.segment, d.item, d.tenant, d.priority, d.free_at FROM due AS d
    WHERE d.stage >= 2 AND d.tenant = groups.tenant AND d.priority = groups.priority
      AND d.free_at <= CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)
    ORDER BY d.free_at LIMIT sqlc.arg(most)::bigint FOR UPDATE SKIP LOCKED
  ) AS locked
), chosen AS (
  SELECT found.execution, found.segment, found.item FROM found ORDER BY found.turn, found.free_at LIMIT sqlc.arg(most)::bigint
)
UPDATE due SET free_at = clock.now + sqlc.arg(hold)::bigint FROM chosen, clock
WHERE due.execution = chosen.execution AND due.segment = chosen.segment AND due.item = chosen.item
RETURNING due.*;

-- AnyQueued reports whether Admit may find something.
-- name: AnyQueued :one
SELECT CAST(
  EXISTS (SELECT 1 FROM due AS q WHERE q.stage = 0)
  OR EXISTS (SELECT 1 FROM due AS a WHERE a.stage = 1 AND a.free_at <= CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT))
  AS BOOLEAN) AS queued;

-- Admitting has one process admit at a time, until its transaction ends.
-- name: Admitting :exec
SELECT pg_advisory_xact_lock(hashtext('modelserve.pipelines.admit'));

-- Again takes executions that were admitted, and not begun in time. What may be taken is
-- compared in the row itself as well, which is read again where another has just changed it.
-- name: Again :many
UPDATE due SET free_at = CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) + sqlc.arg(hold)::bigint
WHERE due.segment = -1 AND due.item = 0 AND due.execution IN (
  SELECT d.execution FROM due AS d WHERE d.stage = 1 AND d.free_at <= CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)
  ORDER BY d.free_at LIMIT sqlc.arg(most)::bigint
) AND due.stage = 1 AND due.free_at <= CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)
RETURNING due.*;

-- Running counts the executions that run, by pipeline.
-- name: Running :many
SELECT tenant, owner, pipeline, version, count(*) AS running FROM due WHERE stage IN (1, 2) GROUP BY tenant, owner, pipeline, version;

-- Queues are those that have an execution, found as in Claim.
-- name: Queues :many
WITH RECURSIVE queues(tenant, owner, pipeline, version, priority, concurrency) AS (
  (SELECT d.tenant, d.owner, d.pipeline, d.version, d.priority, d.concurrency FROM due AS d WHERE d.stage = 0
   ORDER BY d.tenant, d.owner, d.pipeline, d.version, d.priority LIMIT 1)
  UNION ALL
  SELECT after.tenant, after.owner, after.pipeline, after.version, after.priority, after.concurrency FROM queues CROSS JOIN LATERAL (
    SELECT d.tenant, d.owner, d.pipeline, d.version, d.priority, d.concurrency FROM due AS d
    WHERE d.stage = 0 AND (d.tenant, d.owner, d.pipeline, d.version, d.priority) > (queues.tenant, queues.owner, queues.pipeline, queues.version, queues.priority)
    ORDER BY d.tenant, d.owner, d.pipeline, d.version, d.priority LIMIT 1
  ) AS after
)
SELECT queues.tenant, queues.owner, queues.pipeline, queues.version, queues.priority, queues.concurrency FROM queues;

-- Heads are the first of each queue whose time has come.
-- name: Heads :many
SELECT head.tenant, head.owner, head.pipeline, head.version, head.priority, head.due_at, head.execution
FROM (
  SELECT unnest(sqlc.arg(tenants)::text[]) AS tenant, unnest(sqlc.arg(owners)::text[]) AS owner, unnest(sqlc.arg(pipelines)::text[]) AS pipeline,
    unnest(sqlc.arg(versions)::bigint[]) AS version, unnest(sqlc.arg(priorities)::bigint[]) AS priority, unnest(sqlc.arg(mosts)::bigint[]) AS most
) AS queue
CROSS JOIN LATERAL (
  SELECT d.tenant, d.owner, d.pipeline, d.version, d.priority, d.due_at, d.execution FROM due AS d
  WHERE d.stage = 0 AND d.tenant = queue.tenant AND d.owner = queue.owner AND d.pipeline = queue.pipeline AND d.version = queue.version
    AND d.priority = queue.priority AND d.due_at <= CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)
  ORDER BY d.due_at, d.execution LIMIT queue.most
) AS head;

-- name: Take :many
UPDATE due SET stage = 1, free_at = CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) + sqlc.arg(hold)::bigint
WHERE due.execution = ANY(sqlc.arg(ids)::text[]) AND due.segment = -1 AND due.item = 0 AND due.stage = 0
RETURNING due.*;

-- name: VoidLeases :execrows
UPDATE due SET due_at = CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT), free_at = CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)
WHERE stage = 3 AND what = 'lease';

-- name: GiveBack :exec
UPDATE due SET free_at = due_at WHERE what <> 'lease' AND free_at > due_at;

-- PutBack gives back rows that were taken and are as they were then. Executions queue again:
-- with the others where they are to come at once, else behind those of their time.
-- name: PutBack :exec
UPDATE due SET
  stage = CASE WHEN due.stage = 1 THEN 0 ELSE due.stage END, attempts = back.attempts, free_at = clock.now + sqlc.arg(after)::bigint,
  due_at = CASE WHEN due.stage = 1 AND sqlc.arg(after)::bigint > 0 THEN clock.now + sqlc.arg(after)::bigint ELSE due.due_at END
FROM (
  SELECT unnest(sqlc.arg(executions)::text[]) AS execution, unnest(sqlc.arg(segments)::bigint[]) AS segment, unnest(sqlc.arg(items)::bigint[]) AS item,
    unnest(sqlc.arg(whats)::text[]) AS what, unnest(sqlc.arg(epochs)::bigint[]) AS epoch, unnest(sqlc.arg(attempts)::bigint[]) AS attempts
) AS back, (SELECT CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) AS now) AS clock
WHERE due.execution = back.execution AND due.segment = back.segment AND due.item = back.item
  AND due.stage >= 1 AND due.what = back.what AND due.epoch = back.epoch;

-- name: Waiting :one
SELECT count(*) FROM (SELECT 1 FROM due WHERE stage = 0 AND tenant = sqlc.arg(tenant) LIMIT sqlc.arg(most)::bigint) AS waiting;

-- Sent has rows that are as they were be leases.
-- name: Sent :many
UPDATE due SET what = 'lease', step = sent.step, epoch = sent.epoch, due_at = sent.due_at, free_at = sent.due_at
FROM (
  SELECT unnest(sqlc.arg(executions)::text[]) AS execution, unnest(sqlc.arg(segments)::bigint[]) AS segment, unnest(sqlc.arg(items)::bigint[]) AS item,
    unnest(sqlc.arg(steps)::bigint[]) AS step, unnest(sqlc.arg(epochs)::bigint[]) AS epoch, unnest(sqlc.arg(dues)::bigint[]) AS due_at
) AS sent
WHERE due.execution = sent.execution AND due.segment = sent.segment AND due.item = sent.item AND due.epoch = sent.epoch - 1 AND due.what = 'send'
RETURNING due.execution, due.segment, due.item;

-- Backlog is of all executions that have not ended. Due is what nobody has taken.
-- name: Backlog :one
SELECT
  CAST(count(*) FILTER (WHERE stage = 0) AS BIGINT) AS queued,
  CAST(count(*) FILTER (WHERE stage IN (1, 2)) AS BIGINT) AS running,
  CAST(count(*) FILTER (WHERE stage >= 1 AND free_at <= clock.now) AS BIGINT) AS due,
  CAST(coalesce(max(clock.now - due_at) FILTER (WHERE stage >= 1 AND free_at <= clock.now), 0) AS BIGINT) AS age
FROM due, (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now) AS clock;
