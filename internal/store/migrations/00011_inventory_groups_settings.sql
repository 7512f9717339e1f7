-- +goose Up
-- Queries over inventory, deletions of custom inventory, copies of inventory in buckets, resource groups and settings.
ALTER TABLE inventory_item ADD COLUMN put_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX inventory_item_type ON inventory_item (account, region, type_name, node_id);

CREATE TABLE custom_inventory_type (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    type_name        TEXT NOT NULL,
    schema_version   TEXT NOT NULL,        -- the newest that was reported
    attributes       TEXT NOT NULL,        -- JSON list
    disabled_version TEXT NOT NULL,        -- reports of it and of earlier ones are ignored; empty: none
    PRIMARY KEY (account, region, type_name)
);

CREATE TABLE inventory_deletion (
    account    TEXT NOT NULL,
    region     TEXT NOT NULL,
    id         TEXT NOT NULL,
    type_name  TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('InProgress', 'Complete')),
    message    TEXT NOT NULL,
    counts     TEXT NOT NULL,              -- JSON: nodes per schema version, at the start
    remaining  TEXT NOT NULL,              -- JSON: nodes per schema version, now
    started_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (account, region, id)
);
CREATE INDEX inventory_deletion_order ON inventory_deletion (account, region, started_at, id);
CREATE INDEX inventory_deletion_age ON inventory_deletion (started_at);

CREATE TABLE resource_data_sync (
    account         TEXT NOT NULL,
    region          TEXT NOT NULL,
    name            TEXT NOT NULL,
    sync_type       TEXT NOT NULL,
    body            TEXT NOT NULL,         -- JSON: destination or source, as it was asked for
    created_at      BIGINT NOT NULL,
    modified_at     BIGINT NOT NULL,
    last_sync_at    BIGINT NOT NULL,
    last_success_at BIGINT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('Successful', 'Failed', 'InProgress')),
    message         TEXT NOT NULL,
    node_after      TEXT NOT NULL,         -- how far the round under way has come
    PRIMARY KEY (account, region, name)
);

CREATE TABLE data_sync_object (
    account      TEXT NOT NULL,
    region       TEXT NOT NULL,
    sync_name    TEXT NOT NULL,
    node_id      TEXT NOT NULL,
    type_name    TEXT NOT NULL,
    content_hash TEXT NOT NULL,            -- of what the bucket holds
    PRIMARY KEY (account, region, sync_name, node_id, type_name)
);

CREATE TABLE resource_group (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    query_type  TEXT NOT NULL,
    query       TEXT NOT NULL,             -- JSON, as it was given
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (account, region, name)
);

CREATE TABLE service_setting (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    setting_id  TEXT NOT NULL,
    value       TEXT NOT NULL,
    modified_at BIGINT NOT NULL,
    modified_by TEXT NOT NULL,
    PRIMARY KEY (account, region, setting_id)
);
