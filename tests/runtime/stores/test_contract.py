"""What every store of runs does alike: journals, rows, events, blobs, answers, consents, scripts, forgetting."""

import asyncio
from hashlib import sha256
from inspect import signature

import msgspec
import pytest

from runtime.core.model import RunId
from runtime.ports import Entry, LeaseLost, RunExists, RunStore
from runtime.stores import MemoryRunStore, SqliteRunStore
from runtime.stores.postgres import PostgresRunStore
from tests.runtime.stores.homes import NOW, RUN, Home, begin, entry_of, event, run_row, texts

BIG = b"x" * 300_000
BIG_SHA = sha256(BIG).hexdigest()
STORES: tuple[type[RunStore], ...] = (MemoryRunStore, SqliteRunStore, PostgresRunStore)


@pytest.mark.parametrize("kind", STORES, ids=lambda kind: kind.__name__)
def test_store_of_any_kind_is_asked_alike(kind: type[RunStore]) -> None:
    methods = [name for name in vars(RunStore) if not name.startswith("_")]
    assert len(methods) > 20
    for name in methods:
        assert signature(getattr(kind, name)) == signature(getattr(RunStore, name)), name


async def test_w148_lines_of_many_appends_are_numbered_in_their_order(store: RunStore) -> None:
    lease = await begin(store, run_row(), "a", "b")
    await store.append(lease, entry_of("c"))
    await store.append(lease, entry_of())
    await store.append(lease, entry_of("d", "e"))
    assert await texts(store) == ["a", "b", "c", "d", "e"]


async def test_w148_appends_that_come_at_once_keep_the_order_of_each_run(store: RunStore) -> None:
    runs = [RunId(f"wf_many{number:02}") for number in range(20)]
    leases = [await begin(store, run_row(run), "0") for run in runs]
    await asyncio.gather(*(store.append(lease, entry_of(str(each))) for each in range(1, 30) for lease in leases))
    for run in runs:
        assert await texts(store, run) == [str(each) for each in range(30)]


async def test_w148_line_of_any_bytes_comes_back_as_it_was(store: RunStore) -> None:
    lease = await begin(store)
    line = '{"text":"\\u0000 ünïcode \U0001f600"}'.encode() + b"\x00\xff"
    await store.append(lease, Entry(lines=(line, b"")))
    assert await store.lines(RUN) == [(1, line), (2, b"")]


async def test_w149_value_beside_the_journal_is_found_by_its_hash(store: RunStore) -> None:
    lease = await begin(store)
    await store.append(lease, Entry(lines=(b"{}",), blobs=((BIG_SHA, BIG),)))
    await store.append(lease, Entry(blobs=((BIG_SHA, BIG),)))
    assert await store.blob(BIG_SHA) == BIG
    assert await store.blob("0" * 64) is None


async def test_w151_result_is_read_by_others_once_its_append_returned(home: Home) -> None:
    writer, reader = await home.open(), await home.open()
    lease = await begin(writer, run_row(), "issued")
    await writer.append(lease, entry_of("result"))
    assert await texts(reader) == ["issued", "result"]


async def test_long_journal_comes_in_pages_that_make_the_whole(store: RunStore) -> None:
    lease = await begin(store)
    lines = [f'{{"type":"log","text":"{number}"}}' for number in range(100_000)]
    for start in range(0, len(lines), 10_000):
        await store.append(lease, entry_of(*lines[start : start + 10_000]))
    paged: list[bytes] = []
    while page := await store.lines(RUN, after=len(paged), most=7_001):
        assert page[0][0] == len(paged) + 1
        paged += [line for _, line in page]
    assert paged == [line.encode() for line in lines]


async def test_events_are_read_after_a_number_and_by_type(store: RunStore) -> None:
    lease = await begin(store)
    kinds = ("started", "log", "log", "settled")
    await store.append(lease, Entry(events=[event(seq, kind) for seq, kind in enumerate(kinds, 1)]))
    assert await store.events(RUN, after=1, types=(), most=2) == [event(2, "log"), event(3, "log")]
    some = await store.events(RUN, after=0, types=("started", "settled"), most=9)
    assert [each.seq for each in some] == [1, 4]
    assert await store.events(RunId("wf_unknown"), after=0, types=(), most=9) == []


async def test_event_whose_number_is_taken_changes_nothing(store: RunStore) -> None:
    lease = await begin(store)
    await store.append(lease, Entry(events=[event(1, "started")]))
    await store.append(lease, Entry(events=[event(1, "log"), event(2, "log")]))
    assert await store.events(RUN, after=0, types=(), most=9) == [event(1, "started"), event(2, "log")]


async def test_row_is_that_of_the_last_append_that_brought_one(store: RunStore) -> None:
    lease = await begin(store)
    paused = msgspec.structs.replace(run_row(), state="paused", updated_ms=NOW + 5, record=msgspec.Raw(b'{"n": 1}'))
    await store.append(lease, Entry(row=paused))
    await store.append(lease, entry_of("x"))
    assert await store.find(RUN) == paused
    assert await store.find(RunId("wf_unknown")) is None


