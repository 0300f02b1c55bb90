"""The one thread that writes to the SQLite file: everything that waits is committed together, with one sync.

It knows no tables. What a job raises before it writes is its own outcome; what goes wrong with the file is everyone's.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from runtime.ports import StoreAway
from runtime.stores.database import connect, explain, is_about_file

BATCH_JOBS_MAX = 512
"""Jobs committed at once."""

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]


class Refusal(Exception):
    """Raised by a job that has written nothing: the others of its batch are committed. `cause` is for its caller."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(slots=True)
class _Waiting:
    """A job and whoever waits for it."""

    job: Job
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    value: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        """On the event loop; nobody may wait any more."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.value)
        else:
            self.future.set_exception(self.error)


class Writer:
    """Commits jobs in order. Used on one event loop, until `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect(path)
        self._jobs: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="run-journal", daemon=True)
        self._thread.start()

    async def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """What `job` returns, once it is durable. Raises `StoreAway`, or what the job refused with."""
        if self._closed:
            raise StoreAway(f"the run store {self._path} is closed: it takes nothing more before the next start")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Waiting(job, loop, future))
        return await future

    def close(self) -> None:
        """Commit what waits and stop. Blocks."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            self._thread.join()
            self._connection.close()

    def _run(self) -> None:
        more = True
        while more:
            first = self._jobs.get()
            if first is None:
                return
            batch = [first]
            more = self._fill(batch)
            self._commit(batch)
            with contextlib.suppress(RuntimeError):  # the event loop is gone, and all who waited with it
                first.loop.call_soon_threadsafe(_tell, batch)

    def _fill(self, batch: list[_Waiting]) -> bool:
        """Add what waits already. False: nothing comes after it."""
        while len(batch) < BATCH_JOBS_MAX:
            try:
                waiting = self._jobs.get_nowait()
            except Empty:
                return True
            if waiting is None:
                return False
            batch.append(waiting)
        return True

    def _commit(self, batch: list[_Waiting]) -> None:
        try:
            self._transact(batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must know
            if is_about_file(error):
                for each in batch:
                    each.error = StoreAway(f"the run store {self._path} {explain(error)}")
            elif len(batch) == 1:
                batch[0].error = error
            else:
                for each in batch:  # one of the jobs is at fault: the others must not suffer
                    self._commit([each])

    def _transact(self, batch: list[_Waiting]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for each in batch:
                each.value, each.error = None, None
                try:
                    each.value = each.job(self._connection)
                except Refusal as refusal:
                    each.error = refusal.cause
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _tell(batch: list[_Waiting]) -> None:
    for each in batch:
        each.tell()
