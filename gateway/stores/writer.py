"""Who writes: the caller itself while that is quick, a thread otherwise, and a thread that lets SQLite sync.

A small commit into the write-ahead log takes tens of microseconds; handing it to a thread and being woken costs several
times that. So the caller writes by itself until a commit was slow or the file was busy, and then leaves it to the
thread for a while.

The sync has a thread of its own because it may take many milliseconds on a slow disk, and no reservation should wait
for it: in write-ahead mode a checkpoint and a commit do not block each other.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from gateway.stores.batch import Batch, fold, write
from gateway.stores.database import connect, explain

FOLD_SECONDS = 1.0
"""How long ended holds wait to be folded, and dirty pages to be synced."""
LOG_PAGES_MAX = 16_384
"""Length of the write-ahead log (64 MiB) past which the next commit waits until it has been emptied."""

QUICK_ROWS_MAX = 256
"""Largest batch that the caller commits by itself."""
QUICK_SECONDS = 0.005
"""A commit that takes longer makes the caller leave writing to the thread for `SLOW_FACTOR` times as long."""
SLOW_FACTOR = 100
BUSY_SECONDS = 0.05
"""How long the caller leaves writing to the thread when the file was busy or could not be written."""

Done = Callable[[Exception | None], None]


class Writer:
    """Commits batches in order, in its own thread, on its own connections."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._connection.execute("PRAGMA wal_autocheckpoint=0")
        self._jobs: SimpleQueue[tuple[Batch, Done] | None] = SimpleQueue()
        self._fold_due: float | None = None
        self._checkpointer = Checkpointer(path)
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self.fold_problem: str | None = None
        """Why ended holds could not be folded at the last try; they are kept and tried again."""
        self.fold_failures = 0
        self._thread.start()

    def submit(self, batch: Batch, done: Done) -> None:
        """Commit `batch` soon; `done` is called in the writer's thread with the error, or None."""
        self._jobs.put((batch, done))

    def expect_fold(self) -> None:
        """Something was committed elsewhere: fold it within about `FOLD_SECONDS`."""
        if self._fold_due is None:
            self._jobs.put((Batch(), _told_nobody))

    def close(self) -> None:
        """Commit what was submitted, fold, sync and stop. Blocks."""
        self._jobs.put(None)
        self._thread.join()
        self._checkpointer.close()
        self._connection.close()

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._seconds_to_fold())
            except Empty:
                self._fold()
                continue
            if job is None:
                self._fold()
                return
            batch, done = job
            done(self._commit(batch))
            if self._seconds_to_fold() == 0.0:
                self._fold()

    def _seconds_to_fold(self) -> float | None:
        return None if self._fold_due is None else max(0.0, self._fold_due - time.monotonic())

    def _commit(self, batch: Batch) -> Exception | None:
        if self._fold_due is None:
            self._fold_due = time.monotonic() + FOLD_SECONDS
        try:
            write(self._connection, batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, the batch was not committed and its waiters must know
            return error
        return None

    def _fold(self) -> None:
        self._fold_due = None
        try:
            fold(self._connection)
            if self._checkpointer.log_pages > LOG_PAGES_MAX:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            self.fold_problem = explain(error)
            self.fold_failures += 1
            self._fold_due = time.monotonic() + FOLD_SECONDS
            return
        self.fold_problem = None
        self._checkpointer.wake()


class QuickWriter:
    """Commits small batches in the caller's thread, as long as that is quick."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._connection.execute("PRAGMA wal_autocheckpoint=0")
        self._connection.execute("PRAGMA busy_timeout=0")
        self._not_before = 0.0

    def commit(self, batch: Batch) -> bool:
        """True: it is committed. False: it is not, and is for the thread, which can wait and says what is wrong."""
        began = time.monotonic()
        if began < self._not_before or len(batch) > QUICK_ROWS_MAX:
            return False
        try:
            write(self._connection, batch)
        except Exception:  # noqa: BLE001  # whatever it is, the thread meets it too and tells those who wait
            self._not_before = began + BUSY_SECONDS
            return False
        took = time.monotonic() - began
        if took > QUICK_SECONDS:
            self._not_before = began + took * SLOW_FACTOR
        return True

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


def _told_nobody(error: Exception | None) -> None:
    """An empty batch has nobody who waits for it."""


class Checkpointer:
    """Moves the write-ahead log into the database file and syncs both, in its own thread, when woken."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._woken = threading.Event()
        self._closing = False
        self.log_pages = 0
        """Length of the log at the last checkpoint."""
        self._thread = threading.Thread(target=self._run, name="ledger-checkpoint", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something was committed."""
        self._woken.set()

    def close(self) -> None:
        """One last checkpoint. Blocks."""
        self._closing = True
        self._woken.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while not self._closing:
            self._woken.wait()
            self._woken.clear()
            try:
                _, self.log_pages, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error:
                continue  # the next commit meets the same disk and reports it to whoever waits
