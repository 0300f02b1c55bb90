-- Moves ended holds into the usage of their accounts; false: somebody else does. What is locked is left for next time.
CREATE FUNCTION fold(p_most integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = ringfence, pg_temp SET jit = off AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(21063, 2) THEN
        RETURN false;
    END IF;
    WITH picked AS MATERIALIZED (
        SELECT h.id, h.state = 'expired' OR h.replayed AS kept FROM holds h
            WHERE h.state <> 'open' AND NOT h.folded LIMIT p_most FOR UPDATE SKIP LOCKED
    ), marked AS (
        UPDATE holds h SET folded = true FROM picked WHERE h.id = picked.id AND picked.kept RETURNING h.*
    ), gone AS (
        DELETE FROM holds h USING picked WHERE h.id = picked.id AND NOT picked.kept RETURNING h.*
    )
    INSERT INTO usage AS u
        SELECT account, e.ended_ms / 900000 * 900000, e.model, e.backend,
                sum(e.cost), sum(e.requests), sum(e.output_tokens), sum(e.total_tokens)
            FROM (SELECT * FROM marked UNION ALL SELECT * FROM gone) e, unnest(e.accounts) account
            GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (account, quarter_ms, model, backend) DO UPDATE SET cost = u.cost + excluded.cost,
            requests = u.requests + excluded.requests, output_tokens = u.output_tokens + excluded.output_tokens,
            total_tokens = u.total_tokens + excluded.total_tokens;
    RETURN true;
END $$;

-- Open holds whose deadline has come or whose owner is dead. Owners whose heart stopped are fenced before.
CREATE FUNCTION fence_owners(p_silence interval) RETURNS void
LANGUAGE plpgsql SET search_path = ringfence, pg_temp AS $$
DECLARE
    v_owner integer;
BEGIN
    FOR v_owner IN
        SELECT o.number FROM owners o WHERE o.heartbeat < clock_timestamp() - p_silence AND o.generation <> 0
    LOOP
        IF pg_try_advisory_xact_lock(21062, v_owner) THEN
            UPDATE owners o SET generation = 0 WHERE o.number = v_owner AND o.heartbeat < clock_timestamp() - p_silence;
        END IF;
    END LOOP;
END $$;

-- What is kept for a while only: holds that can be corrected until `p_ended_before`; sums of sessions, runs and agents
-- that were not touched since `p_idle_before` (usage has what they used); quarters before `p_by_day_before`; owners.
CREATE FUNCTION tidy(p_ended_before bigint, p_idle_before bigint, p_by_day_before bigint, p_passing text) RETURNS void
LANGUAGE plpgsql SET search_path = ringfence, pg_temp SET jit = off AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(21063, 2) THEN
        RETURN;
    END IF;
    DELETE FROM holds WHERE folded AND ended_ms < p_ended_before;
    IF NOT EXISTS (SELECT FROM holds WHERE state <> 'open' AND NOT folded AND ended_ms < p_idle_before) THEN
        WITH idle AS MATERIALIZED (
            SELECT c.account FROM counters c
                WHERE c.series > 0 AND c.open_holds = 0 AND c.touched_ms < p_idle_before AND c.account ~ p_passing
                LIMIT 1000 FOR UPDATE SKIP LOCKED
        )
        DELETE FROM counters c USING idle WHERE c.account = idle.account;
    END IF;
    WITH old AS (
        DELETE FROM usage WHERE quarter_ms < p_by_day_before AND quarter_ms % 86400000 <> 0 RETURNING *
    )
    INSERT INTO usage AS u
        SELECT account, quarter_ms / 86400000 * 86400000, model, backend,
                sum(cost), sum(requests), sum(output_tokens), sum(total_tokens)
            FROM old GROUP BY 1, 2, 3, 4
        ON CONFLICT (account, quarter_ms, model, backend) DO UPDATE SET cost = u.cost + excluded.cost,
            requests = u.requests + excluded.requests, output_tokens = u.output_tokens + excluded.output_tokens,
            total_tokens = u.total_tokens + excluded.total_tokens;
    DELETE FROM owners o WHERE o.generation = 0 AND o.heartbeat < clock_timestamp() - interval '1 day'
        AND NOT EXISTS (SELECT FROM holds h WHERE h.owner = o.number AND h.state = 'open');
END $$;
