CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    session TEXT NOT NULL,
    state TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    row BLOB NOT NULL
) STRICT;
CREATE INDEX runs_newest ON runs (created_ms, id);
CREATE INDEX runs_of_user ON runs (user, created_ms, id);
CREATE INDEX runs_of_session ON runs (session, created_ms, id);
CREATE INDEX runs_by_state ON runs (state, updated_ms);

-- Apart from the rows, because it changes with every append. `owner` null: nobody drives the run.
CREATE TABLE leases (
    run TEXT PRIMARY KEY,
    owner TEXT,
    fence INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    lines INTEGER NOT NULL
) STRICT;

CREATE TABLE lines (
    run TEXT NOT NULL,
    number INTEGER NOT NULL,
    text BLOB NOT NULL,
    PRIMARY KEY (run, number)
) STRICT;

CREATE TABLE events (
    run TEXT NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    text BLOB NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT;

CREATE TABLE blobs (
    sha256 TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE blob_refs (
    sha256 TEXT NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (sha256, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_refs_of_run ON blob_refs (run);

CREATE TABLE starts (
    user TEXT NOT NULL,
    idempotency TEXT NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (user, idempotency)
) STRICT;
CREATE INDEX starts_of_run ON starts (run);

CREATE TABLE outcomes (
    run TEXT NOT NULL,
    idempotency TEXT NOT NULL,
    answer BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (run, idempotency)
) STRICT;

CREATE TABLE consents (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    given_by TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (project, name, sha256)
) STRICT;

CREATE TABLE scripts (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    script TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    saved_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT;
