"""Group commit into the SQLite file: what is queued meanwhile is the next batch. Not what is queued, and no arithmetic.

Whoever waits for a batch that could not be written is refused; whatever nobody waited for stays queued and is tried
again.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

from gateway.errors import Reason, Refused
from gateway.stores.batch import Batch
from gateway.stores.database import explain
from gateway.stores.writer import QuickWriter, Writer

LINGER_SECONDS = 0.005
"""How long what nobody waits for is kept for company before it is written; a reservation takes it along."""
RETRY_SECONDS = 0.5
"""Pause before what could not be written is tried again."""

Committed = asyncio.Future[None]


class _Handed(NamedTuple):
    """A batch with those who wait for it; a reservation is named."""

    batch: Batch
    waiting: list[tuple[str | None, Committed]]
    flushed: list[Committed]


class GroupCommit:
    """The queue of one file, on one event loop. `release` is told which reservations were not committed."""

    def __init__(self, path: Path, release: Callable[[str], object]) -> None:
        self.path = path
        self._release = release
        with contextlib.ExitStack() as undo:
            self._quick = QuickWriter(path)
            undo.callback(self._quick.close)
            self._writer = Writer(path)
            undo.pop_all()
        self.pending = Batch()
        """What is queued. Whoever adds to it calls `schedule`."""
        self._waiting: list[tuple[str | None, Committed]] = []
        self._flushed: list[Committed] = []
        self._idlers: list[Committed] = []
        self.busy = False
        """A batch is being written: it is neither in `pending` nor, for certain, in the file."""
        self._timer: asyncio.Handle | None = None
        self._timer_is_soon = False
        self._commit_problem: str | None = None
        self._fold_failures_before = 0
        """How often folding had failed when a commit last succeeded."""

    @property
    def all_folded(self) -> bool:
        """Nothing that was done before about a second is still on its way into the sums."""
        return self._commit_problem is None and self._writer.fold_problem is None

    @property
    def problem(self) -> str | None:
        """Why the file could not be written at the last try, naming it, for the operator; None when it could."""
        fold_failed_last = self._writer.fold_failures != self._fold_failures_before
        problem = self._commit_problem or (self._writer.fold_problem if fold_failed_last else None)
        return None if problem is None else f"database {self.path}: {problem}"

    async def commit(self, reserved: str | None = None) -> None:
        """Return when what was queued is on disk; raises `Refused(STORE_UNAVAILABLE)`: it is not."""
        committed = asyncio.get_running_loop().create_future()
        self._waiting.append((reserved, committed))
        self.schedule(soon=True)
        await committed

    async def idle(self) -> None:
        """Return when the batch that is being written, if one is, is on disk or failed."""
        while self.busy:
            ended: Committed = asyncio.get_running_loop().create_future()
            self._idlers.append(ended)
            await ended

    async def flush(self) -> None:
        """Return when everything queued so far is on disk; raises `Refused(STORE_UNAVAILABLE)`: it stays queued."""
        if self.pending or self.busy:
            flushed = asyncio.get_running_loop().create_future()
            self._flushed.append(flushed)
            self.schedule(soon=True)
            await flushed

    def schedule(self, *, soon: bool) -> None:
        """Hand over at the end of this round of the event loop, or a moment later when nobody waits for it."""
        if self.busy or (self._timer is not None and (self._timer_is_soon or not soon)):
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_soon(self._hand_over) if soon else loop.call_later(LINGER_SECONDS, self._hand_over)
        self._timer_is_soon = soon

    def refusal(self, error: Exception) -> Refused:
        """For those who needed the file."""
        self._commit_problem = explain(error)
        message = (
            "spend cannot be recorded just now, so the request was not sent; try again in a moment, and tell the "
            "operator if it stays so"
        )
        return Refused(Reason.STORE_UNAVAILABLE, message, {"retry-after": "5"})

    @contextlib.contextmanager
    def reading(self) -> Generator[None]:
        """Raises `Refused(STORE_UNAVAILABLE)` for what a read from the file raises."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.refusal(error) from error

    async def close(self) -> None:
        """Let the writer end what it was given, fold and sync."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.to_thread(self._writer.close)
        self._quick.close()

    def _hand_over(self) -> None:
        """Write all that is queued, or give it to the writer: one batch at a time, what comes meanwhile is the next."""
        self._timer = None
        handed = _Handed(self.pending, self._waiting, self._flushed)
        self.pending, self._waiting, self._flushed = Batch(), [], []
        if self._quick.commit(handed.batch):
            self._writer.expect_fold()
            self._ended(handed, None)
            return
        self.busy = True
        loop = asyncio.get_running_loop()

        def done(error: Exception | None) -> None:
            # when the loop was closed without `close`, the next start reads what is on disk
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._ended, handed, error)

        self._writer.submit(handed.batch, done)

    def _ended(self, handed: _Handed, error: Exception | None) -> None:
        self.busy = False
        if error is None:
            self._commit_problem = None
            self._fold_failures_before = self._writer.fold_failures
        else:
            for hold_id, _ in handed.waiting:
                if hold_id is not None:
                    self._release(hold_id)
            self.pending = handed.batch.without_holds(self.pending)
        idlers, self._idlers = self._idlers, []
        for each in [committed for _, committed in handed.waiting] + handed.flushed:
            _resolve(each, None if error is None else self.refusal(error))
        for each in idlers:
            _resolve(each, None)
        self._go_on(failed=error is not None)

    def _go_on(self, *, failed: bool) -> None:
        if self._waiting or self._flushed:
            self.schedule(soon=True)
        elif failed:
            self._timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._hand_over)
            self._timer_is_soon = False
        elif self.pending:
            self.schedule(soon=False)


def _resolve(future: Committed, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
