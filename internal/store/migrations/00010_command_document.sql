-- +goose Up
-- The documents that a command's own one runs or downloads: its nodes may read them while they are at it.
CREATE TABLE command_document (
    account       TEXT NOT NULL,
    region        TEXT NOT NULL,
    command_id    TEXT NOT NULL,
    document_name TEXT NOT NULL,          -- or ARN, of another account's
    PRIMARY KEY (account, region, command_id, document_name)
);
