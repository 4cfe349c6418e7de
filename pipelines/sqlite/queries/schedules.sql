-- AddSchedule adds one, unless the tenant has as many as may be.
-- name: AddSchedule :execrows
INSERT INTO schedules (
  tenant, name, pipeline, version, cron, time_zone, input, missed, jitter, created_at, revision, paused, planned_at, due_at, free_at, last_at, last_execution, last_error
)
SELECT sqlc.arg(tenant), sqlc.arg(name), sqlc.arg(pipeline), sqlc.arg(version), sqlc.arg(cron), sqlc.arg(time_zone), sqlc.arg(input), sqlc.arg(missed), sqlc.arg(jitter),
  sqlc.arg(created_at), 1, sqlc.arg(paused), sqlc.arg(planned_at), sqlc.arg(due_at), sqlc.arg(due_at), 0, '', ''
WHERE (SELECT count(*) FROM schedules AS s WHERE s.tenant = sqlc.arg(tenant)) < CAST(sqlc.arg(most) AS INTEGER);

-- name: GetSchedule :one
SELECT * FROM schedules WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name);

-- name: SchedulesOf :many
SELECT * FROM schedules WHERE tenant = sqlc.arg(tenant) AND (created_at, name) < (CAST(sqlc.arg(before) AS INTEGER), CAST(sqlc.arg(before_name) AS TEXT))
ORDER BY created_at DESC, name DESC LIMIT sqlc.arg(most);

-- name: SaveSchedule :execrows
UPDATE schedules SET
  paused = sqlc.arg(paused), planned_at = sqlc.arg(planned_at), due_at = sqlc.arg(due_at), free_at = sqlc.arg(due_at), last_at = sqlc.arg(last_at),
  last_execution = sqlc.arg(last_execution), last_error = sqlc.arg(last_error), revision = revision + 1
WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name) AND created_at = sqlc.arg(created_at) AND revision = sqlc.arg(revision);

-- name: DeleteSchedule :execrows
DELETE FROM schedules WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name);

-- name: SchedulesDue :many
SELECT * FROM schedules WHERE free_at > 0 AND paused = 0 AND free_at <= sqlc.arg(now) ORDER BY free_at, name LIMIT sqlc.arg(most);

-- name: HoldSchedule :exec
UPDATE schedules SET free_at = sqlc.arg(free_at) WHERE tenant = sqlc.arg(tenant) AND name = sqlc.arg(name);
