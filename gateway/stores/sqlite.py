"""The store on a SQLite file: the book in memory decides, group commits make it last (`writer.py`).

The process owns the file; a second one is refused (`database.Owner`), credentials are the exception. `reserve` guards
in memory at once and returns when its row is committed; settlements are queued and never dropped: a commit that fails
is tried again, its reservations are refused. A settlement that was queued when the process was killed is not lost
either: its hold is still in the file, and the next start expires it at the held amount.

Spend of sessions, runs and agents is read back when one of them is seen again, all other accounts when the file is
opened. Not for several gateways at once: that needs Postgres.
"""

import asyncio
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from gateway.core.money.budgets import Expired, Hold, LimitView
from gateway.core.money.ledger import LedgerBook, Spend
from gateway.core.money.limits import Amounts, Limits, Series
from gateway.core.money.stored_limits import AuditedChange, Author, LimitChange, StoredLimit, together
from gateway.core.money.windows import HOUR_MS, Calendar
from gateway.errors import Refused
from gateway.ports import NOBODY_TOLD, Told
from gateway.stores import batch as rows
from gateway.stores import kept
from gateway.stores.credentials import CredentialRow as CredentialRow
from gateway.stores.credentials import CredentialRows as CredentialRows
from gateway.stores.credentials import read_credentials, read_version
from gateway.stores.database import Owner, check_pages, connect, explained
from gateway.stores.group import RETRY_SECONDS, GroupCommit
from gateway.stores.limits import LimitRows
from gateway.stores.remembered import RememberedRows
from gateway.tasks import Tasks

CLOSE_TRIES = 3
CHANGE_SECONDS = 10.0
"""How long the last change of a limit may take when the store is closed."""
IDLE_MS = HOUR_MS
"""Tags, sessions, runs and agents untouched for this long leave memory: what they used has long been folded then."""
NEVER_MS = 0
"""Those that were never touched leave it at once: clients choose their names, and a refused request costs nothing."""
FORGET_MS = HOUR_MS
"""How often agents and sessions that were not seen for long are deleted."""


