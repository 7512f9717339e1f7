-- +goose Up
-- State Manager associations: what they are, what they were, their runs, and how they stand on each node.
CREATE TABLE association (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    id               TEXT NOT NULL,
    document_name    TEXT NOT NULL,
    association_name TEXT NOT NULL,
    node_id          TEXT NOT NULL,        -- of the old form that names one node; empty: targets
    version          BIGINT NOT NULL,
    body             TEXT NOT NULL,
    created_at       BIGINT NOT NULL,
    modified_at      BIGINT NOT NULL,
    anchor_at        BIGINT NOT NULL,
    next_at          BIGINT NOT NULL,      -- 0: the schedule has no run any more
    last_run_at      BIGINT NOT NULL,
    last_success_at  BIGINT NOT NULL,
    ran_version      TEXT NOT NULL,        -- the document's version that the last run of all targets had
    run_again        BOOLEAN NOT NULL,     -- was changed while it ran: it runs again when that has ended
    status           TEXT NOT NULL,
    overview         TEXT NOT NULL,
    PRIMARY KEY (account, region, id)
);
CREATE INDEX association_order ON association (account, region, created_at, id);
CREATE INDEX association_document ON association (account, region, document_name, node_id);
CREATE INDEX association_age ON association (association_name, created_at);

CREATE TABLE association_version (
    account        TEXT NOT NULL,
    region         TEXT NOT NULL,
    association_id TEXT NOT NULL,
    version        BIGINT NOT NULL,
    body           TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (account, region, association_id, version)
);

CREATE TABLE association_execution (
    account         TEXT NOT NULL,
    region          TEXT NOT NULL,
    association_id  TEXT NOT NULL,
    id              TEXT NOT NULL,
    version         BIGINT NOT NULL,
    node_id         TEXT NOT NULL,         -- of a run for one node; empty: all targets
    command_id      TEXT NOT NULL,         -- empty: nothing was sent
    status          TEXT NOT NULL,
    detailed_status TEXT NOT NULL,
    counts          TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    cutoff_at       BIGINT NOT NULL,       -- 0: none
    ended_at        BIGINT NOT NULL,
    PRIMARY KEY (account, region, association_id, id)
);
CREATE INDEX association_execution_order ON association_execution (account, region, association_id, created_at, id);
CREATE INDEX association_execution_open ON association_execution (account, region, association_id) WHERE ended_at = 0;
CREATE INDEX association_execution_age ON association_execution (created_at);

CREATE TABLE association_node (            -- how an association stands on a node
    account         TEXT NOT NULL,
    region          TEXT NOT NULL,
    association_id  TEXT NOT NULL,
    node_id         TEXT NOT NULL,
    version         BIGINT NOT NULL,
    execution_id    TEXT NOT NULL,
    command_id      TEXT NOT NULL,         -- empty: the node's agent runs it by itself
    status          TEXT NOT NULL,
    detailed_status TEXT NOT NULL,
    summary         TEXT NOT NULL,         -- these three as an agent reports them
    error_code      TEXT NOT NULL,
    output_url      TEXT NOT NULL,
    run_at          BIGINT NOT NULL,
    ended_at        BIGINT NOT NULL,       -- 0: its end is not taken over yet
    PRIMARY KEY (account, region, association_id, node_id)
);
CREATE INDEX association_node_of ON association_node (account, region, node_id, association_id);
CREATE INDEX association_node_open ON association_node (account, region, association_id, command_id, node_id) WHERE ended_at = 0;
