-- +goose Up
CREATE TABLE schedules (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  pipeline TEXT NOT NULL,
  version INTEGER NOT NULL, -- 0 is the default one
  cron TEXT NOT NULL,
  time_zone TEXT NOT NULL,
  input BLOB NOT NULL,
  missed TEXT NOT NULL,
  jitter INTEGER NOT NULL, -- milliseconds
  created_at INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  paused INTEGER NOT NULL,
  planned_at INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  free_at INTEGER NOT NULL, -- when it may be taken: due_at, or later while somebody has it; 0 is never
  last_at INTEGER NOT NULL,
  last_execution TEXT NOT NULL,
  last_error TEXT NOT NULL,
  PRIMARY KEY (tenant, name)
);
CREATE INDEX schedules_listed ON schedules (tenant, created_at, name);
CREATE INDEX schedules_due ON schedules (free_at) WHERE free_at > 0 AND paused = 0;
