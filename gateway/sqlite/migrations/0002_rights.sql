-- +goose Up
-- Times are milliseconds since 1970, UTC; 0 is "never". Lists are JSON.
ALTER TABLE keys ADD COLUMN description  TEXT    NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN hash_by      TEXT    NOT NULL DEFAULT ''; -- '' is the plain SHA-256 of the secret
ALTER TABLE keys ADD COLUMN lineage      TEXT    NOT NULL DEFAULT ''; -- '' is the id
ALTER TABLE keys ADD COLUMN replaces     TEXT    NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN imported     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN last_used_at INTEGER NOT NULL DEFAULT 0;

-- Roles of keys meant nothing before there were roles.
UPDATE keys SET lineage = id, roles = '[]';

-- The newest position in the history of changes: whoever changes holds this row.
CREATE TABLE counter (
  one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  number INTEGER NOT NULL,
  mark   TEXT    NOT NULL
) STRICT;

-- The history: its newest positions.
CREATE TABLE generations (
  number INTEGER NOT NULL PRIMARY KEY,
  mark   TEXT    NOT NULL
) STRICT;

-- Each tenant of which something was ever stored, and the number of its last change.
CREATE TABLE tenants (
  tenant TEXT    NOT NULL PRIMARY KEY,
  number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tenants_changed ON tenants (number);

CREATE TABLE roles (
  tenant      TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  inherits    TEXT    NOT NULL CHECK (json_valid(inherits)),
  permissions TEXT    NOT NULL CHECK (json_valid(permissions)),
  updated_at  INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
  id          TEXT    NOT NULL PRIMARY KEY,
  tenant      TEXT    NOT NULL,
  to_key      TEXT    NOT NULL,
  to_subject  TEXT    NOT NULL,
  to_tenant   TEXT    NOT NULL,
  by_tenant   TEXT    NOT NULL,
  by_key      TEXT    NOT NULL,
  by_subject  TEXT    NOT NULL,
  roles       TEXT    NOT NULL CHECK (json_valid(roles)),
  permissions TEXT    NOT NULL CHECK (json_valid(permissions)),
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_of_tenant ON grants (tenant, id);

CREATE TABLE subjects (
  tenant    TEXT    NOT NULL,
  subject   TEXT    NOT NULL,
  roles     TEXT    NOT NULL CHECK (json_valid(roles)),
  no_admin  INTEGER NOT NULL,
  issued_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, subject)
) STRICT, WITHOUT ROWID;

-- The end of each chain of audit entries: whoever adds to it holds this row.
CREATE TABLE audit_heads (
  tenant   TEXT    NOT NULL PRIMARY KEY, -- '' is the platform
  seq      INTEGER NOT NULL,
  hash     TEXT    NOT NULL,
  moved_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_heads_moved ON audit_heads (moved_at);

CREATE TABLE audit (
  tenant     TEXT    NOT NULL,
  seq        INTEGER NOT NULL,
  at         INTEGER NOT NULL,
  actor      TEXT    NOT NULL,
  action     TEXT    NOT NULL,
  resource   TEXT    NOT NULL,
  outcome    TEXT    NOT NULL,
  reason     TEXT    NOT NULL,
  request_id TEXT    NOT NULL,
  address    TEXT    NOT NULL,
  count      INTEGER NOT NULL,
  previous   TEXT    NOT NULL,
  hash       TEXT    NOT NULL,
  PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_at ON audit (tenant, at);
CREATE INDEX audit_actor ON audit (tenant, actor, seq);
CREATE INDEX audit_action ON audit (tenant, action, seq);
CREATE INDEX audit_resource ON audit (tenant, resource, seq);

INSERT INTO counter (one, number, mark)
SELECT 1, CASE WHEN EXISTS (SELECT 1 FROM keys) THEN 1 ELSE 0 END, CASE WHEN EXISTS (SELECT 1 FROM keys) THEN hex(randomblob(16)) ELSE '' END;
INSERT INTO generations (number, mark) SELECT number, mark FROM counter WHERE number = 1;
INSERT INTO tenants (tenant, number) SELECT DISTINCT tenant, 1 FROM keys;

-- Programs that count by this refuse the file from now on.
PRAGMA user_version = 2;
