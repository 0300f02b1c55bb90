-- Makes series that do not exist yet, with what their accounts used before and the open holds that they cover, and
-- returns every series of these accounts. The base of each account is among the series that are asked for, or exists.
CREATE FUNCTION create_series(
    p_now bigint, p_account text[], p_meter integer[], p_span text[], p_models text[], p_backends text[],
    p_pattern text[], p_length bigint[], p_slot bigint[], p_starts bigint[], p_ends bigint[]
) RETURNS SETOF counters LANGUAGE plpgsql SET search_path = ringfence, pg_temp SET jit = off AS $$
DECLARE
    v_bases text[];
    v_new bigint[];
    v_old text[];
BEGIN
    WITH made AS (
        INSERT INTO counters (account, meter, span, models, backends, series, touched_ms)
            SELECT DISTINCT w.account, 1, 'total', '{}'::text[], '{}'::text[], 1, p_now
            FROM unnest(p_account) w(account) ORDER BY w.account ON CONFLICT DO NOTHING RETURNING account
    ) SELECT coalesce(array_agg(account), '{}') INTO v_bases FROM made;
    PERFORM FROM counters c WHERE c.account = ANY (p_account) AND c.series > 0 ORDER BY c.id FOR UPDATE;
    WITH made AS (
        INSERT INTO counters (account, meter, span, models, backends, pattern, length_ms, slot_ms, starts_ms, ends_ms,
                touched_ms, since_ms)
            SELECT w.account, w.meter, w.span, w.models::text[], w.backends::text[], w.pattern, w.length_ms, w.slot_ms,
                    w.starts_ms, CASE WHEN w.length_ms IS NULL THEN w.ends_ms END,
                    p_now, CASE WHEN w.meter = 5 OR w.meter <> 1 AND w.length_ms < 3600000 THEN p_now ELSE 0 END
                FROM unnest(
                    p_account, p_meter, p_span, p_models, p_backends, p_pattern, p_length, p_slot, p_starts, p_ends
                ) w(account, meter, span, models, backends, pattern, length_ms, slot_ms, starts_ms, ends_ms)
            ON CONFLICT DO NOTHING RETURNING id, account
    ) SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(account) FILTER (WHERE account <> ALL (v_bases)), '{}')
        INTO v_new, v_old FROM made;
    v_new := v_new || ARRAY(SELECT c.id FROM counters c WHERE c.account = ANY (v_bases) AND c.series > 0);
    IF v_new = '{}' THEN
        RETURN QUERY SELECT c.* FROM counters c WHERE c.account = ANY (p_account);
        RETURN;
    END IF;
    PERFORM fill_series(p_now, v_new, v_old);
    IF v_old <> '{}' THEN
        UPDATE counters c SET worst = o.worst, expected = o.expected, open_holds = o.open_holds
            FROM (
                SELECT n.id, sum(h.worst[n.meter]) AS worst, sum(h.expected[n.meter]) AS expected,
                        count(*) AS open_holds
                    FROM counters n JOIN holds h ON n.account = ANY (h.accounts)
                    WHERE n.id = ANY (v_new) AND h.state = 'open' AND h.accounts && v_old
                    AND (n.pattern IS NULL OR h.model ~ n.pattern) AND (n.backends = '{}' OR n.backends && h.backends)
                    GROUP BY n.id
            ) o WHERE c.id = o.id;
    END IF;
    UPDATE counters c SET series = (SELECT count(*) FROM counters each WHERE each.account = c.account)
        WHERE c.account = ANY (p_account) AND c.series > 0
        AND c.account IN (SELECT n.account FROM counters n WHERE n.id = ANY (v_new));
    RETURN QUERY SELECT c.* FROM counters c WHERE c.account = ANY (p_account);
END $$;

