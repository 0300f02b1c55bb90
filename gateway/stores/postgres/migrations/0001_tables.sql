-- Who keeps holds here. Each connection that commits takes a generation of its own: what an earlier one still had under
-- way is refused when it arrives late.
CREATE SEQUENCE generations;
CREATE TABLE owners (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    generation bigint NOT NULL,
    heartbeat timestamptz NOT NULL
) WITH (fillfactor = 50);

-- One row for each series. The base row of an account counts its lifetime cost; whoever changes a series or ends a
-- hold of an account has the lock of that row, and takes locks in the order of ids.
CREATE TABLE counters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    meter integer NOT NULL,             -- position in Amounts, from 1
    span text NOT NULL,                 -- total, hourly, daily, weekly, monthly, rolling <n>m|h|d
    models text[] NOT NULL,             -- globs; none: every model
    backends text[] NOT NULL,           -- none: every backend
    pattern text,                       -- models as a regular expression; NULL: every model
    length_ms bigint,                   -- of a rolling window
    slot_ms bigint,
    starts_ms bigint NOT NULL DEFAULT 0,
    ends_ms bigint,                     -- end of the calendar window, or of the oldest slot's stay in a rolling one
    used bigint NOT NULL DEFAULT 0,
    worst bigint NOT NULL DEFAULT 0,
    expected bigint NOT NULL DEFAULT 0,
    open_holds integer NOT NULL DEFAULT 0,
    touched_ms bigint NOT NULL DEFAULT 0,
    since_ms bigint NOT NULL DEFAULT 0, -- nothing of before is in used
    series integer NOT NULL DEFAULT 0,  -- base row: how many series the account has; else 0
    UNIQUE (account, meter, span, models, backends)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- What a rolling window is the sum of.
CREATE TABLE slots (
    counter bigint NOT NULL REFERENCES counters ON DELETE CASCADE,
    slot_ms bigint NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (counter, slot_ms)
) WITH (fillfactor = 50);

-- Reservations. open; settled: waits (about a second) to be folded into usage; expired: kept for a day, so that what
-- it cost after all can correct it.
CREATE TABLE holds (
    id text PRIMARY KEY,
    owner integer NOT NULL,
    accounts text[] NOT NULL,
    model text NOT NULL,
    backends text[] NOT NULL,
    worst bigint[] NOT NULL,            -- in the order of Amounts
    expected bigint[] NOT NULL,
    is_strict boolean NOT NULL,         -- a strict limit guards it: its worst case is what it costs if it expires
    deadline_ms bigint NOT NULL,
    state text NOT NULL DEFAULT 'open',
    cost bigint,
    requests bigint,
    output_tokens bigint,
    total_tokens bigint,
    backend text,
    ended_ms bigint,
    folded boolean NOT NULL DEFAULT false,
    replayed boolean NOT NULL DEFAULT false -- came from a journal: kept for a day, so that a second replay is known
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- What accounts used, by quarter hour; quarters of long ago are folded into the first one of their UTC day.
CREATE TABLE usage (
    account text NOT NULL,
    quarter_ms bigint NOT NULL,
    model text NOT NULL,
    backend text NOT NULL,
    cost bigint NOT NULL,
    requests bigint NOT NULL,
    output_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    PRIMARY KEY (account, quarter_ms, model, backend)
) WITH (fillfactor = 70);

-- Which limits hold: one number that every batch names. `configured` is the configuration of the replica that was
-- started last with a new one.
CREATE TABLE limits_version (
    version bigint NOT NULL,
    configured text NOT NULL            -- JSON array of core.limits.LimitRow
);
INSERT INTO limits_version VALUES (1, '');

CREATE TABLE limits (
    number bigint PRIMARY KEY,          -- order of creation
    id text NOT NULL UNIQUE,
    slot text NOT NULL UNIQUE,
    record text NOT NULL                -- core.stored_limits.StoredLimit as JSON
);

CREATE TABLE limit_audit (
    number bigint PRIMARY KEY,
    record text NOT NULL                -- core.stored_limits.AuditedChange as JSON; its number is the row's
);

CREATE TABLE credentials (
    id text PRIMARY KEY,
    "user" text NOT NULL,
    team text,
    hash bytea NOT NULL UNIQUE,         -- of the secret; the secret itself is nowhere
    created_ms bigint NOT NULL,
    revoked_ms bigint,
    operator boolean NOT NULL,
    tags text NOT NULL                  -- JSON object of strings
);

-- Counts the changes of credentials, so that a running gateway sees them with one cheap read.
CREATE TABLE changes (
    name text PRIMARY KEY,
    count bigint NOT NULL
);
INSERT INTO changes VALUES ('credentials', 0);

CREATE TABLE fuses (
    id text PRIMARY KEY,
    record text NOT NULL                -- core.fuse.FuseRecord as JSON
);

CREATE TABLE agents (
    credential text NOT NULL,
    session text NOT NULL,
    agent text NOT NULL,
    last_seen_ms bigint NOT NULL,
    record text NOT NULL,               -- core.lineage.AgentRecord as JSON
    PRIMARY KEY (credential, session, agent)
) WITH (fillfactor = 70);
CREATE INDEX agents_by_last_seen ON agents (last_seen_ms);

-- What accounts used, folded or not.
CREATE VIEW spends AS
    SELECT account, quarter_ms, model, backend, cost, requests, output_tokens, total_tokens FROM usage
    UNION ALL
    SELECT unnest(accounts), ended_ms / 900000 * 900000, model, backend, cost, requests, output_tokens, total_tokens
        FROM holds WHERE state <> 'open' AND NOT folded;