class SqliteStore(RememberedRows):
    """Everything that outlives a process. Use it from one event loop; `close` it."""

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
            super().__init__(GroupCommit(path, self._book.release), self._reader)
            undo.pop_all()
        self._changing_limits = asyncio.Lock()
        """Of the limits' rows: nobody reads a change that is not committed yet."""
        self._forget_due_ms = now_ms + FORGET_MS
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
        self._group.pending.holds.append(rows.hold_row(hold, self._book.charge(hold.id)))
        try:
            await self._group.commit(hold.id)
        except asyncio.CancelledError:
            self.release(hold.id)
            raise
        return views

    async def extend(self, hold_id: str, worst: Amounts, expected: Amounts, now_ms: int) -> bool:
        """Raise an open hold; on disk when it returns. False: it has ended. Raises as `reserve`."""
        before = self._book.hold(hold_id)
        if before is None or not self._book.extend(hold_id, worst, expected, now_ms):
            return False
        self._group.pending.extends.append((*rows.counted(self._book.charge(hold_id)), hold_id))
        try:
            await self._group.commit()
        except Refused:
            self._book.extend(hold_id, before.worst, before.expected, now_ms)
            raise
        return True

    def settle(self, hold_id: str, spent: Amounts, backend: str, now_ms: int) -> None:
        """Turn the hold into spend; a second call changes nothing. Does not wait for the disk."""
        settled = self._book.settle(hold_id, spent, backend, now_ms)
        if settled is None:
            return
        if settled.corrects:
            self._group.pending.corrections += rows.correction_rows(settled)
            self._told.corrected(hold_id)
        else:
            self._group.pending.ends.append(rows.end_row(hold_id, settled.spends[0]))
        self._group.pending.spends += [(settled.hold.accounts, spend) for spend in settled.spends]
        self._group.schedule(soon=False)
        for row, amount in settled.overshot:
            self._told.overshot(row, amount)

    def release(self, hold_id: str) -> None:
        """Give the hold back. Does not wait for the disk."""
        if self._book.release(hold_id):
            self._group.pending.releases.append(hold_id)
            self._group.schedule(soon=False)

    async def expire(self, now_ms: int) -> list[Expired]:
        """Settle holds past their deadline at the held amount and forget idle accounts. Call it every few seconds."""
        expired = self._book.expire(now_ms)
        for each in expired:
            self._group.pending.ends.append(rows.end_row(each.id, each.spends[0]))
            self._group.pending.spends += [(each.accounts, spend) for spend in each.spends]
            self._group.schedule(soon=False)
        self._book.drop_idle(now_ms - IDLE_MS if self._group.all_folded else NEVER_MS + 1)
        self._forget_unseen(now_ms)
        return expired

    def _forget_unseen(self, now_ms: int) -> None:
        if now_ms >= self._forget_due_ms:
            self._forget_due_ms = now_ms + FORGET_MS
            self._group.pending.kept.unseen_since_ms = now_ms - kept.UNSEEN_MS
            self._group.schedule(soon=False)

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
        async with self._changing_limits:
            with explained(self._path):
                return self._limit_rows.read()

    async def change_limit(self, which: str, change: LimitChange, author: Author) -> StoredLimit | None:
        """Replace one by what `change` makes of it; the ledger goes by it when this returns, or its caller has left."""
        return await self._tasks.finish("limit", self._change_limit(which, change, author), _let_be)

    async def _change_limit(self, which: str, change: LimitChange, author: Author) -> StoredLimit | None:
        async with self._changing_limits:
            try:
                changed = await asyncio.to_thread(self._limit_rows.change, which, change, author)
            except sqlite3.Error as error:
                raise self._group.refusal(error) from error
            for hold_id in self._book.change_limits(together(self._configured, self._limit_rows.read())):
                self._group.pending.extends.append((*rows.counted(self._book.charge(hold_id)), hold_id))
                self._group.schedule(soon=False)
            pools = self._book.unknown(each.series for each in self._book.limits.pools())
            while missing := self._book.unknown(pools):
                await self._recall(missing, author.at_ms)
        return changed

    async def limit_audit(self, after: int, most: int) -> list[AuditedChange]:
        """Changes of limits after number `after`, oldest first."""
        async with self._changing_limits:
            with explained(self._path):
                return self._limit_rows.read_audit(after, most)

    def held_total(self) -> int:
        """Nano-dollars held now."""
        return self._book.held_total()

    def open_holds(self) -> tuple[int, int | None]:
        """How many holds have not ended, and when the oldest was made."""
        return self._book.open_holds()

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
        return self._group.problem

    async def flush(self) -> None:
        """Return when everything queued so far is on disk.

        Raises:
            Refused: STORE_UNAVAILABLE, it could not be written; it stays queued.
        """
        self.write_meters()
        await self._group.flush()

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
            await self._group.close()
            self._reader.close()
            self._limit_rows.close()
            self._owner.close()

    def _load(self, now_ms: int) -> list[Expired]:
        with explained(self._path):
            expired = rows.expire_orphans(self._reader, now_ms)
            rows.fold_days(self._reader, now_ms)
            kept.forget(self._reader, now_ms - kept.UNSEEN_MS)
            series = [Series(account) for account in rows.read_lasting_accounts(self._reader)]
            for each in self._book.unknown((*series, *(pool.series for pool in self._book.limits.pools()))):
                self._book.restore(each, rows.read_usage(self._reader, each.account), now_ms)
        return expired

    async def _recall(self, missing: Sequence[Series], now_ms: int) -> None:
        """Begin to count series, with what their accounts used before: on disk, waiting to be folded, or queued."""
        counted = any(self._book.is_counted(each.account) for each in missing)
        if counted and self._group.busy:
            await self._group.idle()
            return
        with self._group.reading():
            histories = self._histories({each.account for each in missing})
        for each in missing:
            self._book.restore(each, histories[each.account], now_ms)

    def _histories(self, accounts: Collection[str]) -> dict[str, list[Spend]]:
        with rows.snapshot(self._reader):
            found = {
                account: rows.read_usage(self._reader, account) + rows.read_unfolded(self._reader, account)
                for account in accounts
            }
        for named, spend in self._group.pending.spends:
            for account in found.keys() & set(named):
                found[account].append(spend)
        return found


def _let_be(task: asyncio.Task[StoredLimit | None]) -> None:
    """Nobody hears any more how it ended; a change that failed was not made."""
    task.add_done_callback(lambda ended: None if ended.cancelled() else ended.exception())
