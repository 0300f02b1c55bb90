"""The store without a disk: the same book, nothing survives. For tests and for trying things out."""

from collections.abc import Sequence

from gateway.core.budgets import Expired, Hold, LimitView
from gateway.core.fuse import FuseRecord
from gateway.core.ledger import LedgerBook, Spend
from gateway.core.limits import Amounts, Limits, Series
from gateway.core.lineage import AgentRecord
from gateway.core.stored_limits import AuditedChange, Author, LimitChange, StoredLimit, together
from gateway.core.windows import Calendar


class MemoryStore:
    """Ledger, limits, fuses and lineage in memory."""

    def __init__(self, limits: Limits, now_ms: int = 0, *, calendar: Calendar | None = None) -> None:
        self._configured = limits
        self._book = LedgerBook(limits, now_ms, calendar)
        self._history: dict[str, list[Spend]] = {}
        self._limits: dict[str, StoredLimit] = {}
        self._changes: list[AuditedChange] = []
        self._fuses: dict[str, FuseRecord] = {}
        self._agents: dict[tuple[str, str, str], AgentRecord] = {}
        self.overshot_nanousd = 0
        """What settlements took spend past limits of cost, in all."""

    async def reserve(self, hold: Hold) -> tuple[LimitView, ...]:
        """Hold on every limit or on none; raises `Exhausted`."""
        self._recall(self._book.missing(hold.accounts, hold.model, hold.backends, hold.added), hold.created_ms)
        return self._book.reserve(hold)

    async def extend(self, hold_id: str, worst: Amounts, expected: Amounts, now_ms: int) -> bool:
        """Raise an open hold; raises `Exhausted`."""
        return self._book.extend(hold_id, worst, expected, now_ms)

    def settle(self, hold_id: str, spent: Amounts, backend: str, now_ms: int) -> None:
        """Turn the hold into spend."""
        settled = self._book.settle(hold_id, spent, backend, now_ms)
        if settled is not None:
            self._note(settled.hold.accounts, settled.spends)
            self.overshot_nanousd += sum(amount for row, amount in settled.overshot if row.meter == "cost")

    def release(self, hold_id: str) -> None:
        """Give the hold back."""
        self._book.release(hold_id)

    async def expire(self, now_ms: int) -> list[Expired]:
        """Settle holds past their deadline at the held amount."""
        expired = self._book.expire(now_ms)
        for each in expired:
            self._note(each.accounts, each.spends)
        return expired

    def views(self, now_ms: int) -> list[LimitView]:
        """Every limit that names its account, and the others that were met lately."""
        return self._book.views(now_ms)

    async def standing(self, accounts: Sequence[str], now_ms: int) -> list[LimitView]:
        """Every limit that a request on these accounts can meet."""
        self._recall(self._book.missing(accounts, None, ()), now_ms)
        return self._book.standing(accounts, now_ms)

    async def used(self, series: Sequence[Series], now_ms: int) -> list[int]:
        """What each series has used."""
        self._recall(self._book.unknown(series), now_ms)
        return [self._book.used(each, now_ms) for each in series]

    def is_strict(self, accounts: Sequence[str], model: str, backends: Sequence[str]) -> bool:
        """Does a strict limit apply?"""
        return self._book.is_strict(accounts, model, backends)

    def spent(self, account: str) -> int:
        """Nano-dollars spent by an account in all."""
        return self._book.used(Series(account), 0)

    def held_total(self) -> int:
        """Nano-dollars held now."""
        return self._book.held_total()

    def open_holds(self) -> tuple[int, int | None]:
        """How many holds have not ended, and when the oldest was made."""
        return self._book.open_holds()

    async def stored_limits(self) -> list[StoredLimit]:
        """Limits that operators set, in the order of creation."""
        return list(self._limits.values())

    async def change_limit(self, which: str, change: LimitChange, author: Author) -> StoredLimit | None:
        """Replace one by what `change` makes of it."""
        before = next((limit for limit in self._limits.values() if which in (limit.id, limit.slot)), None)
        after = change(before)
        target = after or before
        if target is None:
            return None
        if after is not None:
            self._limits[after.id] = after
        else:
            del self._limits[target.id]
        old, new = (None if limit is None else limit.document for limit in (before, after))
        self._changes.append(AuditedChange(len(self._changes) + 1, author, target.id, old, new))
        self._book.change_limits(together(self._configured, list(self._limits.values())))
        self._recall(self._book.unknown(each.series for each in self._book.limits.pools()), author.at_ms)
        return after

    async def limit_audit(self, after: int, most: int) -> list[AuditedChange]:
        """Changes of limits after number `after`, oldest first."""
        return self._changes[after : after + most]

    def save_fuse(self, record: FuseRecord) -> None:
        """Remember a fuse."""
        self._fuses[record.id] = record

    async def load_fuses(self) -> list[FuseRecord]:
        """Fuses remembered."""
        return list(self._fuses.values())

    def save_agent(self, record: AgentRecord) -> None:
        """Remember an agent."""
        self._agents[record.credential, record.session, record.agent] = record

    async def load_agents(self, since_ms: int) -> list[AgentRecord]:
        """Agents seen since."""
        seen = [record for record in self._agents.values() if record.last_seen_ms >= since_ms]
        return sorted(seen, key=lambda record: record.last_seen_ms)

    async def flush(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """Nothing is open."""

    def _note(self, accounts: Sequence[str], spends: Sequence[Spend]) -> None:
        for account in accounts:
            self._history.setdefault(account, []).extend(spends)

    def _recall(self, missing: Sequence[Series], now_ms: int) -> None:
        for series in missing:
            self._book.restore(series, self._history.get(series.account, ()), now_ms)
