-- Times are milliseconds since 1970, UTC; 0 is "never".
CREATE TABLE keys (
  id         TEXT    NOT NULL PRIMARY KEY,
  name       TEXT    NOT NULL,
  tenant     TEXT    NOT NULL,
  scopes     TEXT    NOT NULL CHECK (json_valid(scopes)), -- a JSON list of strings
  roles      TEXT    NOT NULL CHECK (json_valid(roles)),  -- likewise
  hash       BLOB    NOT NULL CHECK (length(hash) = 32),  -- SHA-256 of the secret, which is nowhere
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_newest ON keys (created_at DESC, id DESC);
CREATE INDEX keys_newest_of_tenant ON keys (tenant, created_at DESC, id DESC);
