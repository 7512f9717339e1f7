-- The schema that the migrations lead to, to read in one piece. A test compares it with a migrated database.

CREATE TABLE account (
    account    TEXT PRIMARY KEY,
    data_key   BYTEA NOT NULL,             -- the account's data key, wrapped by the master key
    created_at BIGINT NOT NULL
);

CREATE TABLE access_key (
    access_key_id TEXT PRIMARY KEY,
    account       TEXT NOT NULL,
    name          TEXT NOT NULL,
    kind          TEXT NOT NULL CHECK (kind IN ('Administrator', 'ReadOnly')),
    sealed        BYTEA NOT NULL,          -- the secret, sealed with the account's data key
    active        BOOLEAN NOT NULL,
    created_at    BIGINT NOT NULL
);

CREATE TABLE counter (
    account TEXT NOT NULL,
    region  TEXT NOT NULL,
    name    TEXT NOT NULL,
    value   BIGINT NOT NULL,
    PRIMARY KEY (account, region, name)
);

CREATE TABLE client_token (
    account      TEXT NOT NULL,
    region       TEXT NOT NULL,
    operation    TEXT NOT NULL,
    token        TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    result       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (account, region, operation, token)
);
CREATE INDEX client_token_age ON client_token (created_at);

CREATE TABLE tag (
    account       TEXT NOT NULL,
    region        TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    tag_key       TEXT NOT NULL,
    tag_value     TEXT NOT NULL,
    position      BIGINT NOT NULL,
    PRIMARY KEY (account, region, resource_type, resource_id, tag_key)
);
CREATE INDEX tag_lookup ON tag (account, region, resource_type, tag_key, tag_value, resource_id);

CREATE TABLE activation (
    account               TEXT NOT NULL,
    region                TEXT NOT NULL,
    id                    TEXT NOT NULL,
    code_hash             TEXT NOT NULL,
    iam_role              TEXT NOT NULL,
    description           TEXT NOT NULL,
    default_instance_name TEXT NOT NULL,
    registration_limit    BIGINT NOT NULL,
    registrations_count   BIGINT NOT NULL,
    tags                  TEXT NOT NULL,
    created_at            BIGINT NOT NULL,
    expires_at            BIGINT NOT NULL,
    deleted               BOOLEAN NOT NULL,
    PRIMARY KEY (account, region, id)
);
CREATE UNIQUE INDEX activation_id ON activation (id);

CREATE TABLE node (
    account           TEXT NOT NULL,
    region            TEXT NOT NULL,
    id                TEXT NOT NULL,
    num               BIGINT NOT NULL,
    activation_id     TEXT NOT NULL,
    name              TEXT NOT NULL,
    iam_role          TEXT NOT NULL,
    public_key        BYTEA NOT NULL,
    public_key_type   TEXT NOT NULL,
    fingerprint       TEXT NOT NULL,
    key_epoch         BIGINT NOT NULL,
    registered_at     BIGINT NOT NULL,
    deregistered_at   BIGINT NOT NULL,     -- 0: registered. The row stays as a tombstone, so that an id is never used again
    last_ping_at      BIGINT NOT NULL,
    agent_name        TEXT NOT NULL,
    agent_version     TEXT NOT NULL,
    platform_type     TEXT NOT NULL,
    platform_name     TEXT NOT NULL,
    platform_version  TEXT NOT NULL,
    computer_name     TEXT NOT NULL,
    ip_address        TEXT NOT NULL,
    patch_group       TEXT NOT NULL,       -- value of the tag PatchGroup or Patch Group, kept with the tags
    PRIMARY KEY (account, region, id)
);
CREATE UNIQUE INDEX node_id ON node (id);
CREATE UNIQUE INDEX node_num ON node (account, region, num);
CREATE INDEX node_group ON node (account, region, patch_group, id);
CREATE INDEX node_deregistered ON node (deregistered_at) WHERE deregistered_at > 0;

CREATE TABLE patch_baseline (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    id               TEXT NOT NULL,
    name             TEXT NOT NULL,
    operating_system TEXT NOT NULL,
    body             TEXT NOT NULL,        -- the GetPatchBaseline shape less ids, groups and dates
    created_at       BIGINT NOT NULL,
    modified_at      BIGINT NOT NULL,
    PRIMARY KEY (account, region, id)
);
CREATE INDEX patch_baseline_order ON patch_baseline (account, region, created_at, id);

