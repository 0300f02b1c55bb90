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
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from gateway.core.fuse import FuseRecord
from gateway.core.ledger import PASSING_KINDS, AccountView, Hold, LedgerBook, Limits
from gateway.core.lineage import AgentRecord
from gateway.core.windows import HOUR_MS
from gateway.errors import Reason, Refused
from gateway.stores import batch as rows
from gateway.stores.batch import Batch
from gateway.stores.credentials import CredentialRow as CredentialRow
from gateway.stores.credentials import CredentialRows as CredentialRows
from gateway.stores.credentials import read_credentials, read_version
from gateway.stores.database import Owner, check_pages, connect, explain, explained
from gateway.stores.writer import QuickWriter, Writer

LINGER_SECONDS = 0.005
"""How long a settlement waits for company before it is written; a reservation takes it along."""
AGENTS_SECONDS = 1.0
"""How often meters of agents are written: they change with every request, and only their last state counts."""
RETRY_SECONDS = 0.5
"""Pause before what could not be written is tried again."""
CLOSE_TRIES = 3
IDLE_MS = HOUR_MS
"""Sessions, runs and agents untouched for this long leave memory."""

Committed = asyncio.Future[None]


class SqliteStore:
    """Ledger, fuses, lineage and credentials. Use it from one event loop; `close` it."""

    def __init__(self, path: Path, limits: Limits, now_ms: int) -> None:
        self._path = path
        with ExitStack() as undo:
            self._owner = Owner(path)
            undo.callback(self._owner.close)
            self._reader = connect(path)
            undo.callback(self._reader.close)
            check_pages(self._reader, path)
            self._book = LedgerBook(limits, now_ms)
            self.expired_at_open = self._load(now_ms)
            """Holds that a dead owner had left; they are spend now."""
            self._quick = QuickWriter(path)
            undo.callback(self._quick.close)
            self._writer = Writer(path)
            undo.pop_all()
        self._pending = Batch()
        self._waiting: list[tuple[str, Committed]] = []
        self._flushed: list[Committed] = []
        self._agents: dict[tuple[str, str, str], AgentRecord] = {}
        self._agents_timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._timer: asyncio.Handle | None = None
        self._timer_is_soon = False
        self._commit_problem: str | None = None
        self._fold_failures_before = 0
        """How often folding had failed when a commit last succeeded."""

    async def reserve(self, hold: Hold) -> None:
        """Hold on every account or on none; on disk when it returns.

        Raises:
            Exhausted: a limit would be passed.
            Refused: STORE_UNAVAILABLE, it could not be recorded; nothing is held.
        """
        self._recall(hold.accounts, hold.created_ms)
        charge = self._book.reserve(hold)
        committed = asyncio.get_running_loop().create_future()
        self._pending.holds.append(rows.hold_row(hold, charge))
        self._waiting.append((hold.id, committed))
        self._schedule(soon=True)
        try:
            await committed
        except asyncio.CancelledError:
            self.release(hold.id)
            raise

    def settle(self, hold_id: str, cost_nanousd: int, now_ms: int) -> None:
        """Turn the hold into spend; a second call changes nothing. Does not wait for the disk."""
        counted = self._book.settle(hold_id, cost_nanousd, now_ms)
        if counted is not None:
            self._end(hold_id, counted)

    def release(self, hold_id: str) -> None:
        """Give the hold back. Does not wait for the disk."""
        if self._book.release(hold_id):
            self._pending.releases.append(hold_id)
            self._schedule(soon=False)

    def expire(self, now_ms: int) -> list[str]:
        """Settle holds past their deadline at the held amount and forget idle accounts; returns the holds' ids.

        A settlement that comes later changes nothing: the hold has ended. Call it every few seconds.
        """
        expired = self._book.expire(now_ms)
        for each in expired:
            self._end(each.id, each.cost_nanousd)
        if not self._pending and not self._busy and self._writer.fold_problem is None:
            self._book.drop_idle(now_ms - IDLE_MS)
        return [each.id for each in expired]

    def views(self, accounts: Sequence[str] | None, now_ms: int) -> list[AccountView]:
        """Limits, spend and holds; None: every account with a limit that is named or was seen lately."""
        self._recall(accounts or (), now_ms)
        return self._book.views(accounts, now_ms)

    def is_strict(self, accounts: Sequence[str]) -> bool:
        """Does a strict limit hold for one of the accounts?"""
        return self._book.is_strict(accounts)

    def spent(self, account: str) -> int:
        """Nano-dollars spent by an account in all."""
        self._recall((account,), 0)
        return self._book.spent(account)

    def held_total(self) -> int:
        """Nano-dollars held now."""
        return self._book.held_total()

    def save_fuse(self, record: FuseRecord) -> None:
        """Remember a fuse across restarts. Does not wait for the disk."""
        self._pending.fuses[record.id] = record
        self._schedule(soon=False)

    def load_fuses(self) -> list[FuseRecord]:
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

    def load_agents(self, since_ms: int) -> list[AgentRecord]:
        """Agents last seen at or after `since_ms`, oldest first."""
        with explained(self._path):
            return rows.read_agents(self._reader, since_ms)

    def load_credentials(self) -> list[CredentialRow]:
        """Every credential in the database, revoked ones too."""
        with explained(self._path):
            return read_credentials(self._reader)

    def credentials_version(self) -> int:
        """A number that grows whenever a credential is created or revoked, also by another process."""
        with explained(self._path):
            return read_version(self._reader)

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
            self._owner.close()

    def _load(self, now_ms: int) -> int:
        hour = now_ms // HOUR_MS
        with explained(self._path):
            expired = rows.expire_orphans(self._reader, hour)
            rows.fold_days(self._reader, hour)
            for account in rows.read_lasting_accounts(self._reader):
                self._book.restore(account, rows.read_hours(self._reader, account), now_ms)
        return expired

    def _recall(self, accounts: Sequence[str], now_ms: int) -> None:
        """Bring the spend of accounts back that have left memory, or never were in it since the start."""
        for account in accounts:
            if account not in self._book and account.partition(":")[0] in PASSING_KINDS:
                try:
                    hours = rows.read_hours(self._reader, account)
                except sqlite3.Error as error:
                    raise self._refusal(error) from error
                self._book.restore(account, hours, now_ms)

    def _end(self, hold_id: str, cost_nanousd: int) -> None:
        self._pending.ends.append((cost_nanousd, self._book.hour, hold_id))
        self._schedule(soon=False)

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
        self, ended: tuple[Batch, list[tuple[str, Committed]], list[Committed]], error: Exception | None
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
                self._book.release(hold_id)
                _resolve(committed, self._refusal(error))
            self._pending = batch.without_holds(self._pending)
        for each in flushed:
            _resolve(each, None if error is None else self._refusal(error))
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


def _resolve(future: Committed, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
