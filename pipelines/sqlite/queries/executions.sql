-- name: AddExecution :exec
INSERT INTO executions (
  id, tenant, owner, pipeline, version, digest, status, outcome, priority, revision, created_at, started_at, finished_at, run_at, deadline,
  retention, expires_at, replay_of, from_step, traceparent, labels, error, state, erased, input, input_claim, event, headers, output, output_claim
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: PutDue :exec
INSERT INTO due (execution, segment, item, stage, tenant, owner, pipeline, version, concurrency, step, epoch, attempts, breaks, what, due_at, free_at, priority)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (execution, segment, item) DO UPDATE SET
  stage = excluded.stage, step = excluded.step, epoch = excluded.epoch, attempts = excluded.attempts, breaks = excluded.breaks,
  what = excluded.what, due_at = excluded.due_at, free_at = excluded.free_at, priority = excluded.priority;

-- name: RemoveDue :exec
DELETE FROM due WHERE execution = sqlc.arg(execution) AND segment = sqlc.arg(segment) AND item = sqlc.arg(item);

-- name: RemoveAllDue :exec
DELETE FROM due WHERE execution = sqlc.arg(execution);

-- name: AddLabel :exec
INSERT INTO labels (tenant, label, created_at, execution) VALUES (?, ?, ?, ?);

-- name: AddOutput :exec
INSERT INTO outputs (execution, step, item, epoch, value, claim, record) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: AddEvent :exec
INSERT INTO events (execution, number, type, step, status, at) VALUES (?, ?, ?, ?, ?, ?);

-- name: AddLate :exec
INSERT INTO late (execution, segment, item, epoch, step, at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (execution, segment, item, epoch, step) DO NOTHING;

-- name: AddDeadLetter :exec
INSERT INTO dead_letters (id, tenant, execution, pipeline, version, step, segment, item, epoch, attempts, breaks, error, at, replayed_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: NoteReplay :execrows
UPDATE dead_letters SET replayed_by = sqlc.arg(replayed_by) WHERE id = sqlc.arg(id) AND tenant = sqlc.arg(tenant);

-- name: PutKey :exec
INSERT INTO idempotency (tenant, pipeline, key, body, execution, expires_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, pipeline, key) DO UPDATE SET body = excluded.body, execution = excluded.execution, expires_at = excluded.expires_at;

-- name: KeyOf :one
SELECT * FROM idempotency WHERE tenant = sqlc.arg(tenant) AND pipeline = sqlc.arg(pipeline) AND key = sqlc.arg(key);

-- name: GetExecution :one
SELECT * FROM executions WHERE id = sqlc.arg(id);

-- name: BranchesOf :many
SELECT * FROM due WHERE execution = sqlc.arg(execution) ORDER BY segment, item;

-- name: OutputsOf :many
SELECT * FROM outputs WHERE execution = sqlc.arg(execution) AND step IN (sqlc.slice('steps')) ORDER BY step, item;

-- name: SaveExecution :execrows
UPDATE executions SET
  status = sqlc.arg(status), outcome = sqlc.arg(outcome), revision = sqlc.arg(next),
  started_at = sqlc.arg(started_at), finished_at = sqlc.arg(finished_at), deadline = sqlc.arg(deadline),
  expires_at = CASE WHEN CAST(sqlc.arg(outcome) AS TEXT) = '' OR retention = 0 THEN 0 ELSE CAST(sqlc.arg(now) AS INTEGER) + retention END,
  error = sqlc.arg(error), state = sqlc.arg(state), output = sqlc.arg(output), output_claim = sqlc.arg(output_claim)
WHERE id = sqlc.arg(id) AND revision = sqlc.arg(revision) AND outcome = '';

-- Erase leaves a stub. Its revision moves, so that nobody saves what they loaded before.
-- name: Erase :exec
UPDATE executions SET erased = 1, revision = revision + 1, error = sqlc.arg(error), state = sqlc.arg(state),
  input = '', input_claim = '', event = '', headers = '', output = '', output_claim = '', traceparent = ''
WHERE id = sqlc.arg(id);

-- name: RemoveOutputs :exec
DELETE FROM outputs WHERE execution = sqlc.arg(execution);

-- name: EraseDeadLetters :exec
UPDATE dead_letters SET error = sqlc.arg(error) WHERE execution = sqlc.arg(execution);

-- name: ListExecutions :many
SELECT created_at, id FROM executions
WHERE tenant = sqlc.arg(tenant) AND outcome = sqlc.arg(outcome) AND (created_at, id) < (sqlc.arg(before), CAST(sqlc.arg(before_id) AS TEXT))
  AND (CAST(sqlc.arg(status) AS TEXT) = '' OR status = sqlc.arg(status))
ORDER BY created_at DESC, id DESC LIMIT sqlc.arg(most);

-- name: ListOfPipeline :many
SELECT created_at, id FROM executions
WHERE tenant = sqlc.arg(tenant) AND pipeline = sqlc.arg(pipeline) AND outcome = sqlc.arg(outcome)
  AND (created_at, id) < (sqlc.arg(before), CAST(sqlc.arg(before_id) AS TEXT)) AND (CAST(sqlc.arg(status) AS TEXT) = '' OR status = sqlc.arg(status))
ORDER BY created_at DESC, id DESC LIMIT sqlc.arg(most);

-- ListOfLabel goes by one label; who asks compares the rest.
-- name: ListOfLabel :many
SELECT x.created_at, x.id, x.labels FROM labels AS l JOIN executions AS x ON x.id = l.execution
WHERE l.tenant = sqlc.arg(tenant) AND l.label = sqlc.arg(label) AND (l.created_at, l.execution) < (sqlc.arg(before), CAST(sqlc.arg(before_id) AS TEXT))
  AND (CAST(sqlc.arg(status) AS TEXT) = '' OR x.status = sqlc.arg(status))
  AND (CAST(sqlc.arg(of_pipeline) AS INTEGER) = 0 OR x.pipeline = sqlc.arg(pipeline))
ORDER BY l.created_at DESC, l.execution DESC LIMIT sqlc.arg(most);

-- name: Summaries :many
SELECT
  id, tenant, owner, pipeline, version, digest, status, outcome, priority, revision, created_at, started_at, finished_at, run_at, deadline,
  retention, expires_at, replay_of, from_step, traceparent, labels, error, state, erased,
  CAST('' AS BLOB) AS input, CAST('' AS TEXT) AS input_claim, CAST('' AS BLOB) AS event, CAST('' AS TEXT) AS headers, CAST('' AS BLOB) AS output, CAST('' AS TEXT) AS output_claim
FROM executions WHERE id IN (sqlc.slice('ids')) ORDER BY created_at DESC, id DESC;

-- name: TenantOf :one
SELECT tenant FROM executions WHERE id = sqlc.arg(id);

-- name: EventsOf :many
SELECT * FROM events WHERE execution = sqlc.arg(execution) AND number > sqlc.arg(after) ORDER BY number LIMIT sqlc.arg(most);

-- name: LastEvent :one
SELECT CAST(coalesce(max(number), 0) AS INTEGER) AS number FROM events WHERE execution = sqlc.arg(execution);

-- name: Expired :many
SELECT tenant, id FROM executions WHERE expires_at > 0 AND expires_at <= sqlc.arg(now) ORDER BY expires_at LIMIT sqlc.arg(most);

-- name: Keep :exec
UPDATE executions SET expires_at = sqlc.arg(expires_at) WHERE id = sqlc.arg(id) AND expires_at > 0;

-- name: ForgetExecution :execrows
DELETE FROM executions WHERE id = sqlc.arg(id) AND outcome <> '';

-- name: ForgetEvents :exec
DELETE FROM events WHERE execution = sqlc.arg(execution);

-- name: ForgetLate :exec
DELETE FROM late WHERE execution = sqlc.arg(execution);

-- name: ForgetDeadLetters :exec
DELETE FROM dead_letters WHERE execution = sqlc.arg(execution);

-- name: ForgetLabels :exec
DELETE FROM labels WHERE execution = sqlc.arg(execution);

-- name: ForgetKeys :exec
DELETE FROM idempotency WHERE execution = sqlc.arg(execution);

-- name: TrimKeys :execrows
DELETE FROM idempotency WHERE (idempotency.tenant, idempotency.pipeline, idempotency.key) IN (
  SELECT k.tenant, k.pipeline, k.key FROM idempotency AS k WHERE k.expires_at <= sqlc.arg(now) LIMIT sqlc.arg(most)
);
