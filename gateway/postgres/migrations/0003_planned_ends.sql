-- +goose Up
-- When a key would have ended without its rotation, 0 is never; -1 where it was not
-- rotated.
ALTER TABLE keys ADD COLUMN planned_end bigint NOT NULL DEFAULT -1;
