-- Flushed notes a replica's flush, unless it or a later one was noted.
-- name: Flushed :execrows
INSERT INTO flushes (replica, sequence, at) VALUES (sqlc.arg(replica), sqlc.arg(sequence), sqlc.arg(at))
ON CONFLICT (replica) DO UPDATE SET sequence = excluded.sequence, at = excluded.at
WHERE flushes.sequence < excluded.sequence;

-- AddUsage adds up to the most that can be counted.
-- name: AddUsage :exec
INSERT INTO usage (tenant, day, model, requests, errors, "rows", compute_us, bytes_in, bytes_out)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, day, model) DO UPDATE SET
  requests = min(usage.requests, 9223372036854775807 - excluded.requests) + excluded.requests,
  errors = min(usage.errors, 9223372036854775807 - excluded.errors) + excluded.errors,
  "rows" = min(usage."rows", 9223372036854775807 - excluded."rows") + excluded."rows",
  compute_us = min(usage.compute_us, 9223372036854775807 - excluded.compute_us) + excluded.compute_us,
  bytes_in = min(usage.bytes_in, 9223372036854775807 - excluded.bytes_in) + excluded.bytes_in,
  bytes_out = min(usage.bytes_out, 9223372036854775807 - excluded.bytes_out) + excluded.bytes_out;

-- name: AddQuota :one
INSERT INTO quotas (limit_name, combination, period, count, day)
VALUES (sqlc.arg(limit_name), sqlc.arg(combination), sqlc.arg(period), sqlc.arg(count), sqlc.arg(day))
ON CONFLICT (limit_name, combination, period) DO UPDATE SET
  count = min(quotas.count, 9223372036854775807 - excluded.count) + excluded.count, day = max(quotas.day, excluded.day)
RETURNING count;

-- name: Quota :one
SELECT count FROM quotas WHERE limit_name = sqlc.arg(limit_name) AND combination = sqlc.arg(combination) AND period = sqlc.arg(period);

-- UsageRows are what is stored of a tenant, or of all, which an index each has.
-- name: UsageRows :many
SELECT * FROM (
  SELECT * FROM usage WHERE usage.tenant = sqlc.arg(tenant) AND usage.day >= sqlc.arg(from_day) AND usage.day < sqlc.arg(to_day)
  UNION ALL
  SELECT * FROM usage WHERE CAST(sqlc.arg(tenant) AS TEXT) = '' AND usage.day >= sqlc.arg(from_day) AND usage.day < sqlc.arg(to_day)
) AS meant
WHERE (meant.day < CAST(sqlc.arg(after_day) AS INTEGER) OR meant.day = CAST(sqlc.arg(after_day) AS INTEGER)
  AND (meant.tenant > CAST(sqlc.arg(after_tenant) AS TEXT) OR meant.tenant = CAST(sqlc.arg(after_tenant) AS TEXT) AND meant.model > CAST(sqlc.arg(after_model) AS TEXT)))
ORDER BY meant.day DESC, meant.tenant, meant.model LIMIT sqlc.arg(most);

-- UsageSums are sums of it, by what is asked for. What is more than can be counted is
-- the most that can: halves are summed, for SQLite's sum fails then.
-- name: UsageSums :many
SELECT sums.tenant, sums.day, sums.model, sums.requests, sums.errors, sums."rows", sums.compute_us, sums.bytes_in, sums.bytes_out FROM (
  SELECT
    CAST(CASE WHEN CAST(sqlc.arg(by_tenant) AS INTEGER) THEN meant.tenant ELSE '' END AS TEXT) AS tenant,
    CAST(CASE WHEN CAST(sqlc.arg(by_day) AS INTEGER) THEN meant.day ELSE 0 END AS INTEGER) AS day,
    CAST(CASE WHEN CAST(sqlc.arg(by_model) AS INTEGER) THEN meant.model ELSE '' END AS TEXT) AS model,
    CAST(CASE WHEN sum(meant.requests >> 32) + (sum(meant.requests & 4294967295) >> 32) > 2147483647 THEN 9223372036854775807
      ELSE (sum(meant.requests >> 32) << 32) + sum(meant.requests & 4294967295) END AS INTEGER) AS requests,
    CAST(CASE WHEN sum(meant.errors >> 32) + (sum(meant.errors & 4294967295) >> 32) > 2147483647 THEN 9223372036854775807
      ELSE (sum(meant.errors >> 32) << 32) + sum(meant.errors & 4294967295) END AS INTEGER) AS errors,
    CAST(CASE WHEN sum(meant."rows" >> 32) + (sum(meant."rows" & 4294967295) >> 32) > 2147483647 THEN 9223372036854775807
      ELSE (sum(meant."rows" >> 32) << 32) + sum(meant."rows" & 4294967295) END AS INTEGER) AS "rows",
    CAST(CASE WHEN sum(meant.compute_us >> 32) + (sum(meant.compute_us & 4294967295) >> 32) > 2147483647 THEN 9223372036854775807
      ELSE (sum(meant.compute_us >> 32) << 32) + sum(meant.compute_us & 4294967295) END AS INTEGER) AS compute_us,
    CAST(CASE WHEN sum(meant.bytes_in >> 32) + (sum(meant.bytes_in & 4294967295) >> 32) > 2147483647 THEN 9223372036854775807
      ELSE (sum(meant.bytes_in >> 32) << 32) + sum(meant.bytes_in & 4294967295) END AS INTEGER) AS bytes_in,
    CAST(CASE WHEN sum(meant.bytes_out >> 32) + (sum(meant.bytes_out & 4294967295) >> 32) > 2147483647 THEN 9223372036854775807
      ELSE (sum(meant.bytes_out >> 32) << 32) + sum(meant.bytes_out & 4294967295) END AS INTEGER) AS bytes_out
  FROM (
    SELECT * FROM usage WHERE usage.tenant = sqlc.arg(tenant) AND usage.day >= sqlc.arg(from_day) AND usage.day < sqlc.arg(to_day)
    UNION ALL
    SELECT * FROM usage WHERE CAST(sqlc.arg(tenant) AS TEXT) = '' AND usage.day >= sqlc.arg(from_day) AND usage.day < sqlc.arg(to_day)
  ) AS meant
  GROUP BY 1, 2, 3
) AS sums
WHERE (sums.day < CAST(sqlc.arg(after_day) AS INTEGER) OR sums.day = CAST(sqlc.arg(after_day) AS INTEGER)
  AND (sums.tenant > CAST(sqlc.arg(after_tenant) AS TEXT) OR sums.tenant = CAST(sqlc.arg(after_tenant) AS TEXT) AND sums.model > CAST(sqlc.arg(after_model) AS TEXT)))
ORDER BY sums.day DESC, sums.tenant, sums.model LIMIT sqlc.arg(most);

-- name: TrimUsage :execrows
DELETE FROM usage WHERE (usage.tenant, usage.day, usage.model) IN (
  SELECT u.tenant, u.day, u.model FROM usage AS u WHERE u.day < sqlc.arg(before) LIMIT sqlc.arg(most)
);

-- name: TrimQuotas :execrows
DELETE FROM quotas WHERE (quotas.limit_name, quotas.combination, quotas.period) IN (
  SELECT q.limit_name, q.combination, q.period FROM quotas AS q WHERE q.day < sqlc.arg(before) LIMIT sqlc.arg(most)
);

-- name: TrimFlushes :execrows
DELETE FROM flushes WHERE flushes.replica IN (
  SELECT f.replica FROM flushes AS f WHERE f.at < sqlc.arg(before) LIMIT sqlc.arg(most)
);
