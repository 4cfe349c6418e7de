-- AddSchedule adds one, unless the tenant has as many as may be: then it returns nothing.
-- Two that are added at the same time may be one more.
-- name: AddSchedule :one
INSERT INTO schedules (
  tenant, name, pipeline, version, cron, time_zone, input, missed, jitter, created_at, revision, paused, planned_at, due_at, free_at, last_at, last_execution, last_error
)
SELECT sqlc.arg(tenant)::text, sqlc.arg(name)::text, sqlc.arg(pipeline)::text, sqlc.arg(version)::bigint, sqlc.arg(cron)::text, sqlc.arg(time_zone)::text,
  sqlc.arg(input)::bytea, sqlc.arg(missed)::text, sqlc.arg(jitter)::bigint, CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT), 1,
  sqlc.arg(paused)::boolean, sqlc.arg(planned_at)::bigint, sqlc.arg(due_at)::bigint, sqlc.arg(due_at)::bigint, 0, '', ''
WHERE (SELECT count(*) FROM schedules AS s WHERE s.tenant = sqlc.arg(tenant)::text) < sqlc.arg(most)::bigint
RETURNING created_at;

-- name: GetSchedule :one
SELECT * FROM schedules WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name);

-- name: SchedulesOf :many
SELECT * FROM schedules WHERE tenant = sqlc.arg(tenant) AND (created_at, name) < (sqlc.arg(before)::bigint, sqlc.arg(before_name)::text)
ORDER BY created_at DESC, name DESC LIMIT sqlc.arg(most)::bigint;

-- name: SaveSchedule :execrows
UPDATE schedules SET
  paused = sqlc.arg(paused), planned_at = sqlc.arg(planned_at), due_at = sqlc.arg(due_at), free_at = sqlc.arg(due_at), last_at = sqlc.arg(last_at),
  last_execution = sqlc.arg(last_execution), last_error = sqlc.arg(last_error), revision = revision + 1
WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name) AND created_at = sqlc.arg(created_at) AND revision = sqlc.arg(revision);

-- name: DeleteSchedule :execrows
DELETE FROM schedules WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name);

-- name: TakeSchedules :many
WITH taken AS (
  SELECT s.tenant, s.name FROM schedules AS s
  WHERE s.free_at > 0 AND NOT s.paused AND s.free_at <= CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)
  ORDER BY s.free_at, s.name LIMIT sqlc.arg(most)::bigint FOR UPDATE SKIP LOCKED
)
UPDATE schedules SET free_at = CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) + sqlc.arg(hold)::bigint FROM taken
WHERE schedules.tenant = taken.tenant AND schedules.name = taken.name
RETURNING sqlc.embed(schedules), CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) AS now;
