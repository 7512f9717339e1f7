-- +goose Up
-- One row for each account and region whose installs were frozen. A row whose end has passed means nothing.
CREATE TABLE install_freeze (
    account    TEXT NOT NULL,
    region     TEXT NOT NULL,
    reason     TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL,
    set_by     TEXT NOT NULL,
    PRIMARY KEY (account, region)
);
