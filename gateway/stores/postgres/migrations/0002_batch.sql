-- Advisory locks: class 21062 with an owner's number is held by whoever commits for that owner, 21063/1 (shared) by
-- every batch and (alone) by whoever changes limits, 21063/2 by whoever folds.

-- A generation for an owner, who is told its number; from now on only this generation commits.
CREATE FUNCTION take_generation(p_id text, OUT number integer, OUT generation bigint)
LANGUAGE plpgsql SET search_path = ringfence, pg_temp AS $$
BEGIN
    INSERT INTO owners (id, generation, heartbeat) VALUES (p_id, 0, clock_timestamp()) ON CONFLICT (id) DO NOTHING;
    SELECT owners.number INTO number FROM owners WHERE id = p_id;
    PERFORM pg_advisory_xact_lock(21062, number);
    UPDATE owners SET generation = nextval('generations'), heartbeat = clock_timestamp()
        WHERE id = p_id RETURNING owners.generation INTO generation;
END $$;

-- Windows that ended before p_now begin anew; never back. The caller has the locks.
CREATE FUNCTION roll_counters(p_counters bigint[], p_now bigint, p_spans text[], p_starts bigint[], p_ends bigint[])
RETURNS void LANGUAGE plpgsql SET search_path = ringfence, pg_temp AS $$
BEGIN
    UPDATE counters c SET used = 0, starts_ms = span.starts_ms, ends_ms = span.ends_ms
        FROM unnest(p_spans, p_starts, p_ends) span(name, starts_ms, ends_ms)
        WHERE c.id = ANY (p_counters) AND c.ends_ms <= p_now AND c.span = span.name;
    DELETE FROM slots s USING counters c
        WHERE c.id = ANY (p_counters) AND c.ends_ms <= p_now AND c.length_ms IS NOT NULL AND s.counter = c.id
        AND s.slot_ms < (p_now - c.length_ms) / c.slot_ms * c.slot_ms;
    UPDATE counters c SET (used, ends_ms) = (
            SELECT coalesce(sum(s.amount), 0), min(s.slot_ms) + c.slot_ms + c.length_ms
                FROM slots s WHERE s.counter = c.id
        )
        WHERE c.id = ANY (p_counters) AND c.ends_ms <= p_now AND c.length_ms IS NOT NULL;
END $$;

