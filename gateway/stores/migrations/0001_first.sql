-- Reservations. cost NULL: open. cost set: ended, waiting (about a second) to be folded into spend.
CREATE TABLE holds (
    id TEXT PRIMARY KEY,
    accounts BLOB NOT NULL,          -- JSON array of account names
    charge_nanousd INTEGER NOT NULL, -- what it costs if nobody ends it
    deadline_ms INTEGER NOT NULL,
    cost_nanousd INTEGER,
    hour INTEGER                     -- UTC hour since the epoch in which it ended
) WITHOUT ROWID;

-- Spend by account and UTC hour; hours of long ago are folded into the first hour of their day.
CREATE TABLE spend (
    account TEXT NOT NULL,
    hour INTEGER NOT NULL,
    nanousd INTEGER NOT NULL,
    PRIMARY KEY (account, hour)
) WITHOUT ROWID;

CREATE TABLE fuses (
    id TEXT PRIMARY KEY,
    record BLOB NOT NULL             -- core.fuse.FuseRecord as JSON
) WITHOUT ROWID;

CREATE TABLE agents (
    credential TEXT NOT NULL,
    session TEXT NOT NULL,
    agent TEXT NOT NULL,
    last_seen_ms INTEGER NOT NULL,
    record BLOB NOT NULL,            -- core.lineage.AgentRecord as JSON
    PRIMARY KEY (credential, session, agent)
) WITHOUT ROWID;

CREATE INDEX agents_by_last_seen ON agents (last_seen_ms);

CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    team TEXT,
    hash BLOB NOT NULL UNIQUE,       -- of the secret; the secret itself is nowhere
    created_ms INTEGER NOT NULL,
    revoked_ms INTEGER,
    operator INTEGER NOT NULL,
    tags BLOB NOT NULL               -- JSON object of strings
) WITHOUT ROWID;

-- Counts the changes of credentials, so that a running gateway sees them with one cheap read.
CREATE TABLE changes (
    name TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO changes VALUES ('credentials', 0);
