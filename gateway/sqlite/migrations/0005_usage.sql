-- +goose Up
-- What tenants used: the calls that were answered or broke off, those of them that
-- failed, and what they took. Days are since 1970-01-01, UTC.
CREATE TABLE usage (
  tenant     TEXT    NOT NULL, -- '_other' is of all that could not be counted by tenant
  day        INTEGER NOT NULL,
  model      TEXT    NOT NULL, -- '' is of calls that came to none
  requests   INTEGER NOT NULL,
  errors     INTEGER NOT NULL,
  "rows"     INTEGER NOT NULL,
  compute_us INTEGER NOT NULL,
  bytes_in   INTEGER NOT NULL,
  bytes_out  INTEGER NOT NULL,
  PRIMARY KEY (tenant, day, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_newest ON usage (day DESC, tenant, model);

-- How much of each quota is used: by a limit, for a combination of what it is per, in a
-- period.
CREATE TABLE quotas (
  limit_name  TEXT    NOT NULL,
  combination TEXT    NOT NULL,
  period      TEXT    NOT NULL,
  count       INTEGER NOT NULL,
  day         INTEGER NOT NULL, -- on which it was last added to
  PRIMARY KEY (limit_name, combination, period)
) STRICT, WITHOUT ROWID;
CREATE INDEX quotas_day ON quotas (day);

-- The last flush of usage and quotas of each replica, so that none is added twice.
CREATE TABLE flushes (
  replica  TEXT    NOT NULL PRIMARY KEY,
  sequence INTEGER NOT NULL,
  at       INTEGER NOT NULL -- milliseconds since 1970, UTC
) STRICT, WITHOUT ROWID;

-- Programs that count by this refuse the file from now on.
PRAGMA user_version = 5;
