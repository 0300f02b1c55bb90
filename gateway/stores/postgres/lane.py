"""Group commit: what is queued while one batch is under way is the next batch, in one round trip. One lane a process.

Ends never fail: they stay queued until they are committed, and are written down while the database is away. A
reservation is refused when it is not known whether it was committed, and released in case it was. That is safe to
repeat: holds have ids and end once, and every connection takes a generation of its own, so that nothing which an
earlier connection still had under way is committed after what came later.
"""

import asyncio
import contextlib
import logging
from typing import Any

from gateway.core.money.limits import Limits
from gateway.core.money.windows import Calendar
from gateway.ports import NOBODY_TOLD
from gateway.stores.postgres import batch as batches
from gateway.stores.postgres import limits as limit_rows
from gateway.stores.postgres.batch import Batch, End, Op, Planned
from gateway.stores.postgres.journal import Journal, end_entry
from gateway.stores.postgres.lines import (
    RETRYABLE,
    Connection,
    Line,
    PostgresError,
    Row,
    explain,
    is_about_content,
    sqlstate_of,
)
from gateway.stores.postgres.own import OwnHolds
from gateway.stores.postgres.series import Known, Missing, columns_of, with_bases

_log = logging.getLogger(__name__)

LINGER_SECONDS = 0.005
"""How long an end waits for company; a reservation takes it along."""
BATCH_MAX = 400
"""Most holds, and most ends, in one batch: it must be done within the server's time limit."""
TRIES = 20
"""How often a batch is planned anew, because limits or series changed meanwhile, before it counts as failed."""
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.1, 2.0
"""Before the database is tried again."""

COMMIT = f"SELECT * FROM ringfence.commit_batch({', '.join(f'${n}' for n in range(1, 33))})"
CREATE = f"SELECT * FROM ringfence.create_series({', '.join(f'${n}' for n in range(1, 12))})"


class StoreAway(Exception):
    """The database does not answer. `sent`: it may have committed what was asked."""

    def __init__(self, problem: str, *, sent: bool) -> None:
        super().__init__(problem)
        self.sent = sent


