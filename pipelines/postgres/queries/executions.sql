-- Accept stores an execution with all that comes with it, in one statement: its time is
-- the statement's. It returns nothing where its idempotency key counts already, or the
-- dead letter that it replays is not there.
-- name: Accept :one
WITH clock AS (
  SELECT CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) AS now
), keyed AS (
  INSERT INTO idempotency (tenant, pipeline, key, body, execution, expires_at)
  SELECT sqlc.arg(tenant)::text, sqlc.arg(pipeline)::text, sqlc.arg(key)::text, sqlc.arg(body)::text, sqlc.arg(id)::text, clock.now + sqlc.arg(key_lifetime)::bigint
  FROM clock
  WHERE sqlc.arg(key)::text <> '' AND (sqlc.arg(replays)::text = '' OR EXISTS (
    SELECT 1 FROM dead_letters WHERE dead_letters.id = sqlc.arg(replays)::text AND dead_letters.tenant = sqlc.arg(tenant)::text))
  ON CONFLICT (tenant, pipeline, key) DO UPDATE SET body = excluded.body, execution = excluded.execution, expires_at = excluded.expires_at
  WHERE idempotency.expires_at <= excluded.expires_at - sqlc.arg(key_lifetime)::bigint
  RETURNING execution
), accepted AS (
  INSERT INTO executions (
    id, tenant, owner, pipeline, version, digest, status, outcome, priority, revision, created_at, started_at, finished_at, run_at, deadline,
    retention, expires_at, replay_of, from_step, traceparent, labels, error, state, erased, input, input_claim, event, headers, output, output_claim
  )
  SELECT
    sqlc.arg(id)::text, sqlc.arg(tenant)::text, sqlc.arg(owner)::text, sqlc.arg(pipeline)::text, sqlc.arg(version)::bigint, sqlc.arg(digest)::text, sqlc.arg(status)::text, '',
    sqlc.arg(priority)::bigint, 1, clock.now, 0, 0, greatest(clock.now, sqlc.arg(run_at)::bigint), 0,
    sqlc.arg(retention)::bigint, 0, sqlc.arg(replay_of)::text, sqlc.arg(from_step)::text, sqlc.arg(traceparent)::text, sqlc.arg(labels)::text, '', sqlc.arg(state)::text, false,
    sqlc.arg(input)::bytea, sqlc.arg(input_claim)::text, sqlc.arg(event)::bytea, sqlc.arg(headers)::text, '', ''
  FROM clock
  WHERE (sqlc.arg(key)::text = '' OR EXISTS (SELECT 1 FROM keyed)) AND (sqlc.arg(replays)::text = '' OR EXISTS (
    SELECT 1 FROM dead_letters WHERE dead_letters.id = sqlc.arg(replays)::text AND dead_letters.tenant = sqlc.arg(tenant)::text))
  RETURNING executions.id, executions.created_at, executions.run_at
), queued AS (
  INSERT INTO due (execution, segment, item, stage, tenant, owner, pipeline, version, concurrency, step, epoch, attempts, breaks, what, due_at, free_at, priority)
  SELECT accepted.id, -1, 0, 0, sqlc.arg(tenant)::text, sqlc.arg(owner)::text, sqlc.arg(pipeline)::text, sqlc.arg(version)::bigint, sqlc.arg(concurrency)::bigint,
    0, 0, 0, 0, 'start', accepted.run_at, accepted.run_at, sqlc.arg(priority)::bigint
  FROM accepted
), labelled AS (
  INSERT INTO labels (tenant, label, created_at, execution)
  SELECT sqlc.arg(tenant)::text, unnest(sqlc.arg(label_list)::text[]), accepted.created_at, accepted.id FROM accepted
), valued AS (
  INSERT INTO outputs (execution, step, item, epoch, value, claim, record)
  SELECT accepted.id, unnest(sqlc.arg(value_steps)::text[]), unnest(sqlc.arg(value_items)::bigint[]), unnest(sqlc.arg(value_epochs)::bigint[]),
    unnest(sqlc.arg(value_values)::bytea[]), unnest(sqlc.arg(value_claims)::text[]), unnest(sqlc.arg(value_records)::text[])
  FROM accepted
), happened AS (
  INSERT INTO events (execution, number, type, step, status, at)
  SELECT accepted.id, unnest(sqlc.arg(event_numbers)::bigint[]), unnest(sqlc.arg(event_types)::text[]), unnest(sqlc.arg(event_steps)::text[]),
    unnest(sqlc.arg(event_statuses)::text[]), accepted.created_at
  FROM accepted
), replayed AS (
  UPDATE dead_letters SET replayed_by = sqlc.arg(id)::text FROM accepted
  WHERE dead_letters.id = sqlc.arg(replays)::text AND dead_letters.tenant = sqlc.arg(tenant)::text
)
SELECT accepted.created_at, accepted.run_at FROM accepted;

