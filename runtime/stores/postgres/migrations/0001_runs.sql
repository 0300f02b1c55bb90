CREATE TABLE ringfence_run.runs (
    id text COLLATE "C" PRIMARY KEY,
    user_id text NOT NULL,
    session text NOT NULL,
    state text NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    content bytea NOT NULL
);
CREATE INDEX runs_newest ON ringfence_run.runs (created_ms, id);
CREATE INDEX runs_of_user ON ringfence_run.runs (user_id, created_ms, id);
CREATE INDEX runs_of_session ON ringfence_run.runs (session, created_ms, id);
CREATE INDEX runs_by_state ON ringfence_run.runs (state, updated_ms);

-- Apart from the rows, because it changes with every append. `owner` null: nobody drives the run.
-- `until` goes by this server's clock alone.
CREATE TABLE ringfence_run.leases (
    run text PRIMARY KEY,
    owner text,
    fence bigint NOT NULL,
    until timestamptz NOT NULL,
    lines bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE ringfence_run.lines (
    run text NOT NULL,
    number bigint NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (run, number)
);

CREATE TABLE ringfence_run.events (
    run text NOT NULL,
    seq bigint NOT NULL,
    type text NOT NULL,
    at_ms bigint NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE TABLE ringfence_run.blobs (
    sha256 text PRIMARY KEY,
    content bytea NOT NULL
);

CREATE TABLE ringfence_run.blob_refs (
    sha256 text NOT NULL,
    run text NOT NULL,
    PRIMARY KEY (sha256, run)
);
CREATE INDEX blob_refs_of_run ON ringfence_run.blob_refs (run);

CREATE TABLE ringfence_run.starts (
    user_id text NOT NULL,
    idempotency text NOT NULL,
    run text NOT NULL,
    PRIMARY KEY (user_id, idempotency)
);
CREATE INDEX starts_of_run ON ringfence_run.starts (run);

CREATE TABLE ringfence_run.outcomes (
    run text NOT NULL,
    idempotency text NOT NULL,
    answer bytea NOT NULL,
    at_ms bigint NOT NULL,
    PRIMARY KEY (run, idempotency)
);

CREATE TABLE ringfence_run.consents (
    project text NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    given_by text NOT NULL,
    at_ms bigint NOT NULL,
    PRIMARY KEY (project, name, sha256)
);

CREATE TABLE ringfence_run.scripts (
    owner text NOT NULL,
    name text NOT NULL,
    script text NOT NULL,
    sha256 text NOT NULL,
    saved_ms bigint NOT NULL,
    PRIMARY KEY (owner, name)
);