class Lane:
    """The queue and whoever works it off. `run` is to be kept running as a task."""

    def __init__(self, line: Line, known: Known, calendar: Calendar, *, own: OwnHolds, owner: str) -> None:
        self._line = line
        self.own = own
        self._known = known
        self._calendar = calendar
        self._owner = owner
        self._begun_on: Connection = None
        self.number = 0
        self.generation = 0
        self._version = 0
        self._replays: list[Op] = []
        self._ends: list[End] = []
        self._ops: list[Op] = []
        self._busy: Batch | None = None
        self._wake = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None
        self._flushed: list[asyncio.Future[None]] = []
        self.journal: Journal | None = None
        self.told = NOBODY_TOLD
        self.now_ms = 0
        self.problem: str | None = None
        """Why the last commit failed; None: it did not."""

    def submit(self, op: Op, now_ms: int) -> None:
        """Queue a hold; a `replay` comes before everything else."""
        self.now_ms = max(self.now_ms, now_ms)
        (self._replays if op.kind == "replay" else self._ops).append(op)
        self._wake.set()

    def end(self, end: End) -> None:
        """Queue an end. Never fails."""
        self.now_ms = max(self.now_ms, end.at_ms)
        self._ends.append(end)
        if self.problem is not None:
            self._wake.set()
        elif self._linger is None and self._busy is None:
            self._linger = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._wake.set)

    def abandon(self, op: Op) -> None:
        """Nobody waits for a reservation any more: release it, or do not send it."""
        if op in self._ops:
            self._ops.remove(op)
        else:
            self._release(op)

    async def flush(self) -> None:
        """Return when everything queued is committed. Raises StoreAway: it is not; it stays queued."""
        flushed = asyncio.get_running_loop().create_future()
        self._flushed.append(flushed)
        self._wake.set()
        await flushed

    async def begin(self, configured: Limits) -> None:
        """Set the configuration's limits and take a generation. Raises what `lines.connect` raises."""
        async with self._line.use() as connection:
            await limit_rows.configure(connection, configured)
            await self._begin(connection)

    async def run(self) -> None:
        """Work the queue off, for ever."""
        pause = PAUSE_SECONDS
        while True:
            if self.problem is None:
                await self._wake.wait()
            self._wake.clear()
            self._linger = None
            batch = self._take()
            try:
                await self._commit(batch)
            except asyncio.CancelledError:
                self._put_back(batch)
                raise
            except Exception as error:  # noqa: BLE001  # whatever it is, the batch was not committed as far as we know
                self._failed(batch, error)
                await self._pause(pause)
                pause = min(2 * pause, PAUSE_SECONDS_MAX)
            else:
                pause = PAUSE_SECONDS
                await self._succeeded()

    async def _pause(self, seconds: float) -> None:
        """Let the database alone for a while; what ends meanwhile is written down at once."""
        now = asyncio.get_running_loop().time
        until = now() + seconds
        while (left_seconds := until - now()) > 0:
            self._wake.clear()
            await self._write_down()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left_seconds)

    async def close(self) -> None:
        """Let go of the database and of the journal, after `run` has ended."""
        await self._line.close()
        if self.journal is not None:
            await self._write_down()
            await asyncio.to_thread(self.journal.close)

    def _take(self) -> Batch:
        if self._replays:
            batch = Batch(self.now_ms, ops=self._replays[:BATCH_MAX])
            del self._replays[:BATCH_MAX]
        else:
            batch = Batch(self.now_ms, self._distinct_ends(), self._ops[:BATCH_MAX])
            del self._ops[:BATCH_MAX]
        self._busy = batch
        return batch

    def _distinct_ends(self) -> list[End]:
        """Ends in their order, up to the second one of a hold: that one must see what the first did."""
        taken: dict[str, End] = {}
        for end in self._ends[:BATCH_MAX]:
            if end.id in taken:
                break
            taken[end.id] = end
        del self._ends[: len(taken)]
        return list(taken.values())

    def _put_back(self, batch: Batch) -> None:
        self._busy = None
        self._ends[:0] = batch.ends
        self._replays[:0] = [op for op in batch.ops if op.kind == "replay"]

    async def _commit(self, batch: Batch) -> None:
        """Raises whatever went wrong; then the batch may or may not be committed."""
        for _ in range(TRIES):
            try:
                async with self._line.use() as connection:
                    if connection is not self._begun_on:
                        await self._begin(connection)
                    if not batch or await self._tried(connection, batch):
                        return
            except (PostgresError, ValueError) as error:
                if sqlstate_of(error) in RETRYABLE:
                    continue
                if not is_about_content(error):
                    raise
                await self._commit_parts(batch, error)
                return
        raise TimeoutError

    async def _commit_parts(self, batch: Batch, error: Exception) -> None:
        """Something in it is not taken: find what, so that the rest is not lost with it."""
        if len(batch) == 1:
            self._spoilt(batch, error)
            return
        for end in batch.ends:
            await self._commit(Batch(batch.now_ms, ends=[end]))
        for op in batch.ops:
            await self._commit(Batch(batch.now_ms, ops=[op]))

    def _spoilt(self, batch: Batch, error: Exception) -> None:
        """One thing that the database never takes. A hold whose end is lost so expires at the held amount."""
        problem = explain(error)
        _log.error("the database does not take %s: %s", [each.id for each in batch.ends] or "a hold", problem)
        for op in batch.ops:
            _fail(op.waits, StoreAway(problem, sent=True))
        for end in batch.ends:
            _fail(end.waits, StoreAway(problem, sent=True))

    async def _tried(self, connection: Connection, batch: Batch) -> bool:
        """True: committed. False: plan it anew."""
        try:
            planned = batches.plan(batch, self._known)
        except Missing as missing:
            columns = columns_of(with_bases(missing.series), self._calendar, batch.now_ms)
            self._known.learn(await connection.fetch(CREATE, batch.now_ms, *columns))
            return False
        columns = batches.arguments(planned, self._known, self._calendar)
        row = await connection.fetchrow(COMMIT, self.number, self.generation, self._version, *columns)
        match row["status"]:
            case "done":
                self._done(planned, row)
                return True
            case "fenced":
                await self._begin(connection)
            case "stale":
                await self.load_limits(connection)
            case _:
                self._known.forget(mirror.series.account for mirror in planned.mirrors)
        return False

    def _done(self, planned: Planned, row: Row) -> None:
        batches.see(planned, row)
        ended = batches.ended(row)
        for limit, amount in batches.overshoots(planned, ended):
            self.told.overshot(limit, amount)
        for end, result in zip(planned.batch.ends, ended, strict=True):
            if result.outcome == "correct":
                self.told.corrected(end.id)
            _resolve(end.waits, result)
        results = batches.outcomes(planned, row["fits"], self.own.open)
        for op, result in zip(planned.batch.ops, results, strict=True):
            _resolve(op.waits, result)

    async def _begin(self, connection: Connection) -> None:
        row = await connection.fetchrow("SELECT * FROM ringfence.take_generation($1)", self._owner)
        self.number, self.generation = row["number"], row["generation"]
        await self.load_limits(connection)
        self._known.forget()
        self._begun_on = connection

    async def load_limits(self, connection: Connection) -> None:
        """Learn which limits hold."""
        version, limits = await limit_rows.load(connection)
        if version > self._version:
            self._version = version
            self._known.change_limits(limits)

    async def refresh_limits(self, connection: Connection) -> None:
        """Learn which limits hold, if others do: also a replica that nobody asks anything shows them."""
        if await limit_rows.read_version(connection) != self._version:
            await self.load_limits(connection)

    def _failed(self, batch: Batch, error: Exception) -> None:
        problem = explain(error)
        if self.problem is None:
            _log.error("the database %s", problem)
        self.problem = problem
        self._put_back(batch)
        for end in batch.ends:
            end.unsure = True
        for op in batch.ops:
            if op.waits is not None and not op.waits.done():
                self._release(op)
                _fail(op.waits, StoreAway(problem, sent=True))
        waiting, self._ops = self._ops, []
        for op in waiting:
            _fail(op.waits, StoreAway(problem, sent=False))
        self._tell_flushed(StoreAway(problem, sent=False))

    async def _succeeded(self) -> None:
        self._busy = None
        if self.problem is not None:
            _log.warning("the database is back")
            self.problem = None
        if self._replays or self._ops or len(self._ends) >= BATCH_MAX or (self._ends and self._flushed):
            self._wake.set()
        elif self._ends:
            self._linger = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._wake.set)
        else:
            await self._clear_journal()
            if not self._ends and not self._replays:
                self._tell_flushed(None)

    async def _write_down(self) -> None:
        """What fails is told by the journal and tried again at the next failure."""
        ends = [end for end in self._ends if not end.written]
        if ends and self.journal is not None:
            with contextlib.suppress(OSError):
                await self.journal.add([end_entry(end) for end in ends])
                for end in ends:
                    end.written = True

    async def _clear_journal(self) -> None:
        if self.journal is not None and self.journal.entries:
            await self.journal.clear()

    def _release(self, op: Op) -> None:
        if op.kind == "reserve":
            hold = op.hold
            self.end(End("release", hold.id, hold.accounts, hold.model, hold.backends, self.now_ms, rows=hold.added))

    def _tell_flushed(self, error: StoreAway | None) -> None:
        flushed, self._flushed = self._flushed, []
        for each in flushed:
            if error is None:
                _resolve(each, None)
            else:
                _fail(each, error)


def _resolve(waits: "asyncio.Future[Any] | None", result: object) -> None:
    if waits is not None and not waits.done():
        waits.set_result(result)


def _fail(waits: "asyncio.Future[Any] | None", error: StoreAway) -> None:
    if waits is not None and not waits.done():
        waits.set_exception(error)
