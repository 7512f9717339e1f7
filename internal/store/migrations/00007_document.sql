-- +goose Up
-- Customers' own documents. A version never changes once it is there, and its number is never given out again.
CREATE TABLE document (
    account         TEXT NOT NULL,
    region          TEXT NOT NULL,
    name            TEXT NOT NULL,
    document_type   TEXT NOT NULL,
    default_version BIGINT NOT NULL,
    latest_version  BIGINT NOT NULL,       -- the highest there is
    last_version    BIGINT NOT NULL,       -- the highest there ever was
    PRIMARY KEY (account, region, name)
);

CREATE TABLE document_version (
    account        TEXT NOT NULL,
    region         TEXT NOT NULL,
    name           TEXT NOT NULL,
    version        BIGINT NOT NULL,
    version_name   TEXT NOT NULL,
    display_name   TEXT NOT NULL,
    target_type    TEXT NOT NULL,
    format         TEXT NOT NULL CHECK (format IN ('JSON', 'YAML', 'TEXT')),
    schema_version TEXT NOT NULL,
    description    TEXT NOT NULL,
    platforms      TEXT NOT NULL,          -- JSON list
    requires       TEXT NOT NULL,          -- JSON list of the API's shape
    content_hash   TEXT NOT NULL,          -- content: the text as it was submitted
    author         TEXT NOT NULL,          -- ARN
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (account, region, name, version)
);
CREATE UNIQUE INDEX document_version_name ON document_version (account, region, name, version_name) WHERE version_name <> '';

CREATE TABLE document_share (
    account        TEXT NOT NULL,
    region         TEXT NOT NULL,
    name           TEXT NOT NULL,
    shared_with    TEXT NOT NULL,          -- an account, or all
    shared_version TEXT NOT NULL CHECK (shared_version IN ('$DEFAULT', '$LATEST', '$ALL')),
    position       BIGINT NOT NULL,        -- in the order in which they were made
    PRIMARY KEY (account, region, name, shared_with)
);
CREATE INDEX document_share_with ON document_share (region, shared_with, name, account);