CREATE TABLE default_baseline (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    operating_system TEXT NOT NULL,
    baseline_id      TEXT NOT NULL,
    PRIMARY KEY (account, region, operating_system)
);

CREATE TABLE patch_group (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    patch_group      TEXT NOT NULL,
    operating_system TEXT NOT NULL,
    baseline_id      TEXT NOT NULL,
    PRIMARY KEY (account, region, patch_group, operating_system)
);
CREATE INDEX patch_group_baseline ON patch_group (account, region, baseline_id, patch_group);

CREATE TABLE snapshot (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    patch_group      TEXT NOT NULL,
    operating_system TEXT NOT NULL,
    snapshot_id      TEXT NOT NULL,
    baseline_id      TEXT NOT NULL,
    body             TEXT NOT NULL,
    created_at       BIGINT NOT NULL,
    PRIMARY KEY (account, region, patch_group, operating_system, snapshot_id)
);
CREATE INDEX snapshot_age ON snapshot (created_at);

CREATE TABLE content (
    account   TEXT NOT NULL,
    hash      TEXT NOT NULL,               -- SHA-256, hex, of the uncompressed bytes
    codec     TEXT NOT NULL CHECK (codec IN ('raw', 'zstd')),
    data      BYTEA NOT NULL,
    size      BIGINT NOT NULL,             -- bytes uncompressed
    stored_at BIGINT NOT NULL,
    PRIMARY KEY (account, hash)
);
CREATE INDEX content_age ON content (stored_at);

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

CREATE TABLE command (
    account                  TEXT NOT NULL,
    region                   TEXT NOT NULL,
    id                       TEXT NOT NULL,
    document_name            TEXT NOT NULL,
    document_version         TEXT NOT NULL,
    payload_hash             TEXT NOT NULL,   -- content: the SendCommand payload that every node gets
    steps                    TEXT NOT NULL,   -- JSON list of {name, plugin}
    comment                  TEXT NOT NULL,
    parameters               TEXT NOT NULL,
    instance_ids             TEXT NOT NULL,
    targets                  TEXT NOT NULL,
    timeout_s                BIGINT NOT NULL,
    requested_at             BIGINT NOT NULL,
    deliver_by_at            BIGINT NOT NULL,
    expires_at               BIGINT NOT NULL,
    output_bucket            TEXT NOT NULL,
    output_prefix            TEXT NOT NULL,
    output_region            TEXT NOT NULL,
    service_role             TEXT NOT NULL,
    max_concurrency          TEXT NOT NULL,
    max_errors               TEXT NOT NULL,
    concurrency_limit        BIGINT NOT NULL,
    error_limit              BIGINT NOT NULL,
    target_count             BIGINT NOT NULL,
    claimed_count            BIGINT NOT NULL,
    delivered_count          BIGINT NOT NULL,
    in_flight                BIGINT NOT NULL,
    completed_count          BIGINT NOT NULL,
    error_count              BIGINT NOT NULL,
    delivery_timed_out_count BIGINT NOT NULL,
    success_count            BIGINT NOT NULL,
    execution_timed_out_count BIGINT NOT NULL,
    ignored_count            BIGINT NOT NULL,
    lost_count               BIGINT NOT NULL,   -- claimed and ended without ever being delivered
    cancel_requested         BOOLEAN NOT NULL,
    status                   TEXT NOT NULL,
    status_details           TEXT NOT NULL,
    requested_by             TEXT NOT NULL,
    origin                   TEXT NOT NULL DEFAULT '',  -- kind and subject of the work item that tells of its end
    PRIMARY KEY (account, region, id)
);
CREATE INDEX command_order ON command (account, region, requested_at, id);
CREATE INDEX command_age ON command (requested_at);

