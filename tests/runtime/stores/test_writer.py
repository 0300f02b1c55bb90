"""Group commit: what waits is committed together, and nobody pays for another one's mistake."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from runtime.ports import LeaseLost, StoreAway
from runtime.stores.database import connect, open_file
from runtime.stores.writer import Refusal, Writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "l-runs.db"
    open_file(path).close()
    return path


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    writer = Writer(path)
    yield writer
    writer.close()


def insert(connection: sqlite3.Connection, text: str) -> str:
    connection.execute("INSERT INTO lines VALUES ('wf_aaaaaa', ?, ?)", (int(text), text.encode()))
    return text


def kept(path: Path) -> list[int]:
    connection = connect(path)
    try:
        return [number for (number,) in connection.execute("SELECT number FROM lines ORDER BY number")]
    finally:
        connection.close()


class Held:
    """Keeps the writer busy until `let_go`, so that what comes meanwhile is one batch."""

    def __init__(self) -> None:
        self._begun = Event()
        self._event = Event()
        self.said: list[str] = []

    async def begin(self, writer: Writer) -> "Held":
        self.task = asyncio.ensure_future(writer.write(self._wait))
        await asyncio.to_thread(self._begun.wait, 10)
        return self

    def let_go(self) -> None:
        self._event.set()

    def _wait(self, connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(self.said.append)
        self._begun.set()
        self._event.wait(10)


async def test_what_waits_is_committed_at_once(writer: Writer, path: Path) -> None:
    held = await Held().begin(writer)
    waiting = [asyncio.ensure_future(writer.write(lambda c, n=n: insert(c, str(n)))) for n in range(100)]
    await asyncio.sleep(0)
    held.let_go()
    assert await asyncio.gather(*waiting) == [str(number) for number in range(100)]
    assert held.said.count("COMMIT") == 2
    assert kept(path) == list(range(100))


async def test_job_that_refuses_is_told_and_the_others_are_committed(writer: Writer, path: Path) -> None:
    def refuse(connection: sqlite3.Connection) -> None:
        raise Refusal(LeaseLost("wf_aaaaaa"))

    held = await Held().begin(writer)
    waiting = [asyncio.ensure_future(writer.write(job)) for job in (lambda c: insert(c, "1"), refuse)]
    await asyncio.sleep(0)
    held.let_go()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert told[0] == "1" and isinstance(told[1], LeaseLost)
    assert (held.said.count("COMMIT"), kept(path)) == (2, [1])


async def test_job_that_fails_half_way_leaves_nothing_and_hurts_nobody(writer: Writer, path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        insert(connection, "7")
        raise ZeroDivisionError

    held = await Held().begin(writer)
    jobs = (lambda c: insert(c, "1"), fail, lambda c: insert(c, "2"), lambda c: insert(c, "1"))
    waiting = [asyncio.ensure_future(writer.write(job)) for job in jobs]
    await asyncio.sleep(0)
    held.let_go()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in told] == [str, ZeroDivisionError, str, sqlite3.IntegrityError]
    assert kept(path) == [1, 2]


async def test_job_whose_caller_has_left_is_committed_all_the_same(writer: Writer, path: Path) -> None:
    held = await Held().begin(writer)
    leaving = asyncio.ensure_future(writer.write(lambda c: insert(c, "1")))
    await asyncio.sleep(0)
    leaving.cancel()
    held.let_go()
    assert await writer.write(lambda c: insert(c, "2")) == "2"
    assert kept(path) == [1, 2]


async def test_file_that_somebody_keeps_locked_is_away_until_they_let_go(writer: Writer, path: Path) -> None:
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreAway, match=r"l-runs\.db was locked by another process"):
        await writer.write(lambda c: insert(c, "1"))
    other.execute("ROLLBACK")
    other.close()
    assert await writer.write(lambda c: insert(c, "1")) == "1"
    assert kept(path) == [1]


async def test_closing_commits_what_waits_and_takes_nothing_more(path: Path) -> None:
    writer = Writer(path)
    waiting = [asyncio.ensure_future(writer.write(lambda c, n=n: insert(c, str(n)))) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.to_thread(writer.close)
    assert len(await asyncio.gather(*waiting)) == 20 and kept(path) == list(range(20))
    with pytest.raises(StoreAway, match="is closed"):
        await writer.write(lambda c: insert(c, "99"))
    writer.close()
