-- Every meter, and by quarter hour, model and backend: rolling windows, time zones and limits for some models need it.

-- Reservations. ended_ms NULL: open, the amounts are what it costs if nobody ends it. Else: ended, the amounts are what
-- it cost, waiting (about a second) to be folded into usage; negative ones correct what expired.
ALTER TABLE holds RENAME TO old_holds;
CREATE TABLE holds (
    id TEXT PRIMARY KEY,
    accounts BLOB NOT NULL,          -- JSON array of account names
    model TEXT NOT NULL,
    backend TEXT NOT NULL,
    cost INTEGER NOT NULL,           -- nano-dollars
    requests INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    deadline_ms INTEGER NOT NULL,
    ended_ms INTEGER
) WITHOUT ROWID;
INSERT INTO holds
    SELECT id, accounts, '', '', coalesce(cost_nanousd, charge_nanousd), 1, 0, 0, deadline_ms, hour * 3600000
    FROM old_holds;
DROP TABLE old_holds;

-- What accounts used, by quarter hour; quarters of long ago are folded into the first one of their UTC day.
CREATE TABLE usage (
    account TEXT NOT NULL,
    quarter_ms INTEGER NOT NULL,
    model TEXT NOT NULL,
    backend TEXT NOT NULL,
    cost INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    PRIMARY KEY (account, quarter_ms, model, backend)
) WITHOUT ROWID;
INSERT INTO usage SELECT account, hour * 3600000, '', '', nanousd, 0, 0, 0 FROM spend;
DROP TABLE spend;

-- Limits that operators set.
CREATE TABLE limits (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation
    id TEXT NOT NULL UNIQUE,
    slot TEXT NOT NULL UNIQUE,
    record BLOB NOT NULL             -- core.stored_limits.StoredLimit as JSON
);

CREATE TABLE limit_audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    record BLOB NOT NULL             -- core.stored_limits.AuditedChange as JSON; its number is the row's
);
