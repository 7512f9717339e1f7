-- +goose Up
-- What tells which baseline would judge the node now. Empty for what was published before: it is not compared until
-- the next scan.
ALTER TABLE node_state ADD COLUMN operating_system TEXT NOT NULL DEFAULT '';
ALTER TABLE node_state ADD COLUMN predefined_id TEXT NOT NULL DEFAULT '';
