-- +goose Up
-- Times are milliseconds since 1970, 0 is never.
CREATE TABLE executions (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  owner TEXT NOT NULL,
  pipeline TEXT NOT NULL,
  version INTEGER NOT NULL,
  digest TEXT NOT NULL,
  status TEXT NOT NULL,
  outcome TEXT NOT NULL, -- the status of one that has ended, else '': so beginning one changes no index
  priority INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  run_at INTEGER NOT NULL,
  deadline INTEGER NOT NULL,
  retention INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  replay_of TEXT NOT NULL,
  from_step TEXT NOT NULL,
  traceparent TEXT NOT NULL,
  labels TEXT NOT NULL,
  error TEXT NOT NULL,
  state TEXT NOT NULL,
  erased INTEGER NOT NULL,
  input BLOB NOT NULL,
  input_claim TEXT NOT NULL,
  event BLOB NOT NULL,
  headers TEXT NOT NULL,
  output BLOB NOT NULL,
  output_claim TEXT NOT NULL
);
CREATE INDEX executions_listed ON executions (tenant, outcome, created_at, id);
CREATE INDEX executions_of_pipeline ON executions (tenant, pipeline, outcome, created_at, id);
CREATE INDEX executions_expire ON executions (expires_at) WHERE expires_at > 0;

CREATE TABLE labels (
  tenant TEXT NOT NULL,
  label TEXT NOT NULL, -- key=value
  created_at INTEGER NOT NULL,
  execution TEXT NOT NULL,
  PRIMARY KEY (tenant, label, created_at, execution)
);
CREATE INDEX labels_of_execution ON labels (execution);

-- due is what is due: a row for each execution that has not ended (segment -1), and one
-- for each branch of it.
CREATE TABLE due (
  execution TEXT NOT NULL,
  segment INTEGER NOT NULL,
  item INTEGER NOT NULL,
  stage INTEGER NOT NULL, -- 0 a queued execution, 1 an admitted one, 2 one that runs, 3 a branch
  tenant TEXT NOT NULL,
  owner TEXT NOT NULL,
  pipeline TEXT NOT NULL,
  version INTEGER NOT NULL,
  concurrency INTEGER NOT NULL,
  step INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  breaks INTEGER NOT NULL,
  what TEXT NOT NULL,
  due_at INTEGER NOT NULL,
  free_at INTEGER NOT NULL, -- when it may be taken: due_at, or later while somebody has it
  priority INTEGER NOT NULL,
  PRIMARY KEY (execution, segment, item)
);
CREATE INDEX due_queued ON due (tenant, owner, pipeline, version, priority, due_at, execution) WHERE stage = 0;
CREATE INDEX due_admitted ON due (free_at) WHERE stage = 1;
CREATE INDEX due_running ON due (tenant, owner, pipeline, version) WHERE stage IN (1, 2);
CREATE INDEX due_work ON due (tenant, priority, free_at) WHERE stage >= 2;

CREATE TABLE outputs (
  execution TEXT NOT NULL,
  step TEXT NOT NULL,
  item INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  value BLOB NOT NULL,
  claim TEXT NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (execution, step, item)
);

CREATE TABLE events (
  execution TEXT NOT NULL,
  number INTEGER NOT NULL,
  type TEXT NOT NULL,
  step TEXT NOT NULL,
  status TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (execution, number)
);

-- late is of answers that changed nothing.
CREATE TABLE late (
  execution TEXT NOT NULL,
  segment INTEGER NOT NULL,
  item INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  step TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (execution, segment, item, epoch, step)
);

CREATE TABLE dead_letters (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  execution TEXT NOT NULL,
  pipeline TEXT NOT NULL,
  version INTEGER NOT NULL,
  step TEXT NOT NULL,
  segment INTEGER NOT NULL,
  item INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  breaks INTEGER NOT NULL,
  error TEXT NOT NULL,
  at INTEGER NOT NULL,
  replayed_by TEXT NOT NULL
);
CREATE INDEX dead_letters_listed ON dead_letters (tenant, at, id);
CREATE INDEX dead_letters_of_pipeline ON dead_letters (tenant, pipeline, at, id);
CREATE INDEX dead_letters_of_execution ON dead_letters (execution);

CREATE TABLE idempotency (
  tenant TEXT NOT NULL,
  pipeline TEXT NOT NULL,
  key TEXT NOT NULL, -- its SHA-256
  body TEXT NOT NULL,
  execution TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, pipeline, key)
);
CREATE INDEX idempotency_expire ON idempotency (expires_at);
CREATE INDEX idempotency_of_execution ON idempotency (execution);

CREATE TABLE pipelines (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  default_version INTEGER NOT NULL,
  last_version INTEGER NOT NULL,
  removed INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)
);
CREATE INDEX pipelines_listed ON pipelines (tenant, created_at, name) WHERE NOT removed;

CREATE TABLE versions (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  digest TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  deprecated_at INTEGER NOT NULL,
  canonical BLOB NOT NULL,
  PRIMARY KEY (tenant, name, version),
  UNIQUE (tenant, name, digest)
);

PRAGMA user_version = 1;
