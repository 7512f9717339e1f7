-- +goose Up
-- When a node last reported a version of the catalogue, so that versions which none reports any more can go. The
-- nodes bring theirs up to date at their next scan: no set of before counts as known.
ALTER TABLE available_patch ADD COLUMN last_seen_at BIGINT NOT NULL DEFAULT 0;
UPDATE available_patch SET last_seen_at = COALESCE((SELECT max(published_at) FROM node_state), first_seen_at);
CREATE INDEX available_patch_age ON available_patch (last_seen_at);

CREATE TABLE available_set (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    operating_system TEXT NOT NULL,
    product          TEXT NOT NULL,
    hash             TEXT NOT NULL,
    learned_at       BIGINT NOT NULL,
    PRIMARY KEY (account, region, operating_system, product, hash)
);
CREATE INDEX available_set_age ON available_set (learned_at);
