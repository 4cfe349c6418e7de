-- +goose Up
-- The newest signed policy of each model, as it was read: policy.json. No generation
-- replaces a later one.
CREATE TABLE policies (
  model      TEXT    NOT NULL PRIMARY KEY,
  generation INTEGER NOT NULL,
  data       BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Programs that count by this refuse the file from now on.
PRAGMA user_version = 3;