-- AcceptPlain is Accept of an execution that has no idempotency key, no labels and no
-- outputs, replays no dead letter and has one event: most have no more, and what a
-- statement could write costs the database nearly as much as what it writes.
-- name: AcceptPlain :one
WITH accepted AS (
  INSERT INTO executions (
    id, tenant, owner, pipeline, version, digest, status, outcome, priority, revision, created_at, started_at, finished_at, run_at, deadline,
    retention, expires_at, replay_of, from_step, traceparent, labels, error, state, erased, input, input_claim, event, headers, output, output_claim
  )
  VALUES (
    sqlc.arg(id), sqlc.arg(tenant)::text, sqlc.arg(owner)::text, sqlc.arg(pipeline)::text, sqlc.arg(version)::bigint, sqlc.arg(digest), sqlc.arg(status)::text, '',
    sqlc.arg(priority)::bigint, 1, CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT), 0, 0,
    greatest(CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT), sqlc.arg(run_at)::bigint), 0,
    sqlc.arg(retention), 0, sqlc.arg(replay_of), sqlc.arg(from_step), sqlc.arg(traceparent), '', '', sqlc.arg(state), false,
    sqlc.arg(input), sqlc.arg(input_claim), sqlc.arg(event), sqlc.arg(headers), '', ''
  )
  RETURNING executions.id, executions.created_at, executions.run_at
), queued AS (
  INSERT INTO due (execution, segment, item, stage, tenant, owner, pipeline, version, concurrency, step, epoch, attempts, breaks, what, due_at, free_at, priority)
  SELECT accepted.id, -1, 0, 0, sqlc.arg(tenant)::text, sqlc.arg(owner)::text, sqlc.arg(pipeline)::text, sqlc.arg(version)::bigint, sqlc.arg(concurrency)::bigint,
    0, 0, 0, 0, 'start', accepted.run_at, accepted.run_at, sqlc.arg(priority)::bigint
  FROM accepted
), happened AS (
  INSERT INTO events (execution, number, type, step, status, at)
  SELECT accepted.id, sqlc.arg(event_number)::bigint, sqlc.arg(event_type)::text, sqlc.arg(event_step)::text, sqlc.arg(event_status)::text, accepted.created_at
  FROM accepted
)
SELECT accepted.created_at, accepted.run_at FROM accepted;

-- name: KeyOf :one
SELECT body, execution FROM idempotency
WHERE tenant = sqlc.arg(tenant) AND pipeline = sqlc.arg(pipeline) AND key = sqlc.arg(key)
  AND expires_at > CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT);

-- name: GetExecution :one
SELECT sqlc.embed(executions), CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) AS now FROM executions WHERE id = sqlc.arg(id);

-- name: BranchesOf :many
SELECT * FROM due WHERE execution = sqlc.arg(execution) ORDER BY segment, item;

-- name: OutputsOf :many
SELECT * FROM outputs WHERE execution = sqlc.arg(execution) AND step = ANY(sqlc.arg(steps)::text[]) ORDER BY step, item;

