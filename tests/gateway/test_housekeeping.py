"""Chores that go on whatever fails, and what they take over from other gateways."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.core.money.budgets import Expired
from gateway.core.money.limits import Amounts
from gateway.housekeeping import Chore, House, keep_doing, record_expired
from gateway.ports import SharedRecord
from tests.support.clock import FakeClock


async def until_done(name: str, work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Do a chore until its work says that it is done."""
    done = asyncio.Event()
    task = asyncio.ensure_future(keep_doing(Chore(name, 0.0, lambda: work(done))))
    await done.wait()
    task.cancel()


async def test_a_chore_that_fails_once_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    turns: list[int] = []

    async def work(done: asyncio.Event) -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            raise OSError("the disk is full")
        done.set()

    await until_done("expiring holds", work)
    assert turns == [0, 1]
    assert caplog.messages == ["expiring holds failed (the disk is full); it is tried again"]


class Told:
    """An audit trail, telemetry, an authenticator and a store in one."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, int]] = []
        self.counted = 0
        self.learnt: list[object] = []
        self.asked_about: list[str] = []

    async def refresh(self) -> list[str]:
        return ["credential bob shares its secret with alice"]

    async def expire(self, now_ms: int) -> list[Expired]:
        return [Expired("dec_1", ("org",), "m", "b", Amounts(7))]

    def expired(self, expired: Expired, at_ms: int) -> None:
        self.recorded.append((expired.id, at_ms))

    def hold_expired(self, count: int) -> None:
        self.counted += count

    async def changed_records(self) -> list[SharedRecord]:
        return [SharedRecord("control", "org", b"{}")]

    def learn(self, records: list[SharedRecord]) -> None:
        self.learnt += records

    async def used_elsewhere(self, sessions: list[str]) -> list[str]:
        self.asked_about += sessions
        return ["record"]

    def lately_used(self, now_ms: int) -> list[str]:
        return ["s"]

    def learn_elsewhere(self, records: list[str]) -> None:
        self.learnt += records

    @property
    def controls(self) -> "Told":
        return self

    async def keep(self) -> None:
        self.learnt.append("kept")

    @property
    def approvals(self) -> "Told":
        return self

    async def tidy(self) -> None:
        self.learnt.append("tidied")


async def test_each_chore_does_its_own_work(caplog: pytest.LogCaptureFixture) -> None:
    told, clock = Told(), FakeClock()
    house = House(told, told, clock)  # type: ignore[arg-type]
    for chore in house.chores(told, told, told, told):  # type: ignore[arg-type]
        await chore.work()
    assert told.learnt == [SharedRecord("control", "org", b"{}"), "record", "kept", "tidied"]
    assert (told.asked_about, told.recorded, told.counted) == (["s"], [("dec_1", clock.now_ms)], 1)
    assert caplog.messages[0] == "credentials: credential bob shares its secret with alice"


def test_holds_that_nobody_ended_are_recorded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    told, clock = Told(), FakeClock()
    record_expired([Expired("dec_1", ("org",), "m", "b", Amounts(7))], told, told, clock)  # type: ignore[arg-type]
    assert told.recorded == [("dec_1", clock.now_ms)]
    assert "dec_1 was never settled" in caplog.text
