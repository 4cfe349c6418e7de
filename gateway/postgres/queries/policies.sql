-- name: Policy :one
SELECT data FROM policies WHERE model = sqlc.arg(model);

-- name: KeepPolicy :exec
INSERT INTO policies (model, generation, data) VALUES (sqlc.arg(model), sqlc.arg(generation), sqlc.arg(data))
ON CONFLICT (model) DO UPDATE SET generation = excluded.generation, data = excluded.data
WHERE policies.generation < excluded.generation;