-- Changes what a rolling window counted at p_at and returns what it has used now. What is over leaves with the later
-- slots, so that none leaves too early.
CREATE FUNCTION correct_slots(p_counter bigint, p_now bigint, p_at bigint, p_change bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = ringfence, pg_temp AS $$
DECLARE
    v_slot_ms bigint;
    v_length_ms bigint;
    v_left bigint := p_change;
    s record;
BEGIN
    SELECT c.slot_ms, c.length_ms INTO v_slot_ms, v_length_ms FROM counters c WHERE c.id = p_counter;
    IF p_at < (p_now - v_length_ms) / v_slot_ms * v_slot_ms THEN
        v_left := 0;
    ELSIF p_change > 0 THEN
        INSERT INTO slots VALUES (p_counter, p_at / v_slot_ms * v_slot_ms, 0) ON CONFLICT DO NOTHING;
    END IF;
    FOR s IN
        SELECT * FROM slots WHERE counter = p_counter AND slot_ms >= p_at / v_slot_ms * v_slot_ms ORDER BY slot_ms
    LOOP
        EXIT WHEN v_left = 0;
        UPDATE slots SET amount = s.amount + greatest(v_left, -s.amount)
            WHERE counter = p_counter AND slot_ms = s.slot_ms;
        v_left := v_left - greatest(v_left, -s.amount);
    END LOOP;
    DELETE FROM slots WHERE counter = p_counter AND amount = 0;
    UPDATE counters c
        SET ends_ms = (SELECT min(l.slot_ms) FROM slots l WHERE l.counter = c.id) + c.slot_ms + c.length_ms
        WHERE c.id = p_counter;
    RETURN (SELECT coalesce(sum(l.amount), 0) FROM slots l WHERE l.counter = p_counter);
END $$;

-- An expired hold is open again, for a moment: it is about to be settled at what it really cost, as of when it expired.
CREATE FUNCTION reopen(p_hold holds) RETURNS void LANGUAGE plpgsql SET search_path = ringfence, pg_temp AS $$
BEGIN
    UPDATE holds SET state = 'open', folded = false
        WHERE id = p_hold.id AND state = 'expired' AND folded = p_hold.folded;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'hold % is being folded', p_hold.id USING ERRCODE = 'serialization_failure';
    END IF;
    IF p_hold.folded THEN
        UPDATE usage u SET cost = u.cost - p_hold.cost, requests = u.requests - p_hold.requests,
                output_tokens = u.output_tokens - p_hold.output_tokens,
                total_tokens = u.total_tokens - p_hold.total_tokens
            WHERE u.account = ANY (p_hold.accounts) AND u.quarter_ms = p_hold.ended_ms / 900000 * 900000
            AND u.model = p_hold.model AND u.backend = p_hold.backend;
    END IF;
END $$;

-- Everything that one process has to say, in one transaction: first the ends, then what is to be held, one by one in
-- order, against sums that are kept here and written once. Nothing is written unless status is 'done':
--   fenced   another generation commits for this owner
--   stale    other limits hold than the caller planned with
--   unknown  an account has other series than the caller planned with; `counters` and `known` are what there is
-- Ends (e_*) of p_end_*: places are positions in p_counters, those of end n follow those of end n - 1 up to last[n].
-- Holds (o_*): 'reserve', 'replay' (not guarded) or 'extend'. Amounts are five for each, in the order of Amounts.
CREATE FUNCTION commit_batch(
    p_owner integer, p_generation bigint, p_version bigint, p_now bigint,
    p_spans text[], p_starts bigint[], p_ends bigint[],
    p_counters bigint[], p_known integer[],
    e_id text[], e_kind text[], e_spent bigint[], e_backend text[], e_at bigint[],
    e_last integer[], e_place integer[], e_counts boolean[],
    o_id text[], o_kind text[], o_accounts text[], o_model text[], o_backends text[],
    o_worst bigint[], o_expected bigint[], o_strict boolean[], o_deadline bigint[],
    o_last integer[], o_place integer[],
    g_last integer[], g_place integer[], g_max bigint[], g_strict boolean[],
    OUT status text, OUT counters bigint[], OUT known integer[],
    OUT used bigint[], OUT worst bigint[], OUT expected bigint[], OUT ends bigint[],
    OUT ended text[], OUT charges bigint[], OUT fits boolean[]
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET jit = off AS $$
#variable_conflict use_variable
DECLARE
    v_meter integer[];
    v_starts bigint[];
    v_length bigint[];
    v_since bigint[];
    v_worst bigint[];
    v_expected bigint[];
    v_open integer[];
    v_added bigint[];
    v_hold ringfence.holds;
    v_charge bigint[];
    v_old_worst bigint[];
    v_old_expected bigint[];
    v_fits boolean;
    v_change bigint;
    v_moment bigint; -- no earlier than what was counted last, so that it is in the window that it counts for
    v_base integer;
    p integer;
    m integer;
    n integer;
    r record;
BEGIN
    PERFORM pg_advisory_xact_lock(21062, p_owner);
    PERFORM pg_advisory_xact_lock_shared(21063, 1);
    status := CASE
        WHEN (SELECT o.generation FROM ringfence.owners o WHERE o.number = p_owner) IS DISTINCT FROM p_generation
            THEN 'fenced'
        WHEN (SELECT l.version FROM ringfence.limits_version l) <> p_version THEN 'stale'
    END;
    IF status IS NOT NULL THEN
        RETURN;
    END IF;
    FOR n IN 1..2 LOOP
        SELECT coalesce(array_agg(c.id), '{}'), coalesce(array_agg(c.series), '{}'), array_agg(c.meter),
                array_agg(c.starts_ms), array_agg(c.ends_ms), array_agg(c.length_ms), array_agg(c.since_ms),
                array_agg(c.used), array_agg(c.worst), array_agg(c.expected), array_agg(c.open_holds),
                greatest(p_now, max(c.touched_ms))
            INTO counters, known, v_meter,
                v_starts, ends, v_length, v_since,
                used, v_worst, v_expected, v_open, v_moment
            FROM (SELECT * FROM ringfence.counters c WHERE c.id = ANY (p_counters) ORDER BY c.id FOR UPDATE) c;
        IF counters IS DISTINCT FROM p_counters OR known IS DISTINCT FROM p_known THEN
            status := 'unknown';
            RETURN;
        END IF;
        EXIT WHEN n = 2 OR NOT p_now >= ANY (SELECT e FROM unnest(ends) e WHERE e IS NOT NULL);
        PERFORM ringfence.roll_counters(p_counters, p_now, p_spans, p_starts, p_ends);
    END LOOP;

    v_added := array_fill(0::bigint, ARRAY[cardinality(counters)]);
    charges := array_fill(0::bigint, ARRAY[5 * cardinality(e_id)]);
    ended := array_fill('gone'::text, ARRAY[cardinality(e_id)]);
    FOR r IN
        SELECT e.n, h AS hold
            FROM unnest(e_id) WITH ORDINALITY e(id, n) JOIN ringfence.holds h ON h.id = e.id ORDER BY e.n
    LOOP
        n := r.n;
        v_hold := r.hold;
        v_base := 5 * (n - 1);
        IF v_hold.state = 'expired' AND e_kind[n] = 'settle' THEN
            v_charge := ARRAY[v_hold.cost, v_hold.requests, v_hold.output_tokens, v_hold.total_tokens, 0];
            FOR i IN coalesce(e_last[n - 1], 0) + 1..e_last[n] LOOP
                p := e_place[i];
                m := v_meter[p];
                v_change := CASE WHEN e_counts[i] THEN e_spent[v_base + m] ELSE 0 END - v_charge[m];
                IF v_hold.ended_ms < greatest(v_since[p], v_starts[p]) OR v_change = 0 THEN
                    CONTINUE; -- counted in a window that is past
                ELSIF v_length[p] IS NULL THEN
                    used[p] := greatest(0, used[p] + v_change);
                ELSE
                    used[p] := ringfence.correct_slots(counters[p], p_now, v_hold.ended_ms, v_change) + v_added[p];
                END IF;
            END LOOP;
            PERFORM ringfence.reopen(v_hold);
            charges[v_base + 1:v_base + 5] := v_charge;
            ended[n] := 'correct';
        ELSIF v_hold.state = 'expired' AND e_kind[n] = 'expire' THEN
            charges[v_base + 1:v_base + 5] :=
                ARRAY[v_hold.cost, v_hold.requests, v_hold.output_tokens, v_hold.total_tokens, 0];
            ended[n] := 'expired';
        ELSIF v_hold.state = 'open' THEN
            v_charge := CASE WHEN v_hold.is_strict THEN v_hold.worst ELSE v_hold.expected END;
            v_charge[5] := 0;
            FOR i IN coalesce(e_last[n - 1], 0) + 1..e_last[n] LOOP
                p := e_place[i];
                m := v_meter[p];
                v_worst[p] := v_worst[p] - v_hold.worst[m];
                v_expected[p] := v_expected[p] - v_hold.expected[m];
                v_open[p] := v_open[p] - 1;
                v_change := CASE e_kind[n]
                    WHEN 'settle' THEN CASE WHEN e_counts[i] THEN e_spent[v_base + m] ELSE 0 END
                    WHEN 'expire' THEN v_charge[m]
                    ELSE 0
                END;
                used[p] := used[p] + v_change;
                v_added[p] := v_added[p] + v_change;
            END LOOP;
            charges[v_base + 1:v_base + 5] := v_charge;
            ended[n] := e_kind[n];
        END IF;
    END LOOP;
    IF cardinality(e_id) > 0 THEN
        UPDATE ringfence.holds h SET
                state = CASE e.kind WHEN 'settle' THEN 'settled' ELSE 'expired' END,
                cost = CASE e.kind WHEN 'settle' THEN e_spent[5 * e.n - 4] ELSE charges[5 * e.n - 4] END,
                requests = CASE e.kind WHEN 'settle' THEN e_spent[5 * e.n - 3] ELSE charges[5 * e.n - 3] END,
                output_tokens = CASE e.kind WHEN 'settle' THEN e_spent[5 * e.n - 2] ELSE charges[5 * e.n - 2] END,
                total_tokens = CASE e.kind WHEN 'settle' THEN e_spent[5 * e.n - 1] ELSE charges[5 * e.n - 1] END,
                backend = CASE e.kind WHEN 'settle' THEN e.backend ELSE array_to_string(h.backends, ',') END,
                ended_ms = coalesce(h.ended_ms, CASE e.kind WHEN 'expire' THEN greatest(e.at, v_moment) ELSE e.at END)
            FROM unnest(e_id, e_kind, e_backend, e_at) WITH ORDINALITY e(id, kind, backend, at, n)
            WHERE h.id = e.id AND h.state = 'open' AND e.kind <> 'release';
        DELETE FROM ringfence.holds h USING unnest(e_id, e_kind) e(id, kind)
            WHERE h.id = e.id AND h.state = 'open' AND e.kind = 'release';
    END IF;

    worst := v_worst;
    expected := v_expected;
    fits := array_fill(NULL::boolean, ARRAY[cardinality(o_id)]);
    FOR r IN
        SELECT o.n, h.state, h.worst, h.expected
            FROM unnest(o_id) WITH ORDINALITY o(id, n) LEFT JOIN ringfence.holds h ON h.id = o.id ORDER BY o.n
    LOOP
        n := r.n;
        CONTINUE WHEN CASE o_kind[n] WHEN 'extend' THEN r.state IS DISTINCT FROM 'open' ELSE r.state IS NOT NULL END;
        v_base := 5 * (n - 1);
        v_old_worst := coalesce(r.worst, '{0,0,0,0,0}');
        v_old_expected := coalesce(r.expected, '{0,0,0,0,0}');
        v_fits := true;
        FOR i IN coalesce(g_last[n - 1], 0) + 1..g_last[n] LOOP
            p := g_place[i];
            m := v_meter[p];
            IF g_strict[i] THEN
                v_change := o_worst[v_base + m] - v_old_worst[m];
                v_fits := used[p] + v_worst[p] + v_change <= g_max[i];
            ELSE
                v_change := o_expected[v_base + m] - v_old_expected[m];
                v_fits := used[p] + v_expected[p] + v_change <= g_max[i];
            END IF;
            v_fits := v_fits OR o_kind[n] = 'extend' AND v_change <= 0;
            EXIT WHEN NOT v_fits;
        END LOOP;
        fits[n] := v_fits;
        CONTINUE WHEN NOT v_fits;
        FOR i IN coalesce(o_last[n - 1], 0) + 1..o_last[n] LOOP
            p := o_place[i];
            m := v_meter[p];
            v_worst[p] := v_worst[p] + o_worst[v_base + m] - v_old_worst[m];
            v_expected[p] := v_expected[p] + o_expected[v_base + m] - v_old_expected[m];
            IF o_kind[n] <> 'extend' THEN
                v_open[p] := v_open[p] + 1;
            END IF;
        END LOOP;
    END LOOP;
    INSERT INTO ringfence.holds
        (id, owner, accounts, model, backends, worst, expected, is_strict, deadline_ms, replayed)
        SELECT o.id, p_owner, o.accounts::text[], o.model, o.backends::text[],
                o_worst[5 * o.n - 4:5 * o.n], o_expected[5 * o.n - 4:5 * o.n], o.is_strict, o.deadline_ms,
                o.kind = 'replay'
            FROM unnest(o_id, o_kind, o_accounts, o_model, o_backends, o_strict, o_deadline, fits)
                WITH ORDINALITY o(id, kind, accounts, model, backends, is_strict, deadline_ms, fits, n)
            WHERE o.fits AND o.kind <> 'extend';
    IF 'extend' = ANY (o_kind) THEN
        UPDATE ringfence.holds h SET worst = o_worst[5 * o.n - 4:5 * o.n], expected = o_expected[5 * o.n - 4:5 * o.n]
            FROM unnest(o_id, o_kind, fits) WITH ORDINALITY o(id, kind, fits, n)
            WHERE h.id = o.id AND o.fits AND o.kind = 'extend';
    END IF;

    IF EXISTS (
        SELECT FROM unnest(v_length, v_added) s(length_ms, added) WHERE s.length_ms IS NOT NULL AND s.added <> 0
    ) THEN
        INSERT INTO ringfence.slots AS s
            SELECT c.id, greatest(p_now, c.touched_ms) / c.slot_ms * c.slot_ms, a.added
                FROM unnest(counters, v_added) a(id, added) JOIN ringfence.counters c ON c.id = a.id
                WHERE c.length_ms IS NOT NULL AND a.added <> 0
            ON CONFLICT (counter, slot_ms) DO UPDATE SET amount = s.amount + excluded.amount;
    END IF;
    UPDATE ringfence.counters c SET used = v.used, worst = v.worst, expected = v.expected, open_holds = v.open_holds,
            touched_ms = greatest(c.touched_ms, p_now),
            ends_ms = CASE WHEN c.length_ms IS NULL OR c.ends_ms IS NOT NULL OR v.added = 0 THEN c.ends_ms
                ELSE greatest(p_now, c.touched_ms) / c.slot_ms * c.slot_ms + c.slot_ms + c.length_ms END
        FROM unnest(counters, used, v_worst, v_expected, v_open, v_added)
            v(id, used, worst, expected, open_holds, added)
        WHERE c.id = v.id;
    status := 'done';
END $$;