CREATE TABLE invocation (
    account        TEXT NOT NULL,
    region         TEXT NOT NULL,
    command_id     TEXT NOT NULL,
    node_id        TEXT NOT NULL,
    position       BIGINT NOT NULL,
    requested_at   BIGINT NOT NULL,
    status         TEXT NOT NULL,
    status_details TEXT NOT NULL,
    claimed        BOOLEAN NOT NULL,
    delivered      BOOLEAN NOT NULL,
    ended_at       BIGINT NOT NULL,
    plugins        TEXT NOT NULL,
    trace          TEXT NOT NULL,
    late_result    TEXT NOT NULL,
    PRIMARY KEY (account, region, command_id, node_id)
);
CREATE INDEX invocation_queue ON invocation (account, region, command_id, claimed, position);
CREATE INDEX invocation_node ON invocation (account, region, node_id, requested_at, command_id);
CREATE INDEX invocation_order ON invocation (account, region, requested_at, command_id, node_id);

CREATE TABLE command_document (           -- that a command's own document runs or downloads
    account       TEXT NOT NULL,
    region        TEXT NOT NULL,
    command_id    TEXT NOT NULL,
    document_name TEXT NOT NULL,          -- or ARN, of another account's
    PRIMARY KEY (account, region, command_id, document_name)
);

CREATE TABLE node_message (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    node_id          TEXT NOT NULL,
    message_id       TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('send', 'cancel')),
    command_id       TEXT NOT NULL,
    created_at       BIGINT NOT NULL,
    first_offered_at BIGINT NOT NULL,
    visible_at       BIGINT NOT NULL,
    not_after_at     BIGINT NOT NULL,
    PRIMARY KEY (account, region, node_id, message_id)
);
CREATE INDEX node_message_command ON node_message (account, region, command_id, node_id);
CREATE INDEX node_message_expiry ON node_message (not_after_at);

CREATE TABLE work_item (
    id          TEXT PRIMARY KEY,          -- the promise's own key: kind:account:region:subject
    kind        TEXT NOT NULL,
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    subject     TEXT NOT NULL,
    due_at      BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    fence       BIGINT NOT NULL,
    attempts    BIGINT NOT NULL
);
CREATE INDEX work_item_due ON work_item (due_at);

CREATE TABLE node_state (
    account                  TEXT NOT NULL,
    region                   TEXT NOT NULL,
    node_id                  TEXT NOT NULL,
    boot_id                  TEXT NOT NULL,
    scan_seq                 BIGINT NOT NULL,
    operation                TEXT NOT NULL,
    started_at               BIGINT NOT NULL,
    ended_at                 BIGINT NOT NULL,
    published_at             BIGINT NOT NULL,
    stale_at                 BIGINT NOT NULL,
    baseline_id              TEXT NOT NULL,
    snapshot_id              TEXT NOT NULL,
    patch_group              TEXT NOT NULL,
    execution_id             TEXT NOT NULL,
    execution_type           TEXT NOT NULL,
    reboot_option            TEXT NOT NULL,
    install_override_list    TEXT NOT NULL,
    last_no_reboot_install_at BIGINT NOT NULL,
    reboot_required          BOOLEAN NOT NULL,
    status                   TEXT NOT NULL,
    severity                 TEXT NOT NULL,
    installed                BIGINT NOT NULL,
    installed_other          BIGINT NOT NULL,
    installed_pending_reboot BIGINT NOT NULL,
    installed_rejected       BIGINT NOT NULL,
    missing                  BIGINT NOT NULL,
    failed                   BIGINT NOT NULL,
    not_applicable           BIGINT NOT NULL,
    unreported_not_applicable BIGINT NOT NULL,
    available_security_update BIGINT NOT NULL,
    critical_non_compliant   BIGINT NOT NULL,
    security_non_compliant   BIGINT NOT NULL,
    other_non_compliant      BIGINT NOT NULL,
    severity_counts          TEXT NOT NULL,   -- JSON: compliant and non-compliant items per level
    header                   BYTEA NOT NULL,  -- zstd: everything of the scan but its items
    result_hash              TEXT NOT NULL,
    available_hash           TEXT NOT NULL,
    operating_system         TEXT NOT NULL DEFAULT '',  -- whose registered baseline judged; empty: another one, such as a policy's
    predefined_id            TEXT NOT NULL DEFAULT '',  -- the predefined default of that operating system
    live_patch               TEXT NOT NULL DEFAULT '',  -- JSON: kernel live patching; empty: none
    PRIMARY KEY (account, region, node_id)
);
CREATE INDEX node_state_stale ON node_state (account, region, stale_at);

