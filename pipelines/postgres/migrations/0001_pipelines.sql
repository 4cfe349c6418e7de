-- +goose Up
-- Times are milliseconds since 1970, 0 is never. Names sort by their bytes, as Go sorts
-- them.
CREATE TABLE executions (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant TEXT COLLATE "C" NOT NULL,
  owner TEXT COLLATE "C" NOT NULL,
  pipeline TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL,
  digest TEXT NOT NULL,
  status TEXT NOT NULL,
  outcome TEXT COLLATE "C" NOT NULL, -- the status of one that has ended, else '': so beginning one changes no index
  priority BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  finished_at BIGINT NOT NULL,
  run_at BIGINT NOT NULL,
  deadline BIGINT NOT NULL,
  retention BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  replay_of TEXT NOT NULL,
  from_step TEXT NOT NULL,
  traceparent TEXT NOT NULL,
  labels TEXT NOT NULL,
  error TEXT NOT NULL,
  state TEXT NOT NULL,
  erased BOOLEAN NOT NULL,
  input BYTEA NOT NULL,
  input_claim TEXT NOT NULL,
  event BYTEA NOT NULL,
  headers TEXT NOT NULL,
  output BYTEA NOT NULL,
  output_claim TEXT NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX executions_listed ON executions (tenant, outcome, created_at, id);
CREATE INDEX executions_of_pipeline ON executions (tenant, pipeline, outcome, created_at, id);
CREATE INDEX executions_expire ON executions (expires_at) WHERE expires_at > 0;

CREATE TABLE labels (
  tenant TEXT COLLATE "C" NOT NULL,
  label TEXT COLLATE "C" NOT NULL, -- key=value
  created_at BIGINT NOT NULL,
  execution TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant, label, created_at, execution)
);
CREATE INDEX labels_of_execution ON labels (execution);

-- due is what is due: a row for each execution that has not ended (segment -1), and one
-- for each branch of it.
CREATE TABLE due (
  execution TEXT COLLATE "C" NOT NULL,
  segment BIGINT NOT NULL,
  item BIGINT NOT NULL,
  stage BIGINT NOT NULL, -- 0 a queued execution, 1 an admitted one, 2 one that runs, 3 a branch
  tenant TEXT COLLATE "C" NOT NULL,
  owner TEXT COLLATE "C" NOT NULL,
  pipeline TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL,
  concurrency BIGINT NOT NULL,
  step BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  breaks BIGINT NOT NULL,
  what TEXT NOT NULL,
  due_at BIGINT NOT NULL,
  free_at BIGINT NOT NULL, -- when it may be taken: due_at, or later while somebody has it
  priority BIGINT NOT NULL,
  PRIMARY KEY (execution, segment, item)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE INDEX due_queued ON due (tenant, owner, pipeline, version, priority, due_at, execution) WHERE stage = 0;
CREATE INDEX due_admitted ON due (free_at) WHERE stage = 1;
CREATE INDEX due_running ON due (tenant, owner, pipeline, version) WHERE stage IN (1, 2);
CREATE INDEX due_work ON due (tenant, priority, free_at) WHERE stage >= 2;

CREATE TABLE outputs (
  execution TEXT COLLATE "C" NOT NULL,
  step TEXT COLLATE "C" NOT NULL,
  item BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  value BYTEA NOT NULL,
  claim TEXT NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (execution, step, item)
);

CREATE TABLE events (
  execution TEXT COLLATE "C" NOT NULL,
  number BIGINT NOT NULL,
  type TEXT NOT NULL,
  step TEXT NOT NULL,
  status TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (execution, number)
);

-- late is of answers that changed nothing.
CREATE TABLE late (
  execution TEXT COLLATE "C" NOT NULL,
  segment BIGINT NOT NULL,
  item BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  step TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (execution, segment, item, epoch, step)
);

CREATE TABLE dead_letters (
  id TEXT COLLATE "C" PRIMARY KEY,
  tenant TEXT COLLATE "C" NOT NULL,
  execution TEXT COLLATE "C" NOT NULL,
  pipeline TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL,
  step TEXT NOT NULL,
  segment BIGINT NOT NULL,
  item BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  breaks BIGINT NOT NULL,
  error TEXT NOT NULL,
  at BIGINT NOT NULL,
  replayed_by TEXT NOT NULL
);
CREATE INDEX dead_letters_listed ON dead_letters (tenant, at, id);
CREATE INDEX dead_letters_of_pipeline ON dead_letters (tenant, pipeline, at, id);
CREATE INDEX dead_letters_of_execution ON dead_letters (execution);

CREATE TABLE idempotency (
  tenant TEXT COLLATE "C" NOT NULL,
  pipeline TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL, -- its SHA-256
  body TEXT NOT NULL,
  execution TEXT COLLATE "C" NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, pipeline, key)
);
CREATE INDEX idempotency_expire ON idempotency (expires_at);
CREATE INDEX idempotency_of_execution ON idempotency (execution);

CREATE TABLE pipelines (
  tenant TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  default_version BIGINT NOT NULL,
  last_version BIGINT NOT NULL,
  removed BOOLEAN NOT NULL,
  PRIMARY KEY (tenant, name)
);
CREATE INDEX pipelines_listed ON pipelines (tenant, created_at, name) WHERE NOT removed;

CREATE TABLE versions (
  tenant TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  deprecated_at BIGINT NOT NULL,
  canonical BYTEA NOT NULL,
  PRIMARY KEY (tenant, name, version),
  UNIQUE (tenant, name, digest)
);
