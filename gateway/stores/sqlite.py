"""The store on a SQLite file: the book in memory decides, group commits make it last (`writer.py`).

The process owns the file; a second one is refused (`database.Owner`), credentials are the exception. `reserve` guards
in memory at once and returns when its row is committed; settlements are queued and never dropped: a commit that fails
is tried again, its reservations are refused. A settlement that was queued when the process was killed is not lost
either: its hold is still in the file, and the next start expires it at the held amount.

An agent is written when it is first seen, its meters about once a second: a kill may set meters back by that much, but
never spend.

Spend of sessions, runs and agents is read back when one of them is seen again, all other accounts when the file is
opened. Not for several gateways at once: that needs Postgres.
"""

import asyncio
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from gateway.core.budgets import Expired, Hold, LimitView
from gateway.core.fuse import FuseRecord
from gateway.core.ledger import LedgerBook, Spend
from gateway.core.limits import Amounts, Limits, Series
from gateway.core.lineage import AgentRecord
from gateway.core.stored_limits import AuditedChange, Author, LimitChange, StoredLimit, together
from gateway.core.windows import HOUR_MS, Calendar
from gateway.errors import Reason, Refused
from gateway.ports import NOBODY_TOLD, Told
from gateway.stores import batch as rows
from gateway.stores.batch import Batch
from gateway.stores.credentials import CredentialRow as CredentialRow
from gateway.stores.credentials import CredentialRows as CredentialRows
from gateway.stores.credentials import read_credentials, read_version
from gateway.stores.database import Owner, check_pages, connect, explain, explained
from gateway.stores.limits import LimitRows
from gateway.stores.writer import QuickWriter, Writer
from gateway.tasks import Tasks

LINGER_SECONDS = 0.005
"""How long a settlement waits for company before it is written; a reservation takes it along."""
AGENTS_SECONDS = 1.0
"""How often meters of agents are written: they change with every request, and only their last state counts."""
RETRY_SECONDS = 0.5
"""Pause before what could not be written is tried again."""
CLOSE_TRIES = 3
CHANGE_SECONDS = 10.0
"""How long the last change of a limit may take when the store is closed."""
IDLE_MS = HOUR_MS
"""Tags, sessions, runs and agents untouched for this long leave memory: what they used has long been folded then."""
NEVER_MS = 0
"""Those that were never touched leave it at once: clients choose their names, and a refused request costs nothing."""

Committed = asyncio.Future[None]


