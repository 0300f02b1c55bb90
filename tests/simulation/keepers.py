"""How a simulation opens, kills and closes each kind of store. A kill leaves what was durable at that moment."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from gateway.core.money.budgets import Expired
from gateway.core.money.limits import Limits
from gateway.ports import Ledger
from gateway.stores.memory import MemoryStore
from gateway.stores.sqlite import SqliteStore


class Store(Ledger, Protocol):
    """A ledger, and how it is kept."""

    async def expire(self, now_ms: int) -> list[Expired]: ...
    async def flush(self) -> None: ...
    async def close(self) -> None: ...


class Keeper(Protocol):
    """One kind of store."""

    can_be_killed: bool
    hears_of_every_end: bool
    """Does its `held_total` leave out what another replica expired?"""

    async def open(self, limits: Limits, now_ms: int) -> tuple[Store, Sequence[Expired]]:
        """The store, and the holds of the dead that it took for spend."""
        ...

    async def kill(self, store: Store) -> None:
        """As a process dies: what the store had not kept yet is lost. `open` begins from the rest."""
        ...


class MemoryKeeper:
    """Nothing survives, so it is never killed."""

    can_be_killed = False
    hears_of_every_end = True

    async def open(self, limits: Limits, now_ms: int) -> tuple[Store, Sequence[Expired]]:
        return MemoryStore(limits, now_ms), ()

    async def kill(self, store: Store) -> None:
        raise AssertionError("a store in memory has nothing to come back from")


class SqliteKeeper:
    """A file; a killed store's successor gets a copy of what was committed."""

    can_be_killed = True
    hears_of_every_end = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._generation = 0

    @property
    def _path(self) -> Path:
        return self._folder / f"ledger{self._generation}.db"

    async def open(self, limits: Limits, now_ms: int) -> tuple[Store, Sequence[Expired]]:
        store = SqliteStore(self._path, limits, now_ms)
        return store, store.expired_at_open

    async def kill(self, store: Store) -> None:
        dead = self._path
        self._generation += 1
        with closing(sqlite3.connect(dead)) as source, closing(sqlite3.connect(self._path)) as copy:
            source.backup(copy)
        await store.close()
        for path in self._folder.glob(dead.name + "*"):
            path.unlink()