-- What the accounts of new series used before; `p_old` are those that may have ended holds which are not folded yet.
-- Counts of less than an hour begin at nothing: what is kept by quarter hours is too coarse for what only paces.
CREATE FUNCTION fill_series(p_now bigint, p_new bigint[], p_old text[]) RETURNS void
LANGUAGE plpgsql SET search_path = ringfence, pg_temp SET jit = off AS $$
BEGIN
    WITH past AS MATERIALIZED (
        SELECT c.id, c.length_ms, c.slot_ms, s.quarter_ms + 900000 AS until_ms,
                (ARRAY[s.cost, s.requests, s.output_tokens, s.total_tokens, 0])[c.meter] AS amount
            FROM counters c JOIN (
                SELECT * FROM usage WHERE account IN (SELECT n.account FROM counters n WHERE n.id = ANY (p_new))
                UNION ALL
                SELECT account, h.ended_ms / 900000 * 900000, h.model, h.backend,
                        h.cost, h.requests, h.output_tokens, h.total_tokens
                    FROM holds h, unnest(h.accounts) account
                    WHERE p_old <> '{}' AND h.state <> 'open' AND NOT h.folded AND h.accounts && p_old
            ) s ON s.account = c.account
            WHERE c.id = ANY (p_new) AND (c.pattern IS NULL OR s.model = '' OR s.model ~ c.pattern)
            AND (c.backends = '{}' OR s.backend = '' OR c.backends && string_to_array(s.backend, ','))
            AND (c.length_ms IS NULL OR c.length_ms >= 3600000 OR c.meter = 1)
            AND s.quarter_ms + 900000 > CASE WHEN c.length_ms IS NULL THEN c.starts_ms
                ELSE (p_now - c.length_ms) / c.slot_ms * c.slot_ms END
    ), slotted AS (
        INSERT INTO slots (counter, slot_ms, amount)
            SELECT past.id, least(past.until_ms - 1, p_now) / past.slot_ms * past.slot_ms, sum(past.amount)
                FROM past WHERE past.length_ms IS NOT NULL GROUP BY 1, 2
            RETURNING counter, slots.slot_ms
    )
    UPDATE counters c SET used = sums.used, ends_ms = CASE WHEN c.length_ms IS NULL THEN c.ends_ms
            ELSE (SELECT min(slotted.slot_ms) FROM slotted WHERE slotted.counter = c.id) + c.slot_ms + c.length_ms END
        FROM (SELECT past.id, sum(past.amount) AS used FROM past GROUP BY 1) sums WHERE c.id = sums.id;
END $$;

-- The sums of series as they stand at p_now, whether they are counted yet or not. Changes nothing.
CREATE FUNCTION sums_of(
    p_now bigint, p_account text[], p_meter integer[], p_span text[], p_models text[], p_backends text[],
    p_pattern text[], p_length bigint[], p_slot bigint[], p_starts bigint[], p_ends bigint[]
) RETURNS TABLE (used bigint, worst bigint, expected bigint, ends_ms bigint)
LANGUAGE sql STABLE SET search_path = ringfence, pg_temp SET jit = off AS $$
    SELECT
        CASE
            WHEN c.id IS NULL THEN (
                SELECT coalesce(sum((ARRAY[s.cost, s.requests, s.output_tokens, s.total_tokens, 0])[w.meter]), 0)
                    FROM spends s WHERE s.account = w.account AND s.quarter_ms + 900000 > w.starts_ms
                    AND (w.pattern IS NULL OR s.model = '' OR s.model ~ w.pattern)
                    AND (
                        w.backends::text[] = '{}' OR s.backend = ''
                        OR w.backends::text[] && string_to_array(s.backend, ',')
                    )
            )
            WHEN c.ends_ms IS NULL OR c.ends_ms > p_now THEN c.used
            WHEN c.length_ms IS NULL THEN 0
            ELSE (SELECT coalesce(sum(s.amount), 0) FROM slots s WHERE s.counter = c.id AND s.slot_ms >= w.starts_ms)
        END::bigint,
        coalesce(c.worst, 0),
        coalesce(c.expected, 0),
        CASE
            WHEN c.id IS NULL OR c.ends_ms <= p_now AND c.length_ms IS NULL THEN w.ends_ms
            WHEN c.ends_ms <= p_now THEN (
                SELECT min(s.slot_ms) + c.slot_ms + c.length_ms
                    FROM slots s WHERE s.counter = c.id AND s.slot_ms >= w.starts_ms
            )
            ELSE c.ends_ms
        END
    FROM unnest(p_account, p_meter, p_span, p_models, p_backends, p_pattern, p_length, p_slot, p_starts, p_ends)
        WITH ORDINALITY w(account, meter, span, models, backends, pattern, length_ms, slot_ms, starts_ms, ends_ms, n)
    LEFT JOIN counters c ON c.account = w.account AND c.meter = w.meter AND c.span = w.span
        AND c.models = w.models::text[] AND c.backends = w.backends::text[]
    ORDER BY w.n
$$;
