-- Advisory lock 21063/3: whoever writes shared records. Versions are taken under it and it is kept until the commit, so
-- that they are committed in their order: a reader that has seen one has missed none before it.
CREATE SEQUENCE record_versions;
CREATE TABLE shared_records (
    kind text NOT NULL,
    id text NOT NULL,
    text text,                          -- NULL: it was removed
    version bigint NOT NULL,
    writer text NOT NULL,               -- the gateway that saved it; empty: it was changed against what stood before
    written timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, id)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX shared_records_by_version ON shared_records (version);
INSERT INTO shared_records SELECT 'fuse', id, record, nextval('record_versions'), '' FROM fuses;
DROP TABLE fuses;

-- Whose a session is: the credential that first used it. Whoever claims an agent of it has the lock of its row.
CREATE TABLE sessions (
    id text PRIMARY KEY,
    credential text NOT NULL,
    "user" text NOT NULL,
    first_seen_ms bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX sessions_by_first_seen ON sessions (first_seen_ms);
INSERT INTO sessions
    SELECT DISTINCT ON (session) session, credential, record::json ->> 'user', (record::json ->> 'first_seen_ms')::bigint
    FROM agents ORDER BY session, (record::json ->> 'first_seen_ms')::bigint;

-- What each gateway counted of each agent; the sum over them is what the agent used.
ALTER TABLE agents RENAME TO old_agents;
ALTER INDEX agents_by_last_seen RENAME TO old_agents_by_last_seen;
ALTER INDEX agents_pkey RENAME TO old_agents_pkey;
CREATE TABLE agents (
    session text NOT NULL,
    agent text NOT NULL,
    owner text NOT NULL,                -- owners.id
    saved boolean NOT NULL,             -- false: claimed only, its spawn may not have been allowed
    last_seen_ms bigint NOT NULL,
    record text NOT NULL,               -- core.lineage.AgentRecord as JSON
    PRIMARY KEY (session, agent, owner)
) WITH (fillfactor = 70);
INSERT INTO agents SELECT o.session, o.agent, '', true, o.last_seen_ms, o.record
    FROM old_agents o JOIN sessions s ON s.id = o.session AND s.credential = o.credential;
DROP TABLE old_agents;
CREATE INDEX agents_by_last_seen ON agents (last_seen_ms);

-- Writes records as the latest, and returns those of other gateways among them that are newer than p_heard.
CREATE FUNCTION save_records(p_writer text, p_heard bigint, p_kind text[], p_id text[], p_text text[])
RETURNS TABLE (kind text, id text, text text) LANGUAGE plpgsql SET search_path = ringfence, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(21063, 3);
    RETURN QUERY SELECT r.kind, r.id, r.text
        FROM unnest(p_kind, p_id) w(kind, id) JOIN shared_records r ON r.kind = w.kind AND r.id = w.id
        WHERE r.version > p_heard AND r.writer <> p_writer AND r.text IS NOT NULL ORDER BY r.version;
    INSERT INTO shared_records SELECT w.kind, w.id, w.text, nextval('record_versions'), p_writer
        FROM unnest(p_kind, p_id, p_text) w(kind, id, text)
        ON CONFLICT (kind, id) DO UPDATE SET text = excluded.text, version = excluded.version,
            writer = excluded.writer, written = excluded.written;
END $$;

-- Replaces a record if it still stands as the caller read it, p_version being 0 when there was none.
CREATE FUNCTION swap_record(p_kind text, p_id text, p_version bigint, p_text text) RETURNS boolean
LANGUAGE plpgsql SET search_path = ringfence, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(21063, 3);
    IF coalesce((SELECT r.version FROM shared_records r WHERE r.kind = p_kind AND r.id = p_id), 0) <> p_version THEN
        RETURN false;
    END IF;
    INSERT INTO shared_records VALUES (p_kind, p_id, p_text, nextval('record_versions'), '')
        ON CONFLICT (kind, id) DO UPDATE SET text = excluded.text, version = excluded.version,
            writer = excluded.writer, written = excluded.written;
    RETURN true;
END $$;

-- Claims agents for a gateway, one by one in the order of sessions: tells whose the session is, how many agents other
-- than main it has, and what is saved of the agent. A session that nobody has used becomes the claiming credential's;
-- an agent is added when the session is.
CREATE FUNCTION claim_agents(
    p_owner text, p_main text, p_session text[], p_agent text[], p_credential text[], p_user text[],
    p_first_seen_ms bigint[], p_record text[],
    OUT credential text, OUT "user" text, OUT agents integer, OUT owners text[], OUT records text[]
) RETURNS SETOF record LANGUAGE plpgsql SET search_path = ringfence, pg_temp AS $$
#variable_conflict use_column
BEGIN
    FOR i IN 1..cardinality(p_session) LOOP
        INSERT INTO sessions AS s VALUES (p_session[i], p_credential[i], p_user[i], p_first_seen_ms[i])
            ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING s.credential, s."user" INTO credential, "user";
        SELECT coalesce(array_agg(a.owner), '{}'), coalesce(array_agg(a.record), '{}') INTO owners, records
            FROM agents a WHERE a.session = p_session[i] AND a.agent = p_agent[i] AND a.saved;
        IF credential = p_credential[i] THEN
            INSERT INTO agents VALUES (p_session[i], p_agent[i], p_owner, false, p_first_seen_ms[i], p_record[i])
                ON CONFLICT DO NOTHING;
        END IF;
        SELECT count(DISTINCT a.agent) INTO agents FROM agents a WHERE a.session = p_session[i] AND a.agent <> p_main;
        RETURN NEXT;
    END LOOP;
END $$;

-- What is kept for a while only: agents and sessions that were not seen since `p_unseen_since`, and the marks of removed
-- records, by which gateways that were away for less than a week learn of the removal.
CREATE FUNCTION forget(p_unseen_since bigint, p_most integer) RETURNS void
LANGUAGE plpgsql SET search_path = ringfence, pg_temp AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(21063, 2) THEN
        RETURN;
    END IF;
    DELETE FROM agents a USING (
        SELECT o.session, o.agent, o.owner FROM agents o WHERE o.last_seen_ms < p_unseen_since AND NOT EXISTS (
            SELECT FROM agents n
                WHERE n.session = o.session AND n.agent = o.agent AND n.last_seen_ms >= p_unseen_since
        ) LIMIT p_most FOR UPDATE SKIP LOCKED
    ) unseen WHERE a.session = unseen.session AND a.agent = unseen.agent AND a.owner = unseen.owner;
    DELETE FROM sessions s USING (
        SELECT id FROM sessions WHERE first_seen_ms < p_unseen_since
            AND NOT EXISTS (SELECT FROM agents WHERE agents.session = sessions.id) LIMIT p_most FOR UPDATE SKIP LOCKED
    ) empty WHERE s.id = empty.id AND NOT EXISTS (SELECT FROM agents WHERE agents.session = s.id);
    DELETE FROM shared_records WHERE text IS NULL AND written < clock_timestamp() - interval '7 days';
END $$;
