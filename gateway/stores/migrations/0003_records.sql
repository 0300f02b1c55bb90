-- Small records of any kind. A SQLite file has one gateway: nobody else has to be told of a change.
CREATE TABLE shared_records (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    text BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
INSERT INTO shared_records SELECT 'fuse', id, record FROM fuses;
DROP TABLE fuses;

-- Whose a session is: the credential that first used it.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    credential TEXT NOT NULL,
    user TEXT NOT NULL,
    first_seen_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_by_first_seen ON sessions (first_seen_ms);
INSERT INTO sessions SELECT session, credential, json_extract(text, '$.user'), min(json_extract(text, '$.first_seen_ms'))
    FROM (SELECT session, credential, CAST(record AS TEXT) AS text FROM agents) GROUP BY session;

ALTER TABLE agents RENAME TO old_agents;
CREATE TABLE agents (
    session TEXT NOT NULL,
    agent TEXT NOT NULL,
    saved INTEGER NOT NULL,          -- 0: claimed only, its spawn may not have been allowed
    last_seen_ms INTEGER NOT NULL,
    record BLOB NOT NULL,            -- core.lineage.AgentRecord as JSON
    PRIMARY KEY (session, agent)
) WITHOUT ROWID;
INSERT INTO agents SELECT old.session, old.agent, 1, old.last_seen_ms, old.record
    FROM old_agents old JOIN sessions ON sessions.id = old.session AND sessions.credential = old.credential;
DROP TABLE old_agents;
CREATE INDEX agents_by_last_seen ON agents (last_seen_ms);
