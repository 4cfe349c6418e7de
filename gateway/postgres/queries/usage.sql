-- Flushed notes a replica's flush, unless it or a later one was noted.
-- name: Flushed :execrows
INSERT INTO flushes (replica, sequence, at) VALUES (sqlc.arg(replica), sqlc.arg(sequence), sqlc.arg(at))
ON CONFLICT (replica) DO UPDATE SET sequence = excluded.sequence, at = excluded.at
WHERE flushes.sequence < excluded.sequence;

-- AddUsage adds up to the most that can be counted. No key comes twice.
-- name: AddUsage :exec
INSERT INTO usage (tenant, day, model, requests, errors, "rows", compute_us, bytes_in, bytes_out)
SELECT
  unnest(sqlc.arg(tenants)::text[]),
  unnest(sqlc.arg(days)::bigint[]),
  unnest(sqlc.arg(models)::text[]),
  unnest(sqlc.arg(requests)::bigint[]),
  unnest(sqlc.arg(errors)::bigint[]),
  unnest(sqlc.arg(rows)::bigint[]),
  unnest(sqlc.arg(compute_us)::bigint[]),
  unnest(sqlc.arg(bytes_in)::bigint[]),
  unnest(sqlc.arg(bytes_out)::bigint[])
ON CONFLICT (tenant, day, model) DO UPDATE SET
  requests = least(usage.requests, 9223372036854775807 - excluded.requests) + excluded.requests,
  errors = least(usage.errors, 9223372036854775807 - excluded.errors) + excluded.errors,
  "rows" = least(usage."rows", 9223372036854775807 - excluded."rows") + excluded."rows",
  compute_us = least(usage.compute_us, 9223372036854775807 - excluded.compute_us) + excluded.compute_us,
  bytes_in = least(usage.bytes_in, 9223372036854775807 - excluded.bytes_in) + excluded.bytes_in,
  bytes_out = least(usage.bytes_out, 9223372036854775807 - excluded.bytes_out) + excluded.bytes_out;

-- AddQuotas does, too.
-- name: AddQuotas :many
INSERT INTO quotas (limit_name, combination, period, count, day)
SELECT unnest(sqlc.arg(limits)::text[]), unnest(sqlc.arg(combinations)::text[]), unnest(sqlc.arg(periods)::text[]), unnest(sqlc.arg(counts)::bigint[]), sqlc.arg(day)::bigint
ON CONFLICT (limit_name, combination, period) DO UPDATE SET
  count = least(quotas.count, 9223372036854775807 - excluded.count) + excluded.count, day = greatest(quotas.day, excluded.day)
RETURNING *;

-- name: Quotas :many
SELECT * FROM quotas WHERE (limit_name, combination, period) IN (
  SELECT unnest(sqlc.arg(limits)::text[]), unnest(sqlc.arg(combinations)::text[]), unnest(sqlc.arg(periods)::text[])
);

-- UsageRows are what is stored of a tenant, or of all, which an index each has.
-- name: UsageRows :many
SELECT * FROM (
  SELECT * FROM usage WHERE usage.tenant = sqlc.arg(tenant) AND usage.day >= sqlc.arg(from_day) AND usage.day < sqlc.arg(to_day)
  UNION ALL
  SELECT * FROM usage WHERE CAST(sqlc.arg(tenant) AS TEXT) = '' AND usage.day >= sqlc.arg(from_day) AND usage.day < sqlc.arg(to_day)
) AS meant
WHERE (meant.day < CAST(sqlc.arg(after_day) AS bigint) OR meant.day = CAST(sqlc.arg(after_day) AS bigint)
  AND (meant.tenant > CAST(sqlc.arg(after_tenant) AS TEXT) OR meant.tenant = CAST(sqlc.arg(after_tenant) AS TEXT) AND meant.model > CAST(sqlc.arg(after_model) AS TEXT)))
ORDER BY meant.day DESC, meant.tenant, meant.model LIMIT sqlc.arg(most)::bigint;

-- UsageSums are sums of it, by what is asked for.
-- name: UsageSums :many
SELECT sums.tenant, sums.day, sums.model, sums.requests, sums.errors, sums."rows", sums.compute_us, sums.bytes_in, sums.bytes_out FROM (
  SELECT
    CAST(CASE WHEN CAST(sqlc.arg(by_tenant) AS boolean) THEN meant.tenant ELSE '' END AS TEXT) AS tenant,
    CAST(CASE WHEN CAST(sqlc.arg(by_day) AS boolean) THEN meant.day ELSE 0 END AS bigint) AS day,
    CAST(CASE WHEN CAST(sqlc.arg(by_model) AS boolean) THEN meant.model ELSE '' END AS TEXT) AS model,
    CAST(least(sum(meant.requests), 9223372036854775807) AS bigint) AS requests,
    CAST(least(sum(meant.errors), 9223372036854775807) AS bigint) AS errors,
    CAST(least(sum(meant."rows"), 9223372036854775807) AS bigint) AS "rows",
    CAST(least(sum(meant.compute_us), 9223372036854775807) AS bigint) AS compute_us,
    CAST(least(sum(meant.bytes_in), 9223372036854775807) AS bigint) AS bytes_in,
    CAST(least(sum(meant.bytes_out), 9223372036854775807) AS bigint) AS bytes_out
  FROM (
    SELECT * FROM usage WHERE usage.tenant = sqlc.arg(tenant) AND usage.day >= sqlc.arg(from_day) AND usage.day < sqlc.arg(to_day)
    UNION ALL
    SELECT * FROM usage WHERE CAST(sqlc.arg(tenant) AS TEXT) = '' AND usage.day >= sqlc.arg(from_day) AND usage.day < sqlc.arg(to_day)
  ) AS meant
  GROUP BY 1, 2, 3
) AS sums
WHERE (sums.day < CAST(sqlc.arg(after_day) AS bigint) OR sums.day = CAST(sqlc.arg(after_day) AS bigint)
  AND (sums.tenant > CAST(sqlc.arg(after_tenant) AS TEXT) OR sums.tenant = CAST(sqlc.arg(after_tenant) AS TEXT) AND sums.model > CAST(sqlc.arg(after_model) AS TEXT)))
ORDER BY sums.day DESC, sums.tenant, sums.model LIMIT sqlc.arg(most)::bigint;

-- name: TrimUsage :execrows
DELETE FROM usage WHERE (usage.tenant, usage.day, usage.model) IN (
  SELECT u.tenant, u.day, u.model FROM usage AS u WHERE u.day < sqlc.arg(before) LIMIT sqlc.arg(most)::bigint
);

-- name: TrimQuotas :execrows
DELETE FROM quotas WHERE (quotas.limit_name, quotas.combination, quotas.period) IN (
  SELECT q.limit_name, q.combination, q.period FROM quotas AS q WHERE q.day < sqlc.arg(before) LIMIT sqlc.arg(most)::bigint
);

-- name: TrimFlushes :execrows
DELETE FROM flushes WHERE flushes.replica IN (
  SELECT f.replica FROM flushes AS f WHERE f.at < sqlc.arg(before) LIMIT sqlc.arg(most)::bigint
);
