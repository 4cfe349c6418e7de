-- +goose Up
-- The newest signed policy of each model, as it was read: policy.json. No generation
-- replaces a later one.
CREATE TABLE policies (
  model      text   COLLATE "C" NOT NULL PRIMARY KEY,
  generation bigint NOT NULL,
  data       bytea  NOT NULL
);
