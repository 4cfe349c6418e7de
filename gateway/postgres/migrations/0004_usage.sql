-- +goose Up
-- What tenants used: the calls that were answered or broke off, those of them that
-- failed, and what they took. Days are since 1970-01-01, UTC.
CREATE TABLE usage (
  tenant     text   COLLATE "C" NOT NULL, -- '_other' is of all that could not be counted by tenant
  day        bigint NOT NULL,
  model      text   COLLATE "C" NOT NULL, -- '' is of calls that came to none
  requests   bigint NOT NULL,
  errors     bigint NOT NULL,
  "rows"     bigint NOT NULL,
  compute_us bigint NOT NULL,
  bytes_in   bigint NOT NULL,
  bytes_out  bigint NOT NULL,
  PRIMARY KEY (tenant, day, model)
);
CREATE INDEX usage_newest ON usage (day DESC, tenant, model);

-- How much of each quota is used: by a limit, for a combination of what it is per, in a
-- period.
CREATE TABLE quotas (
  limit_name  text   COLLATE "C" NOT NULL,
  combination text   COLLATE "C" NOT NULL,
  period      text   COLLATE "C" NOT NULL,
  count       bigint NOT NULL,
  day         bigint NOT NULL, -- on which it was last added to
  PRIMARY KEY (limit_name, combination, period)
);
CREATE INDEX quotas_day ON quotas (day);

-- The last flush of usage and quotas of each replica, so that none is added twice.
CREATE TABLE flushes (
  replica  text   COLLATE "C" NOT NULL PRIMARY KEY,
  sequence bigint NOT NULL,
  at       bigint NOT NULL -- milliseconds since 1970, UTC
);
