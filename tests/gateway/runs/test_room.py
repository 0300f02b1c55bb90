"""When a run that a limit paused may go on: told by the limits themselves."""

from collections.abc import Sequence

import pytest

from gateway.core.money.accounts import accounts_of
from gateway.core.money.budgets import Hold, LimitView
from gateway.core.money.limits import Amounts, LimitRow, Limits
from gateway.errors import Reason, Refused
from gateway.runs.room import Room
from gateway.stores.memory import MemoryStore
from tests.gateway.runs.gated import ALICE, RUN, SESSION
from tests.support.clock import FakeClock

USD = 1_000_000_000
HOUR = 3_600


class AwayStore(MemoryStore):
    """Cannot be asked."""

    async def standing(self, accounts: Sequence[str], now_ms: int) -> list[LimitView]:
        raise Refused(Reason.STORE_UNAVAILABLE, "the store is away")


async def spent(clock: FakeClock, *rows: LimitRow, usd: int = 8, held_usd: int = 0) -> MemoryStore:
    """What alice's run has spent, and holds, under these limits."""
    store = MemoryStore(Limits(rows), clock.unix_ms())
    accounts = accounts_of(ALICE, SESSION, agent="a1", run=RUN)
    for id, amount in (("spent", usd), ("held", held_usd)):
        cost = Amounts(cost=amount * USD)
        hold = Hold(id, accounts, "m", ("anthropic",), cost, cost, clock.unix_ms(), clock.unix_ms() + HOUR * 1000)
        await store.reserve(hold)
    store.settle("spent", Amounts(cost=usd * USD), "anthropic", clock.unix_ms())
    if not held_usd:
        store.release("held")
    return store


def cap(usd: int, account: str = "run", **fields: object) -> LimitRow:
    return LimitRow("org", usd * USD, per=account, **fields)  # type: ignore[arg-type]


async def test_w118_run_at_its_cap_has_no_room_and_one_whose_cap_was_raised_has() -> None:
    clock = FakeClock()
    full = Room(await spent(clock, cap(8)), clock)
    since = await full.left(ALICE, SESSION, RUN)
    assert [left for left, _ in since.values()] == [0]
    assert not await full.has_room(ALICE, SESSION, RUN, since=since)
    raised = Room(await spent(clock, cap(9)), clock)
    assert await raised.has_room(ALICE, SESSION, RUN, since=since)


async def test_w118_cap_that_was_removed_leaves_room() -> None:
    clock = FakeClock()
    since = await Room(await spent(clock, cap(8)), clock).left(ALICE, SESSION, RUN)
    assert await Room(await spent(clock), clock).has_room(ALICE, SESSION, RUN, since=since)


async def test_w118_refusal_where_no_limit_stood_leaves_nobody_to_tell_of_room() -> None:
    clock = FakeClock()
    room = Room(await spent(clock), clock)
    since = await room.left(ALICE, SESSION, RUN)
    assert since == {} and not await room.has_room(ALICE, SESSION, RUN, since=since)


async def test_w118_little_that_was_left_already_is_no_room() -> None:
    clock = FakeClock()
    room = Room(await spent(clock, cap(10), cap(1000, "user")), clock)
    since = await room.left(ALICE, SESSION, RUN)
    assert sorted(left // USD for left, _ in since.values()) == [2, 992]
    assert not await room.has_room(ALICE, SESSION, RUN, since=since)


async def test_w118_holds_of_its_own_agents_that_end_leave_room() -> None:
    clock = FakeClock()
    store = await spent(clock, cap(10), held_usd=2)
    room = Room(store, clock)
    since = await room.left(ALICE, SESSION, RUN)
    store.release("held")
    assert await room.has_room(ALICE, SESSION, RUN, since=since)


async def test_w118_window_that_begins_anew_leaves_room() -> None:
    clock = FakeClock()
    room = Room(await spent(clock, cap(8, "user", window="hourly")), clock)
    since = await room.left(ALICE, SESSION, RUN)
    assert not await room.has_room(ALICE, SESSION, RUN, since=since)
    clock.advance(HOUR)
    assert await room.has_room(ALICE, SESSION, RUN, since=since)


async def test_limit_that_only_warns_and_other_runs_caps_are_not_looked_at() -> None:
    clock = FakeClock()
    room = Room(await spent(clock, cap(1, on_reach="warn"), LimitRow("run:wf_other", USD)), clock)
    assert await room.left(ALICE, SESSION, RUN) == {}


async def test_store_that_is_away_is_no_room() -> None:
    clock = FakeClock()
    room = Room(AwayStore(Limits()), clock)
    assert not await room.has_room(ALICE, SESSION, RUN, since={})
    with pytest.raises(Refused):
        await room.left(ALICE, SESSION, RUN)