-- Save stores what changed, in one statement, or nothing where the revision moved.
-- name: Save :one
WITH saved AS (
  UPDATE executions SET
    status = sqlc.arg(status)::text, outcome = sqlc.arg(outcome)::text, revision = sqlc.arg(next)::bigint,
    started_at = sqlc.arg(started_at)::bigint, finished_at = sqlc.arg(finished_at)::bigint, deadline = sqlc.arg(deadline)::bigint,
    expires_at = CASE WHEN sqlc.arg(outcome)::text = '' OR retention = 0 THEN 0
      ELSE CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) + retention END,
    error = sqlc.arg(error)::text, state = sqlc.arg(state)::text, output = sqlc.arg(output)::bytea, output_claim = sqlc.arg(output_claim)::text
  WHERE executions.id = sqlc.arg(id)::text AND executions.revision = sqlc.arg(revision)::bigint AND executions.outcome = ''
  RETURNING executions.id, executions.tenant, executions.owner, executions.pipeline, executions.version
), put AS (
  INSERT INTO due (execution, segment, item, stage, tenant, owner, pipeline, version, concurrency, step, epoch, attempts, breaks, what, due_at, free_at, priority)
  SELECT saved.id, unnest(sqlc.arg(segments)::bigint[]), unnest(sqlc.arg(items)::bigint[]), unnest(sqlc.arg(stages)::bigint[]),
    saved.tenant, saved.owner, saved.pipeline, saved.version, 0,
    unnest(sqlc.arg(steps)::bigint[]), unnest(sqlc.arg(epochs)::bigint[]), unnest(sqlc.arg(attempts)::bigint[]), unnest(sqlc.arg(breaks)::bigint[]),
    unnest(sqlc.arg(whats)::text[]), unnest(sqlc.arg(dues)::bigint[]), unnest(sqlc.arg(dues)::bigint[]), unnest(sqlc.arg(priorities)::bigint[])
  FROM saved
  ON CONFLICT (execution, segment, item) DO UPDATE SET
    stage = excluded.stage, step = excluded.step, epoch = excluded.epoch, attempts = excluded.attempts, breaks = excluded.breaks,
    what = excluded.what, due_at = excluded.due_at, free_at = excluded.free_at, priority = excluded.priority
), removed AS (
  DELETE FROM due USING saved
  WHERE due.execution = saved.id AND (sqlc.arg(outcome)::text <> '' OR (due.segment, due.item) IN (
    SELECT unnest(sqlc.arg(removed_segments)::bigint[]), unnest(sqlc.arg(removed_items)::bigint[])))
), valued AS (
  INSERT INTO outputs (execution, step, item, epoch, value, claim, record)
  SELECT saved.id, unnest(sqlc.arg(value_steps)::text[]), unnest(sqlc.arg(value_items)::bigint[]), unnest(sqlc.arg(value_epochs)::bigint[]),
    unnest(sqlc.arg(value_values)::bytea[]), unnest(sqlc.arg(value_claims)::text[]), unnest(sqlc.arg(value_records)::text[])
  FROM saved
), happened AS (
  INSERT INTO events (execution, number, type, step, status, at)
  SELECT saved.id, unnest(sqlc.arg(event_numbers)::bigint[]), unnest(sqlc.arg(event_types)::text[]), unnest(sqlc.arg(event_steps)::text[]),
    unnest(sqlc.arg(event_statuses)::text[]), unnest(sqlc.arg(event_ats)::bigint[])
  FROM saved
), noted AS (
  INSERT INTO late (execution, segment, item, epoch, step, at)
  SELECT saved.id, unnest(sqlc.arg(late_segments)::bigint[]), unnest(sqlc.arg(late_items)::bigint[]), unnest(sqlc.arg(late_epochs)::bigint[]),
    unnest(sqlc.arg(late_steps)::text[]), unnest(sqlc.arg(late_ats)::bigint[])
  FROM saved
  ON CONFLICT (execution, segment, item, epoch, step) DO NOTHING
), died AS (
  INSERT INTO dead_letters (id, tenant, execution, pipeline, version, step, segment, item, epoch, attempts, breaks, error, at, replayed_by)
  SELECT sqlc.arg(dead_id)::text, saved.tenant, saved.id, saved.pipeline, saved.version, sqlc.arg(dead_step)::text, sqlc.arg(dead_segment)::bigint, sqlc.arg(dead_item)::bigint,
    sqlc.arg(dead_epoch)::bigint, sqlc.arg(dead_attempts)::bigint, sqlc.arg(dead_breaks)::bigint, sqlc.arg(dead_error)::text, sqlc.arg(dead_at)::bigint, ''
  FROM saved WHERE sqlc.arg(dead_id)::text <> ''
)
SELECT count(*) FROM saved;

-- SaveDue is Save of a change that keeps no outputs and ends nothing: what is due, and
-- events.
-- name: SaveDue :one
WITH saved AS (
  UPDATE executions SET
    status = sqlc.arg(status), revision = sqlc.arg(next), started_at = sqlc.arg(started_at), finished_at = sqlc.arg(finished_at), deadline = sqlc.arg(deadline),
    error = sqlc.arg(error), state = sqlc.arg(state)
  WHERE executions.id = sqlc.arg(id) AND executions.revision = sqlc.arg(revision) AND executions.outcome = ''
  RETURNING executions.id, executions.tenant, executions.owner, executions.pipeline, executions.version
), put AS (
  INSERT INTO due (execution, segment, item, stage, tenant, owner, pipeline, version, concurrency, step, epoch, attempts, breaks, what, due_at, free_at, priority)
  SELECT saved.id, unnest(sqlc.arg(segments)::bigint[]), unnest(sqlc.arg(items)::bigint[]), unnest(sqlc.arg(stages)::bigint[]),
    saved.tenant, saved.owner, saved.pipeline, saved.version, 0,
    unnest(sqlc.arg(steps)::bigint[]), unnest(sqlc.arg(epochs)::bigint[]), unnest(sqlc.arg(attempts)::bigint[]), unnest(sqlc.arg(breaks)::bigint[]),
    unnest(sqlc.arg(whats)::text[]), unnest(sqlc.arg(dues)::bigint[]), unnest(sqlc.arg(dues)::bigint[]), unnest(sqlc.arg(priorities)::bigint[])
  FROM saved
  ON CONFLICT (execution, segment, item) DO UPDATE SET
    stage = excluded.stage, step = excluded.step, epoch = excluded.epoch, attempts = excluded.attempts, breaks = excluded.breaks,
    what = excluded.what, due_at = excluded.due_at, free_at = excluded.free_at, priority = excluded.priority
), happened AS (
  INSERT INTO events (execution, number, type, step, status, at)
  SELECT saved.id, unnest(sqlc.arg(event_numbers)::bigint[]), unnest(sqlc.arg(event_types)::text[]), unnest(sqlc.arg(event_steps)::text[]),
    unnest(sqlc.arg(event_statuses)::text[]), unnest(sqlc.arg(event_ats)::bigint[])
  FROM saved
)
SELECT count(*) FROM saved;

