-- +goose Up
-- Times are milliseconds since 1970, UTC; 0 is "never". Lists are JSON. Text is
-- compared byte by byte, as pages of ids are.
CREATE TABLE keys (
  id           text    COLLATE "C" NOT NULL PRIMARY KEY,
  name         text    NOT NULL,
  tenant       text    COLLATE "C" NOT NULL,
  scopes       text    NOT NULL,
  roles        text    NOT NULL,
  hash         bytea   NOT NULL CHECK (length(hash) = 32),
  created_at   bigint  NOT NULL,
  expires_at   bigint  NOT NULL,
  revoked_at   bigint  NOT NULL,
  description  text    NOT NULL,
  hash_by      text    NOT NULL, -- '' is the plain SHA-256 of the secret
  lineage      text    NOT NULL,
  replaces     text    NOT NULL,
  imported     boolean NOT NULL,
  last_used_at bigint  NOT NULL DEFAULT 0
);
CREATE INDEX keys_newest ON keys (created_at DESC, id DESC);
CREATE INDEX keys_newest_of_tenant ON keys (tenant, created_at DESC, id DESC);

-- The newest position in the history of changes: whoever changes holds this row.
CREATE TABLE counter (
  one bigint NOT NULL PRIMARY KEY CHECK (one = 1),
  number bigint NOT NULL,
  mark   text NOT NULL
);

-- The history: its newest positions.
CREATE TABLE generations (
  number bigint NOT NULL PRIMARY KEY,
  mark   text NOT NULL
);

-- Each tenant of which something was ever stored, and the number of its last change.
CREATE TABLE tenants (
  tenant text COLLATE "C" NOT NULL PRIMARY KEY,
  number bigint NOT NULL
);
CREATE INDEX tenants_changed ON tenants (number);

CREATE TABLE roles (
  tenant      text COLLATE "C" NOT NULL,
  name        text COLLATE "C" NOT NULL,
  inherits    text NOT NULL,
  permissions text NOT NULL,
  updated_at bigint NOT NULL,
  PRIMARY KEY (tenant, name)
);

CREATE TABLE grants (
  id          text COLLATE "C" NOT NULL PRIMARY KEY,
  tenant      text COLLATE "C" NOT NULL,
  to_key      text NOT NULL,
  to_subject  text NOT NULL,
  to_tenant   text NOT NULL,
  by_tenant   text NOT NULL,
  by_key      text NOT NULL,
  by_subject  text NOT NULL,
  roles       text NOT NULL,
  permissions text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL
);
CREATE INDEX grants_of_tenant ON grants (tenant, id);

CREATE TABLE subjects (
  tenant    text COLLATE "C" NOT NULL,
  subject   text COLLATE "C" NOT NULL,
  roles     text NOT NULL,
  no_admin  boolean NOT NULL,
  issued_at bigint NOT NULL,
  PRIMARY KEY (tenant, subject)
);

-- The end of each chain of audit entries: whoever adds to it holds this row.
CREATE TABLE audit_heads (
  tenant   text COLLATE "C" NOT NULL PRIMARY KEY, -- '' is the platform
  seq bigint NOT NULL,
  hash     text NOT NULL,
  moved_at bigint NOT NULL
);
CREATE INDEX audit_heads_moved ON audit_heads (moved_at);

CREATE TABLE audit (
  tenant     text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  at bigint NOT NULL,
  actor      text COLLATE "C" NOT NULL,
  action     text COLLATE "C" NOT NULL,
  resource   text COLLATE "C" NOT NULL,
  outcome    text NOT NULL,
  reason     text NOT NULL,
  request_id text NOT NULL,
  address    text NOT NULL,
  count bigint NOT NULL,
  previous   text NOT NULL,
  hash       text NOT NULL,
  PRIMARY KEY (tenant, seq)
);
CREATE INDEX audit_at ON audit (tenant, at);
CREATE INDEX audit_actor ON audit (tenant, actor, seq);
CREATE INDEX audit_action ON audit (tenant, action, seq);
CREATE INDEX audit_resource ON audit (tenant, resource, seq);

INSERT INTO counter (one, number, mark) VALUES (1, 0, '');
