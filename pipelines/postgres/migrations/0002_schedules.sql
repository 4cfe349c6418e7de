-- +goose Up
CREATE TABLE schedules (
  tenant TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  pipeline TEXT NOT NULL,
  version BIGINT NOT NULL, -- 0 is the default one
  cron TEXT NOT NULL,
  time_zone TEXT NOT NULL,
  input BYTEA NOT NULL,
  missed TEXT NOT NULL,
  jitter BIGINT NOT NULL, -- milliseconds
  created_at BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  paused BOOLEAN NOT NULL,
  planned_at BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  free_at BIGINT NOT NULL, -- when it may be taken: due_at, or later while somebody has it; 0 is never
  last_at BIGINT NOT NULL,
  last_execution TEXT NOT NULL,
  last_error TEXT NOT NULL,
  PRIMARY KEY (tenant, name)
);
CREATE INDEX schedules_listed ON schedules (tenant, created_at, name);
CREATE INDEX schedules_due ON schedules (free_at) WHERE free_at > 0 AND NOT paused;