-- SaveEnd is Save of a change that ends the execution with outputs and events alone.
-- name: SaveEnd :one
WITH saved AS (
  UPDATE executions SET
    status = sqlc.arg(status), outcome = sqlc.arg(outcome)::text, revision = sqlc.arg(next), started_at = sqlc.arg(started_at), finished_at = sqlc.arg(finished_at),
    deadline = sqlc.arg(deadline), error = sqlc.arg(error), state = sqlc.arg(state), output = sqlc.arg(output), output_claim = sqlc.arg(output_claim),
    expires_at = CASE WHEN retention = 0 THEN 0 ELSE CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) + retention END
  WHERE executions.id = sqlc.arg(id) AND executions.revision = sqlc.arg(revision) AND executions.outcome = ''
  RETURNING executions.id
), removed AS (
  DELETE FROM due USING saved WHERE due.execution = saved.id
), valued AS (
  INSERT INTO outputs (execution, step, item, epoch, value, claim, record)
  SELECT saved.id, unnest(sqlc.arg(value_steps)::text[]), unnest(sqlc.arg(value_items)::bigint[]), unnest(sqlc.arg(value_epochs)::bigint[]),
    unnest(sqlc.arg(value_values)::bytea[]), unnest(sqlc.arg(value_claims)::text[]), unnest(sqlc.arg(value_records)::text[])
  FROM saved
), happened AS (
  INSERT INTO events (execution, number, type, step, status, at)
  SELECT saved.id, unnest(sqlc.arg(event_numbers)::bigint[]), unnest(sqlc.arg(event_types)::text[]), unnest(sqlc.arg(event_steps)::text[]),
    unnest(sqlc.arg(event_statuses)::text[]), unnest(sqlc.arg(event_ats)::bigint[])
  FROM saved
)
SELECT count(*) FROM saved;

-- Erase leaves a stub. Its revision moves, so that nobody saves what they loaded before.
-- name: Erase :one
WITH erased AS (
  UPDATE executions SET erased = true, revision = revision + 1, error = sqlc.arg(error)::text, state = sqlc.arg(state)::text,
    input = '', input_claim = '', event = '', headers = '', output = '', output_claim = '', traceparent = ''
  WHERE executions.id = sqlc.arg(id)::text AND executions.revision = sqlc.arg(revision)::bigint
  RETURNING executions.id
), outs AS (
  DELETE FROM outputs USING erased WHERE outputs.execution = erased.id
), letters AS (
  UPDATE dead_letters SET error = sqlc.arg(dead_error)::text FROM erased WHERE dead_letters.execution = erased.id
)
SELECT count(*) FROM erased;

-- ListExecutions goes by an index of outcomes, within which statuses are compared. (They
-- are by a function: with an equality the planner takes its rows for rarer than they
-- are, and reads the whole table.)
-- name: ListExecutions :many
SELECT page.created_at, page.id FROM unnest(sqlc.arg(outcomes)::text[]) AS wanted(outcome) CROSS JOIN LATERAL (
  SELECT x.created_at, x.id FROM executions AS x
  WHERE x.tenant = sqlc.arg(tenant)::text AND x.outcome = wanted.outcome
    AND (x.created_at, x.id) < (sqlc.arg(before)::bigint, sqlc.arg(before_id)::text) AND (sqlc.arg(status)::text = '' OR strpos(sqlc.arg(status)::text, x.status) = 1)
  ORDER BY x.created_at DESC, x.id DESC LIMIT sqlc.arg(most)::bigint
) AS page
ORDER BY page.created_at DESC, page.id DESC LIMIT sqlc.arg(most)::bigint;