async def test_row_given_with_the_first_entry_is_not_used(store: RunStore) -> None:
    other = run_row(state="failed")
    await store.create(run_row(), Entry(row=other), owner="p1", idempotency=None, now_ms=NOW)
    assert await store.find(RUN) == run_row()


async def test_rows_come_newest_first_page_by_page(store: RunStore) -> None:
    for number in range(5):
        await begin(store, run_row(f"wf_page0{number}", at_ms=NOW + number // 2))
    seen: list[str] = []
    before: RunId | None = None
    while page := await store.rows(user=None, session=None, states=(), before=before, most=2):
        seen += [row.id for row in page]
        before = page[-1].id
    assert seen == [f"wf_page0{number}" for number in (4, 3, 2, 1, 0)]
    assert await store.rows(user=None, session=None, states=(), before=RunId("wf_unknown"), most=2) == []


async def test_rows_are_those_of_a_user_a_session_and_states(store: RunStore) -> None:
    for number, (user, session) in enumerate((("alice", "s1"), ("alice", "s2"), ("bob", "s1"))):
        await begin(store, run_row(f"wf_of000{number}", user=user, session=session, at_ms=NOW + number))
    await begin(store, run_row("wf_of0003", state="completed", at_ms=NOW + 3))

    async def ids(user: str | None, session: str | None, *states: str) -> list[str]:
        rows = await store.rows(user=user, session=session, states=states, before=None, most=9)  # type: ignore[arg-type]
        return [row.id[-1] for row in rows]

    assert await ids("alice", None) == ["3", "1", "0"]
    assert await ids("alice", "s1", "running", "paused") == ["0"]
    assert await ids(None, "s1") == ["3", "2", "0"]
    assert await store.open_runs("s1", "alice") == 1


async def test_w143_completed_runs_of_a_name_are_its_owners_and_come_newest_first(store: RunStore) -> None:
    for number, (user, name) in enumerate(
        (("alice", "audit"), ("alice", "other"), ("bob", "audit"), ("alice", "audit"))
    ):
        row = run_row(f"wf_named{number}", user=user, state="completed", at_ms=NOW + number)
        await begin(store, msgspec.structs.replace(row, name=name))
    for number, state in enumerate(("running", "failed", "stopped"), 4):
        row = run_row(f"wf_named{number}", state=state, at_ms=NOW + number)  # type: ignore[arg-type]
        await begin(store, msgspec.structs.replace(row, name="audit"))

    async def ids(user: str, name: str, most: int) -> list[str]:
        return [row.id[-1] for row in await store.completed(user, name, most=most)]

    assert await ids("alice", "audit", 9) == ["3", "0"]
    assert await ids("alice", "audit", 1) == ["3"]
    assert await ids("alice", "missing", 9) == []


async def test_run_that_completes_later_is_found_by_its_name(store: RunStore) -> None:
    lease = await begin(store)
    assert await store.completed("alice", "check", most=9) == []
    await store.append(lease, Entry(row=run_row(state="completed")))
    assert [row.id for row in await store.completed("alice", "check", most=9)] == [RUN]


async def test_same_start_again_gives_the_run_that_it_started(store: RunStore) -> None:
    await store.create(run_row(), entry_of("run"), owner="p1", idempotency="key", now_ms=NOW)
    again = run_row("wf_bbbbbb")
    with pytest.raises(RunExists) as known:
        await store.create(again, entry_of("run"), owner="p1", idempotency="key", now_ms=NOW)
    assert known.value.run == RUN
    assert await store.find(again.id) is None and await store.lines(again.id) == []


async def test_key_of_another_user_starts_a_run_of_its_own(store: RunStore) -> None:
    await store.create(run_row(), Entry(), owner="p1", idempotency="key", now_ms=NOW)
    other = run_row("wf_bbbbbb", user="bob")
    await store.create(other, Entry(), owner="p1", idempotency="key", now_ms=NOW)
    assert await store.find(other.id) == other


async def test_starts_with_one_key_at_once_make_one_run(home: Home) -> None:
    stores = [await home.open() for _ in range(3)]
    asked = [
        store.create(run_row(f"wf_race{number}{at}"), entry_of("x"), owner=f"p{at}", idempotency="key", now_ms=NOW)
        for number in range(4)
        for at, store in enumerate(stores)
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    rows = await stores[0].rows(user=None, session=None, states=(), before=None, most=99)
    assert len(rows) == 1 and sum(isinstance(each, RunExists) for each in answers) == 11
    assert {each.run for each in answers if isinstance(each, RunExists)} == {rows[0].id}


async def test_same_run_created_again_by_its_owner_is_answered_alike(store: RunStore) -> None:
    lease = await begin(store, run_row(), "run")
    assert await begin(store, run_row(), "run") == lease
    assert await texts(store) == ["run"]
    with pytest.raises(RunExists):
        await begin(store, run_row(), "run", owner="p2")


async def test_w138_run_of_a_key_is_found_for_its_user_alone(store: RunStore) -> None:
    await store.create(run_row(), entry_of(), owner="p1", idempotency="k-1", now_ms=NOW)
    assert await store.started("alice", "k-1") == RUN
    assert [await store.started(*other) for other in (("bob", "k-1"), ("alice", "k-2"))] == [None, None]


async def test_w138_first_outcome_of_a_control_is_the_one_that_is_kept(store: RunStore) -> None:
    await begin(store)
    assert await store.outcome(RUN, "pause-1") is None
    assert await store.remember_outcome(RUN, "pause-1", b"first", NOW) == b"first"
    assert await store.remember_outcome(RUN, "pause-1", b"second", NOW) == b"first"
    assert await store.outcome(RUN, "pause-1") == b"first"
    assert await store.outcome(RunId("wf_other1"), "pause-1") is None


async def test_w138_outcomes_remembered_at_once_are_one(home: Home) -> None:
    stores = [await home.open() for _ in range(2)]
    asked = [stores[n % 2].remember_outcome(RUN, "stop-1", b"%d" % n, NOW) for n in range(10)]
    assert len(set(await asyncio.gather(*asked))) == 1


async def test_w142_consent_holds_for_this_script_in_this_project_alone(store: RunStore) -> None:
    await store.give_consent("/repo", "check", BIG_SHA, by="alice", now_ms=NOW)
    await store.give_consent("/repo", "check", BIG_SHA, by="bob", now_ms=NOW)
    assert await store.consent("/repo", "check", BIG_SHA) == "alice"
    for other in (("/repo", "check", "0" * 64), ("/repo", "other", BIG_SHA), ("/else", "check", BIG_SHA)):
        assert await store.consent(*other) is None


async def test_w164_script_of_a_name_is_replaced_only_when_asked(store: RunStore) -> None:
    assert await store.save_script("alice", "check", "one", replace=False, now_ms=NOW)
    assert await store.save_script("alice", "check", "one", replace=False, now_ms=NOW + 1)
    assert not await store.save_script("alice", "check", "two", replace=False, now_ms=NOW + 2)
    assert await store.saved_script("alice", "check") == "one"
    assert await store.save_script("alice", "check", "two", replace=True, now_ms=NOW + 3)
    assert await store.saved_script("alice", "check") == "two"


async def test_w164_library_lists_its_owners_scripts_by_name(store: RunStore) -> None:
    for owner, name in (("alice", "b"), ("alice", "A"), ("bob", "c"), ("alice", "a")):
        await store.save_script(owner, name, f"{name} of {owner}", replace=False, now_ms=NOW)
    listed = await store.saved_scripts("alice")
    assert [name for name, _, _ in listed] == ["A", "a", "b"]
    assert listed[0] == ("A", sha256(b"A of alice").hexdigest(), NOW)
    assert await store.saved_script("alice", "c") is None


async def end(store: RunStore, run: str, at_ms: int, *entries: Entry) -> None:
    """A run that came and went."""
    lease = await begin(store, run_row(run), "run")
    for entry in entries:
        await store.append(lease, entry)
    ended = msgspec.structs.replace(run_row(run, state="completed"), updated_ms=at_ms)
    await store.append(lease, Entry(lines=(b"ended",), events=[event(1)], row=ended))


async def test_w153_ended_runs_are_kept_until_they_are_old_and_open_ones_for_ever(store: RunStore) -> None:
    for number in range(45):
        await end(store, f"wf_old{number:03}", NOW + 10)
    await end(store, "wf_young1", NOW + 20)
    await begin(store, run_row("wf_open01"), "run")
    assert await store.purge(NOW + 20) == 45
    rows = await store.rows(user=None, session=None, states=(), before=None, most=99)
    assert {row.id for row in rows} == {"wf_young1", "wf_open01"}
    assert await texts(store, RunId("wf_young1")) == ["run", "ended"]
    assert await store.purge(NOW + 20) == 0


async def test_forgotten_run_leaves_nothing_behind(store: RunStore) -> None:
    lease = await store.create(run_row(), entry_of("x"), owner="p1", idempotency="key", now_ms=NOW)
    await store.remember_outcome(RUN, "stop-1", b"stopped", NOW)
    await store.append(lease, Entry(events=[event(1)], row=run_row(state="stopped")))
    assert await store.purge(NOW + 1) == 1
    assert (await store.lines(RUN), await store.events(RUN, after=0, types=(), most=9)) == ([], [])
    assert (await store.outcome(RUN, "stop-1"), await store.find(RUN)) == (None, None)
    with pytest.raises(LeaseLost):
        await store.append(lease, entry_of("late"))
    await store.create(run_row("wf_bbbbbb"), Entry(), owner="p1", idempotency="key", now_ms=NOW)


async def test_blob_goes_with_the_last_run_that_refers_to_it(store: RunStore) -> None:
    blob = (BIG_SHA, BIG)
    copied = b'{"type":"result","ref":"%s","cached":true}' % BIG_SHA.encode()
    await end(store, "wf_first1", NOW, Entry(blobs=(blob,)))
    await end(store, "wf_second", NOW + 10, Entry(lines=(copied,)))
    await store.purge(NOW + 5)
    assert await store.blob(BIG_SHA) == BIG
    await store.purge(NOW + 15)
    assert await store.blob(BIG_SHA) is None
