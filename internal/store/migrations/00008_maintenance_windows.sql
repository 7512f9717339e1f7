-- +goose Up
-- Maintenance windows: what they are, what they do, and what they did.
CREATE TABLE maintenance_window (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    id          TEXT NOT NULL,
    name        TEXT NOT NULL,
    enabled     BOOLEAN NOT NULL,
    body        TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    anchor_at   BIGINT NOT NULL,
    next_at     BIGINT NOT NULL,
    PRIMARY KEY (account, region, id)
);
CREATE INDEX maintenance_window_order ON maintenance_window (account, region, created_at, id);

CREATE TABLE window_part (                 -- what is registered with a window
    account    TEXT NOT NULL,
    region     TEXT NOT NULL,
    window_id  TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('target', 'task')),
    id         TEXT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account, region, window_id, kind, id)
);

CREATE TABLE window_execution (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    id               TEXT NOT NULL,
    window_id        TEXT NOT NULL,
    due_at           BIGINT NOT NULL,
    cutoff_at        BIGINT NOT NULL,
    ends_by_at       BIGINT NOT NULL,
    status           TEXT NOT NULL,
    status_details   TEXT NOT NULL,
    started_at       BIGINT NOT NULL,
    ended_at         BIGINT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    PRIMARY KEY (account, region, id)
);
CREATE UNIQUE INDEX window_execution_once ON window_execution (account, region, window_id, due_at);
CREATE INDEX window_execution_order ON window_execution (account, region, window_id, started_at, id);
CREATE INDEX window_execution_open ON window_execution (account, region, window_id) WHERE ended_at = 0;
CREATE INDEX window_execution_age ON window_execution (started_at);

CREATE TABLE window_task_execution (
    account        TEXT NOT NULL,
    region         TEXT NOT NULL,
    execution_id   TEXT NOT NULL,
    id             TEXT NOT NULL,
    position       BIGINT NOT NULL,
    task_id        TEXT NOT NULL,
    body           TEXT NOT NULL,
    status         TEXT NOT NULL,
    status_details TEXT NOT NULL,
    started_at     BIGINT NOT NULL,
    ended_at       BIGINT NOT NULL,
    PRIMARY KEY (account, region, execution_id, id)
);

CREATE TABLE window_invocation (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    execution_id      TEXT NOT NULL,
    task_execution_id TEXT NOT NULL,
    id                TEXT NOT NULL,
    position          BIGINT NOT NULL,
    body              TEXT NOT NULL,
    command_id        TEXT NOT NULL,
    status            TEXT NOT NULL,
    status_details    TEXT NOT NULL,
    started_at        BIGINT NOT NULL,
    ended_at          BIGINT NOT NULL,
    PRIMARY KEY (account, region, execution_id, task_execution_id, id)
);

-- Who wants to know of a command's end: the kind and subject of the work item that tells.
ALTER TABLE command ADD COLUMN origin TEXT NOT NULL DEFAULT '';