class SqliteStore:
    """Ledger, fuses, lineage and credentials. Use it from one event loop; `close` it."""

    def __init__(
        self,
        path: Path,
        limits: Limits,
        now_ms: int,
        *,
        calendar: Calendar | None = None,
        told: Told = NOBODY_TOLD,
    ) -> None:
        self._path = path
        self._configured = limits
        self._told = told
        with ExitStack() as undo:
            self._owner = Owner(path)
            undo.callback(self._owner.close)
            self._reader = connect(path)
            undo.callback(self._reader.close)
            check_pages(self._reader, path)
            self._limit_rows = LimitRows(path)
            undo.callback(self._limit_rows.close)
            limits = together(limits, self._limit_rows.read())
            self._book = LedgerBook(limits, now_ms, calendar)
            self.expired_at_open = self._load(now_ms)
            """Holds that a dead owner had left; they are spend now."""
            self._quick = QuickWriter(path)
            undo.callback(self._quick.close)
            self._writer = Writer(path)
            undo.pop_all()
        self._pending = Batch()
        self._waiting: list[tuple[str | None, Committed]] = []
        self._flushed: list[Committed] = []
        self._agents: dict[tuple[str, str, str], AgentRecord] = {}
        self._agents_timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._timer: asyncio.Handle | None = None
        self._timer_is_soon = False
        self._commit_problem: str | None = None
        self._fold_failures_before = 0
        """How often folding had failed when a commit last succeeded."""
        self._idlers: list[Committed] = []
        self._changing = asyncio.Lock()
        """Of the limits' rows: nobody reads a change that is not committed yet."""
        self._tasks = Tasks()

    async def reserve(self, hold: Hold) -> tuple[LimitView, ...]:
        """Hold on every limit or on none; on disk when it returns.

        Raises:
            Exhausted: a limit would be passed.
            Refused: STORE_UNAVAILABLE, it could not be recorded; nothing is held.
        """
        while missing := self._book.missing(hold.accounts, hold.model, hold.backends, hold.added):
            await self._recall(missing, hold.created_ms)
        views = self._book.reserve(hold)
        self._pending.holds.append(rows.hold_row(hold, self._book.charge(hold.id)))
        await self._commit(hold.id)
        return views

    async def extend(self, hold_id: str, worst: Amounts, expected: Amounts, now_ms: int) -> bool:
        """Raise an open hold; on disk when it returns. False: it has ended. Raises as `reserve`."""
        before = self._book.hold(hold_id)
        if before is None or not self._book.extend(hold_id, worst, expected, now_ms):
            return False
        self._pending.extends.append((*rows.counted(self._book.charge(hold_id)), hold_id))
        try:
            await self._commit(None)
        except Refused:
            self._book.extend(hold_id, before.worst, before.expected, now_ms)
            raise
        return True

    async def _commit(self, reserved: str | None) -> None:
        """Return when what was queued is on disk; `reserved` is released when it is not or nobody waits any more."""
        committed = asyncio.get_running_loop().create_future()
        self._waiting.append((reserved, committed))
        self._schedule(soon=True)
        try:
            await committed
        except asyncio.CancelledError:
            if reserved is not None:
                self.release(reserved)
            raise

    def settle(self, hold_id: str, spent: Amounts, backend: str, now_ms: int) -> None:
        """Turn the hold into spend; a second call changes nothing. Does not wait for the disk."""
        settled = self._book.settle(hold_id, spent, backend, now_ms)
        if settled is None:
            return
        if settled.corrects:
            self._pending.corrections += rows.correction_rows(settled)
            self._told.corrected(hold_id)
        else:
            self._pending.ends.append(rows.end_row(hold_id, settled.spends[0]))
        self._pending.spends += [(settled.hold.accounts, spend) for spend in settled.spends]
        self._schedule(soon=False)
        for row, amount in settled.overshot:
            self._told.overshot(row, amount)

    def release(self, hold_id: str) -> None:
        """Give the hold back. Does not wait for the disk."""
        if self._book.release(hold_id):
            self._pending.releases.append(hold_id)
            self._schedule(soon=False)

    async def expire(self, now_ms: int) -> list[Expired]:
        """Settle holds past their deadline at the held amount and forget idle accounts. Call it every few seconds."""
        expired = self._book.expire(now_ms)
        for each in expired:
            self._pending.ends.append(rows.end_row(each.id, each.spends[0]))
            self._pending.spends += [(each.accounts, spend) for spend in each.spends]
            self._schedule(soon=False)
        all_folded = self._commit_problem is None and self._writer.fold_problem is None
        self._book.drop_idle(now_ms - IDLE_MS if all_folded else NEVER_MS + 1)
        return expired

    def views(self, now_ms: int) -> list[LimitView]:
        """Every limit that names its account, and the others that were met lately."""
        return self._book.views(now_ms)

    async def standing(self, accounts: Sequence[str], now_ms: int) -> list[LimitView]:
        """Every limit that a request on these accounts can meet."""
        while missing := self._book.missing(accounts, None, ()):
            await self._recall(missing, now_ms)
        return self._book.standing(accounts, now_ms)

    async def used(self, series: Sequence[Series], now_ms: int) -> list[int]:
        """What each series has used."""
        while missing := self._book.unknown(series):
            await self._recall(missing, now_ms)
        return [self._book.used(each, now_ms) for each in series]

    def is_strict(self, accounts: Sequence[str], model: str, backends: Sequence[str]) -> bool:
        """Does a strict limit apply?"""
        return self._book.is_strict(accounts, model, backends)

    def spent(self, account: str) -> int:
        """Nano-dollars spent by an account in all, as far as it is in memory."""
        return self._book.used(Series(account), 0)

    async def stored_limits(self) -> list[StoredLimit]:
        """Limits that operators set, in the order of creation."""
        async with self._changing:
            with explained(self._path):
                return self._limit_rows.read()

    async def change_limit(self, which: str, change: LimitChange, author: Author) -> StoredLimit | None:
        """Replace one by what `change` makes of it; the ledger goes by it when this returns, or its caller has left."""
        return await self._tasks.finish("limit", self._change_limit(which, change, author), _let_be)

    async def _change_limit(self, which: str, change: LimitChange, author: Author) -> StoredLimit | None:
        async with self._changing:
            try:
                changed = await asyncio.to_thread(self._limit_rows.change, which, change, author)
            except sqlite3.Error as error:
                raise self._refusal(error) from error
            for hold_id in self._book.change_limits(together(self._configured, self._limit_rows.read())):
                self._pending.extends.append((*rows.counted(self._book.charge(hold_id)), hold_id))
                self._schedule(soon=False)
            pools = self._book.unknown(each.series for each in self._book.limits.pools())
            while missing := self._book.unknown(pools):
                await self._recall(missing, author.at_ms)
        return changed

    async def limit_audit(self, after: int, most: int) -> list[AuditedChange]:
        """Changes of limits after number `after`, oldest first."""
        async with self._changing:
            with explained(self._path):
                return self._limit_rows.read_audit(after, most)

    def held_total(self) -> int:
        """Nano-dollars held now."""
        return self._book.held_total()

    def open_holds(self) -> tuple[int, int | None]:
        """How many holds have not ended, and when the oldest was made."""
        return self._book.open_holds()

    def save_fuse(self, record: FuseRecord) -> None:
        """Remember a fuse across restarts. Does not wait for the disk."""
        self._pending.fuses[record.id] = record
        self._schedule(soon=False)

    async def load_fuses(self) -> list[FuseRecord]:
        """Fuses of earlier runs of the gateway."""
        with explained(self._path):
            return rows.read_fuses(self._reader)

    def save_agent(self, record: AgentRecord) -> None:
        """Remember an agent across restarts: a new one at once, its meters as they stand about once a second."""
        self._agents[record.credential, record.session, record.agent] = record
        if record.requests <= 1:
            self._write_agents()
        elif self._agents_timer is None:
            self._agents_timer = asyncio.get_running_loop().call_later(AGENTS_SECONDS, self._write_agents)

    async def load_agents(self, since_ms: int) -> list[AgentRecord]:
        """Agents last seen at or after `since_ms`, oldest first."""
        with explained(self._path):
            return rows.read_agents(self._reader, since_ms)

    async def load_credentials(self) -> list[CredentialRow]:
        """Every credential in the database, revoked ones too."""
        with explained(self._path):
            return read_credentials(self._reader)

    async def credentials_version(self) -> int:
        """A number that grows whenever a credential is created or revoked, also by another process."""
        with explained(self._path):
            return read_version(self._reader)

    @property
    def journal_entries(self) -> int:
        """None: the file itself is what would be away."""
        return 0

    @property
    def problem(self) -> str | None:
        """Why the file could not be written at the last try, naming it, for the operator; None when it could."""
        fold_failed_last = self._writer.fold_failures != self._fold_failures_before
        problem = self._commit_problem or (self._writer.fold_problem if fold_failed_last else None)
        return None if problem is None else f"database {self._path}: {problem}"

    async def flush(self) -> None:
        """Return when everything queued so far is on disk.

        Raises:
            Refused: STORE_UNAVAILABLE, it could not be written; it stays queued.
        """
        self._write_agents()
        if self._pending or self._busy:
            flushed = asyncio.get_running_loop().create_future()
            self._flushed.append(flushed)
            self._schedule(soon=True)
            await flushed

    async def close(self) -> None:
        """Write what is queued, sync, and give the file free. Holds still open are expired by the next start.

        Raises:
            Refused: STORE_UNAVAILABLE, something queued could not be written; the file is given free all the same, and
                the next start counts what was not settled at its held amount.
        """
        await self._tasks.close(CHANGE_SECONDS)
        try:
            for tries_left in reversed(range(CLOSE_TRIES)):
                try:
                    await self.flush()
                    break
                except Refused:
                    if not tries_left:
                        raise
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await asyncio.to_thread(self._writer.close)
            self._quick.close()
            self._reader.close()
            self._limit_rows.close()
            self._owner.close()

    def _load(self, now_ms: int) -> list[Expired]:
        with explained(self._path):
            expired = rows.expire_orphans(self._reader, now_ms)
            rows.fold_days(self._reader, now_ms)
            series = [Series(account) for account in rows.read_lasting_accounts(self._reader)]
            for each in self._book.unknown((*series, *(pool.series for pool in self._book.limits.pools()))):
                self._book.restore(each, rows.read_usage(self._reader, each.account), now_ms)
        return expired

    async def _recall(self, missing: Sequence[Series], now_ms: int) -> None:
        """Begin to count series, with what their accounts used before: on disk, waiting to be folded, or queued."""
        counted = any(self._book.is_counted(each.account) for each in missing)
        if counted and self._busy:
            await self._idle()
            return
        try:
            histories = self._histories({each.account for each in missing})
        except sqlite3.Error as error:
            raise self._refusal(error) from error
        for each in missing:
            self._book.restore(each, histories[each.account], now_ms)

    def _histories(self, accounts: Collection[str]) -> dict[str, list[Spend]]:
        with rows.snapshot(self._reader):
            found = {
                account: rows.read_usage(self._reader, account) + rows.read_unfolded(self._reader, account)
                for account in accounts
            }
        for named, spend in self._pending.spends:
            for account in found.keys() & set(named):
                found[account].append(spend)
        return found

    async def _idle(self) -> None:
        """Return when the batch that is being written is on disk, or failed."""
        ended: Committed = asyncio.get_running_loop().create_future()
        self._idlers.append(ended)
        await ended

    def _write_agents(self) -> None:
        if self._agents_timer is not None:
            self._agents_timer.cancel()
            self._agents_timer = None
        if self._agents:
            self._pending.agents |= self._agents
            self._agents = {}
            self._schedule(soon=False)

    def _schedule(self, *, soon: bool) -> None:
        """Hand over at the end of this round of the event loop, or a moment later when nobody waits for it."""
        if self._busy or (self._timer is not None and (self._timer_is_soon or not soon)):
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_soon(self._hand_over) if soon else loop.call_later(LINGER_SECONDS, self._hand_over)
        self._timer_is_soon = soon

    def _hand_over(self) -> None:
        """Write all that is queued, or give it to the writer: one batch at a time, what comes meanwhile is the next."""
        self._timer = None
        batch, self._pending = self._pending, Batch()
        waiting, self._waiting = self._waiting, []
        flushed, self._flushed = self._flushed, []
        if self._quick.commit(batch):
            self._writer.expect_fold()
            self._committed((batch, waiting, flushed), None)
            return
        self._busy = True
        loop = asyncio.get_running_loop()

        def done(error: Exception | None) -> None:
            try:
                loop.call_soon_threadsafe(self._committed, (batch, waiting, flushed), error)
            except RuntimeError:
                return  # the loop was closed without `close`: the next start reads what is on disk

        self._writer.submit(batch, done)

    def _committed(
        self, ended: tuple[Batch, list[tuple[str | None, Committed]], list[Committed]], error: Exception | None
    ) -> None:
        batch, waiting, flushed = ended
        self._busy = False
        if error is None:
            self._commit_problem = None
            self._fold_failures_before = self._writer.fold_failures
            for _, committed in waiting:
                _resolve(committed, None)
        else:
            for hold_id, committed in waiting:
                if hold_id is not None:
                    self._book.release(hold_id)
                _resolve(committed, self._refusal(error))
            self._pending = batch.without_holds(self._pending)
        for each in flushed:
            _resolve(each, None if error is None else self._refusal(error))
        idlers, self._idlers = self._idlers, []
        for each in idlers:
            _resolve(each, None)
        self._go_on(failed=error is not None)

    def _go_on(self, *, failed: bool) -> None:
        if self._waiting or self._flushed:
            self._schedule(soon=True)
        elif failed:
            self._timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._hand_over)
            self._timer_is_soon = False
        elif self._pending:
            self._schedule(soon=False)

    def _refusal(self, error: Exception) -> Refused:
        self._commit_problem = explain(error)
        message = (
            "spend cannot be recorded just now, so the request was not sent; try again in a moment, and tell the "
            "operator if it stays so"
        )
        return Refused(Reason.STORE_UNAVAILABLE, message, {"retry-after": "5"})


def _let_be(task: asyncio.Task[StoredLimit | None]) -> None:
    """Nobody hears any more how it ended; a change that failed was not made."""
    task.add_done_callback(lambda ended: None if ended.cancelled() else ended.exception())


def _resolve(future: Committed, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
