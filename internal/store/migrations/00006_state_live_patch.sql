-- +goose Up
-- What the published scan says of kernel live patching, as JSON. Empty where the system has none, and for what was published
-- before, until the next scan.
ALTER TABLE node_state ADD COLUMN live_patch TEXT NOT NULL DEFAULT '';
