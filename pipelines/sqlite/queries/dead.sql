-- name: DeadLetters :many
SELECT * FROM dead_letters
WHERE tenant = sqlc.arg(tenant) AND (at, id) < (sqlc.arg(before), CAST(sqlc.arg(before_id) AS TEXT))
ORDER BY at DESC, id DESC LIMIT sqlc.arg(most);

-- name: DeadLettersOfPipeline :many
SELECT * FROM dead_letters
WHERE tenant = sqlc.arg(tenant) AND pipeline = sqlc.arg(pipeline) AND (at, id) < (sqlc.arg(before), CAST(sqlc.arg(before_id) AS TEXT))
ORDER BY at DESC, id DESC LIMIT sqlc.arg(most);

-- name: DeadLettersOfExecution :many
SELECT * FROM dead_letters
WHERE tenant = sqlc.arg(tenant) AND execution = sqlc.arg(execution) AND (CAST(sqlc.arg(pipeline) AS TEXT) = '' OR pipeline = sqlc.arg(pipeline))
  AND (at, id) < (sqlc.arg(before), CAST(sqlc.arg(before_id) AS TEXT))
ORDER BY at DESC, id DESC LIMIT sqlc.arg(most);

-- name: DeadLetter :one
SELECT * FROM dead_letters WHERE tenant = sqlc.arg(tenant) AND id = sqlc.arg(id);