CREATE TABLE scan_history (
    account     TEXT NOT NULL,
    region      TEXT NOT NULL,
    node_id     TEXT NOT NULL,
    ended_at    BIGINT NOT NULL,
    operation   TEXT NOT NULL,
    baseline_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    status      TEXT NOT NULL,
    installed   BIGINT NOT NULL,
    missing     BIGINT NOT NULL,
    failed      BIGINT NOT NULL,
    result_hash TEXT NOT NULL,
    PRIMARY KEY (account, region, node_id, ended_at)
);
CREATE INDEX scan_history_age ON scan_history (ended_at);

CREATE TABLE patch_dict (
    account  TEXT NOT NULL,
    num      BIGINT NOT NULL,
    patch_id TEXT NOT NULL,
    PRIMARY KEY (account, num)
);
CREATE UNIQUE INDEX patch_dict_id ON patch_dict (account, patch_id);

CREATE TABLE noncompliant (
    account   TEXT NOT NULL,
    region    TEXT NOT NULL,
    patch_num BIGINT NOT NULL,
    node_num  BIGINT NOT NULL,
    state     TEXT NOT NULL,
    level     TEXT NOT NULL,
    PRIMARY KEY (account, region, patch_num, node_num)
);
CREATE INDEX noncompliant_node ON noncompliant (account, region, node_num);

CREATE TABLE compliance_set (
    account         TEXT NOT NULL,
    region          TEXT NOT NULL,
    node_id         TEXT NOT NULL,
    compliance_type TEXT NOT NULL,
    content_hash    TEXT NOT NULL,
    client_hash     TEXT NOT NULL,
    execution_id    TEXT NOT NULL,
    execution_type  TEXT NOT NULL,
    execution_at    BIGINT NOT NULL,
    status          TEXT NOT NULL,
    severity        TEXT NOT NULL,
    severity_counts TEXT NOT NULL,
    PRIMARY KEY (account, region, node_id, compliance_type)
);

CREATE TABLE inventory_item (
    account        TEXT NOT NULL,
    region         TEXT NOT NULL,
    node_id        TEXT NOT NULL,
    type_name      TEXT NOT NULL,
    schema_version TEXT NOT NULL,
    capture_time   TEXT NOT NULL,
    client_hash    TEXT NOT NULL,
    content_hash   TEXT NOT NULL,
    context        TEXT NOT NULL,
    put_at         BIGINT NOT NULL DEFAULT 0,  -- when its content was last taken
    PRIMARY KEY (account, region, node_id, type_name)
);
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

CREATE TABLE available_patch (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    operating_system TEXT NOT NULL,
    product          TEXT NOT NULL,
    name             TEXT NOT NULL,
    version          TEXT NOT NULL,
    arch             TEXT NOT NULL,
    repository       TEXT NOT NULL,
    classification   TEXT NOT NULL,
    severity         TEXT NOT NULL,
    priority         TEXT NOT NULL,
    section          TEXT NOT NULL,
    released_at      BIGINT NOT NULL,
    first_seen_at    BIGINT NOT NULL,
    last_seen_at     BIGINT NOT NULL DEFAULT 0,
    notices          TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (account, region, operating_system, product, name, version, arch, repository)
);
CREATE INDEX available_patch_age ON available_patch (last_seen_at);

CREATE TABLE available_set (               -- sets of versions, by their hash, that the catalogue has
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    operating_system TEXT NOT NULL,
    product          TEXT NOT NULL,
    hash             TEXT NOT NULL,
    learned_at       BIGINT NOT NULL,
    PRIMARY KEY (account, region, operating_system, product, hash)
);
CREATE INDEX available_set_age ON available_set (learned_at);

CREATE TABLE install_freeze (              -- refuses installs until it ends
    account    TEXT NOT NULL,
    region     TEXT NOT NULL,
    reason     TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL,
    set_by     TEXT NOT NULL,
    PRIMARY KEY (account, region)
);

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

CREATE TABLE audit_event (
    event_id   TEXT PRIMARY KEY,
    account    TEXT NOT NULL,
    region     TEXT NOT NULL,
    at         BIGINT NOT NULL,
    name       TEXT NOT NULL,
    read_only  BOOLEAN NOT NULL,
    error_code TEXT NOT NULL,
    body       TEXT NOT NULL
);
CREATE INDEX audit_event_order ON audit_event (account, region, at, event_id);
CREATE INDEX audit_event_age ON audit_event (at);