-- name: ListOfPipeline :many
SELECT page.created_at, page.id FROM unnest(sqlc.arg(outcomes)::text[]) AS wanted(outcome) CROSS JOIN LATERAL (
  SELECT x.created_at, x.id FROM executions AS x
  WHERE x.tenant = sqlc.arg(tenant)::text AND x.pipeline = sqlc.arg(pipeline)::text AND x.outcome = wanted.outcome
    AND (x.created_at, x.id) < (sqlc.arg(before)::bigint, sqlc.arg(before_id)::text) AND (sqlc.arg(status)::text = '' OR strpos(sqlc.arg(status)::text, x.status) = 1)
  ORDER BY x.created_at DESC, x.id DESC LIMIT sqlc.arg(most)::bigint
) AS page
ORDER BY page.created_at DESC, page.id DESC LIMIT sqlc.arg(most)::bigint;

-- ListOfLabels goes by one label, and compares the rest.
-- name: ListOfLabels :many
SELECT x.created_at, x.id FROM labels AS l JOIN executions AS x ON x.id = l.execution
WHERE l.tenant = sqlc.arg(tenant)::text AND l.label = sqlc.arg(label)::text
  AND (l.created_at, l.execution) < (sqlc.arg(before)::bigint, sqlc.arg(before_id)::text)
  AND (sqlc.arg(status)::text = '' OR x.status = sqlc.arg(status)::text) AND (NOT sqlc.arg(of_pipeline)::boolean OR x.pipeline = sqlc.arg(pipeline)::text)
  AND (SELECT count(*) FROM labels AS o WHERE o.execution = x.id AND o.label = ANY(sqlc.arg(others)::text[])) = cardinality(sqlc.arg(others)::text[])
ORDER BY l.created_at DESC, l.execution DESC LIMIT sqlc.arg(most)::bigint;

-- name: Summaries :many
SELECT
  id, tenant, owner, pipeline, version, digest, status, outcome, priority, revision, created_at, started_at, finished_at, run_at, deadline,
  retention, expires_at, replay_of, from_step, traceparent, labels, error, state, erased,
  CAST('' AS BYTEA) AS input, CAST('' AS TEXT) AS input_claim, CAST('' AS BYTEA) AS event, CAST('' AS TEXT) AS headers, CAST('' AS BYTEA) AS output, CAST('' AS TEXT) AS output_claim
FROM executions WHERE id = ANY(sqlc.arg(ids)::text[]) ORDER BY created_at DESC, id DESC;

-- name: TenantOf :one
SELECT tenant FROM executions WHERE id = sqlc.arg(id);

-- name: EventsOf :many
SELECT * FROM events WHERE execution = sqlc.arg(execution) AND number > sqlc.arg(after) ORDER BY number LIMIT sqlc.arg(most)::bigint;

-- name: LastEvent :one
SELECT CAST(coalesce(max(number), 0) AS BIGINT) AS number FROM events WHERE execution = sqlc.arg(execution);

-- name: Keep :exec
UPDATE executions SET expires_at = CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) + sqlc.arg(after)::bigint
WHERE id = ANY(sqlc.arg(ids)::text[]) AND expires_at > 0;

-- name: Expired :many
SELECT tenant, id FROM executions WHERE expires_at > 0 AND expires_at <= CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)
ORDER BY expires_at LIMIT sqlc.arg(most)::bigint;

-- name: Forget :one
WITH forgotten AS (
  DELETE FROM executions WHERE executions.id = ANY(sqlc.arg(ids)::text[]) AND executions.outcome <> '' RETURNING executions.id
), a AS (DELETE FROM outputs USING forgotten WHERE outputs.execution = forgotten.id
), b AS (DELETE FROM events USING forgotten WHERE events.execution = forgotten.id
), c AS (DELETE FROM late USING forgotten WHERE late.execution = forgotten.id
), d AS (DELETE FROM dead_letters USING forgotten WHERE dead_letters.execution = forgotten.id
), e AS (DELETE FROM labels USING forgotten WHERE labels.execution = forgotten.id
), f AS (DELETE FROM idempotency USING forgotten WHERE idempotency.execution = forgotten.id
)
SELECT count(*) FROM forgotten;

-- name: TrimKeys :execrows
DELETE FROM idempotency WHERE (idempotency.tenant, idempotency.pipeline, idempotency.key) IN (
  SELECT k.tenant, k.pipeline, k.key FROM idempotency AS k
  WHERE k.expires_at <= CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT) LIMIT sqlc.arg(most)::bigint
);
