"""Group commit: who waits is told the truth, and what nobody waited for is tried again."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import Refused
from gateway.stores.database import connect
from gateway.stores.group import GroupCommit
from gateway.stores.kept import Kept, read_records
from gateway.stores.writer import QUICK_ROWS_MAX
from tests.support.postgres import until


@pytest.fixture
async def group(tmp_path: Path) -> AsyncGenerator[GroupCommit]:
    released: list[str] = []
    group = GroupCommit(tmp_path / "l.db", released.append)
    yield group
    await group.close()


def records(group: GroupCommit) -> list[str]:
    with closing(connect(group.path)) as other:
        return [record.id for record in read_records(other)]


async def test_what_is_queued_is_on_disk_when_the_commit_returns_or_a_moment_later(group: GroupCommit) -> None:
    group.pending.kept.records["fuse", "a"] = b"1"
    await group.commit()
    assert records(group) == ["a"]
    group.pending.kept.records["fuse", "b"] = b"1"
    group.schedule(soon=False)
    await until(lambda: records(group) == ["a", "b"])


async def test_large_batch_is_neither_pending_nor_idle_until_it_is_written(group: GroupCommit) -> None:
    group.pending.kept = Kept(records={("fuse", str(number)): b"1" for number in range(QUICK_ROWS_MAX + 1)})
    flushing = asyncio.ensure_future(group.flush())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert group.busy and not group.pending
    await group.idle()
    assert len(records(group)) == QUICK_ROWS_MAX + 1
    await flushing


async def test_commit_that_fails_is_told_and_what_it_held_is_written_later(group: GroupCommit) -> None:
    with closing(sqlite3.connect(group.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        group.pending.kept.records["fuse", "a"] = b"1"
        with pytest.raises(Refused):
            await group.commit()
        assert group.problem is not None and "locked" in group.problem
        other.execute("ROLLBACK")
    await until(lambda: records(group) == ["a"])
    assert group.problem is None
