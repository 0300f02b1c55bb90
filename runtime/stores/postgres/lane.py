"""Group commit of appends: those that come while one round trip is under way make the next one. One per store.

It remembers how long each journal is that this process writes. An append that fails may have been committed without our
hearing of it; whoever says it again, or says more, gets each line written once.
"""

import asyncio
from collections.abc import Iterable

from runtime.core.model import RunId
from runtime.ports import Entry, Lease, LeaseLost, StoreAway
from runtime.stores.postgres.append import Addition, commit, settle_base
from runtime.stores.postgres.connections import TRIES, Connections, PostgresError, is_retryable
from runtime.stores.rows import Spawn

BATCH_ENTRIES_MAX = 512
"""Entries committed in one round trip."""

Waiting = tuple[Lease, Entry, asyncio.Future[None]]


class Lane:
    """Appends to journals, in order for each run. Used on one event loop, until `close`."""

    def __init__(self, connections: Connections, spawn: Spawn) -> None:
        self._connections = connections
        self._spawn = spawn
        self._queue: list[Waiting] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._lengths: dict[RunId, tuple[int, int]] = {}
        """Fence, and lines of the journal as far as we heard."""

    def know(self, lease: Lease, lines: int) -> None:
        """The journal had so many lines when the lease was got, or has them now."""
        self._lengths[lease.run] = (lease.fence, lines)

    def forget(self, lease: Lease) -> None:
        """The lease was let go or lost."""
        if self._base(lease) >= 0:
            del self._lengths[lease.run]

    async def append(self, lease: Lease, entry: Entry) -> None:
        """Durable when it returns. Raises `LeaseLost`, `StoreAway`."""
        if self._closed:
            raise StoreAway("the run store is closed: it takes nothing more before the next start")
        if self._idle.is_set():
            self._spawn("run journals", self._run())
            self._idle.clear()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((lease, entry, future))
        await future

    async def close(self) -> None:
        """Commit what waits."""
        self._closed = True
        await self._idle.wait()

    async def _run(self) -> None:
        batch: list[Addition] = []
        try:
            while self._queue:
                batch = self._next_batch()
                await self._commit(batch)
        finally:  # if it was cancelled, those who wait must know
            away = StoreAway("the run store is closing, and this may not be written: look after the next start")
            _tell(batch, away)
            for *_, future in self._queue:
                if not future.done():
                    future.set_exception(StoreAway(*away.args))
            self._queue.clear()
            self._idle.set()

    def _next_batch(self) -> list[Addition]:
        """What waits, one lease for each run: what comes under another one is left for the next batch."""
        additions: dict[RunId, Addition] = {}
        left: list[Waiting] = []
        for place, (lease, entry, future) in enumerate(self._queue):
            addition = additions.setdefault(lease.run, Addition(lease, self._base(lease)))
            if addition.lease.fence == lease.fence and place < BATCH_ENTRIES_MAX:
                addition.include(entry)
                addition.waiting.append(future)
            else:
                left.append((lease, entry, future))
        self._queue = left
        return [addition for addition in additions.values() if addition.waiting]

    async def _commit(self, additions: list[Addition]) -> None:
        """Whatever becomes of them, those who wait are told."""
        try:
            await self._write(additions)
        except StoreAway as away:
            _tell(additions, away)
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must know
            if len(additions) == 1:
                additions[0].tell(error)
            else:
                for addition in additions:  # one of them is at fault: the others must not suffer
                    await self._commit([addition])

    async def _write(self, additions: list[Addition]) -> None:
        left = additions
        for _ in range(TRIES):
            async with self._connections.use() as connection:
                try:
                    done = await commit(connection, left)
                except PostgresError as error:
                    if not is_retryable(error):
                        raise
                    continue
                for addition in left:
                    if addition.run in done:
                        self.know(addition.lease, addition.base + len(addition.lines))
                        addition.tell()
                missed = [each for each in left if each.run not in done]
                left = list[Addition]()
                for addition in missed:
                    if await settle_base(connection, addition):
                        left.append(addition)
                    else:
                        self.forget(addition.lease)
                        addition.tell(LeaseLost(addition.run))
            if not left:
                return
        raise StoreAway("the run store is in too much demand just now: somebody else changes the same runs")

    def _base(self, lease: Lease) -> int:
        """-1: not known."""
        fence, lines = self._lengths.get(lease.run, (lease.fence, -1))
        return lines if fence == lease.fence else -1


def _tell(additions: Iterable[Addition], error: Exception) -> None:
    for addition in additions:
        addition.tell(error)
