"""The store without a disk: the same book, nothing survives. For tests and for trying things out."""

from collections.abc import Sequence

from gateway.contract import MAIN_AGENT
from gateway.core.agents.lineage import AgentRecord, Claimed
from gateway.core.money.budgets import Expired, Hold, LimitView
from gateway.core.money.ledger import LedgerBook, Spend
from gateway.core.money.limits import Amounts, Limits, Series
from gateway.core.money.stored_limits import AuditedChange, Author, LimitChange, StoredLimit, together
from gateway.core.money.windows import Calendar
from gateway.ports import RecordChange, RecordKind, SharedRecord


class MemoryStore:
    """Ledger, limits, shared records and lineage in memory."""

    def __init__(self, limits: Limits, now_ms: int = 0, *, calendar: Calendar | None = None) -> None:
        self._configured = limits
        self._book = LedgerBook(limits, now_ms, calendar)
        self._history: dict[str, list[Spend]] = {}
        self._limits: dict[str, StoredLimit] = {}
        self._changes: list[AuditedChange] = []
        self._records: dict[tuple[RecordKind, str], bytes] = {}
        self._changed: dict[tuple[RecordKind, str], bytes | None] = {}
        self._sessions: dict[str, tuple[str, str]] = {}
        """Credential and user."""
        self._agents: dict[str, dict[str, AgentRecord | None]] = {}
        """By session. None: claimed, and not saved yet."""
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

    def save_record(self, kind: RecordKind, id: str, text: bytes) -> None:
        """Remember a record."""
        self._records[kind, id] = text

    async def change_record(self, kind: RecordKind, id: str, change: RecordChange) -> bytes | None:
        """Replace a record by what `change` makes of it."""
        before = self._records.get((kind, id))
        after = change(before)
        if after != before:
            self._changed[kind, id] = after
        if after is not None:
            self._records[kind, id] = after
        elif before is not None:
            del self._records[kind, id]
        return after

    async def load_records(self) -> list[SharedRecord]:
        """Records remembered."""
        return [SharedRecord(*key, text) for key, text in self._records.items()]

    async def changed_records(self) -> list[SharedRecord]:
        """What was changed here, in case whoever changed it has left since."""
        changed, self._changed = self._changed, {}
        return [SharedRecord(*key, text) for key, text in changed.items()]

    async def claim_agent(self, record: AgentRecord) -> Claimed:
        """Tell what is known of its session and of itself."""
        credential, user = self._sessions.setdefault(record.session, (record.credential, record.user))
        agents = self._agents.setdefault(record.session, {})
        seen = agents.setdefault(record.agent, None) if credential == record.credential else None
        return Claimed(credential, user, len(agents) - (MAIN_AGENT in agents), seen)

    def save_agent(self, record: AgentRecord) -> None:
        """Remember an agent."""
        self._sessions.setdefault(record.session, (record.credential, record.user))
        self._agents.setdefault(record.session, {})[record.agent] = record

    def release_agent(self, session: str, agent: str) -> None:
        """It is none: its spawn was denied."""
        self._agents.get(session, {}).pop(agent, None)

    async def used_elsewhere(self, sessions: Sequence[str]) -> list[AgentRecord]:
        """Nothing: there is no other gateway."""
        return []

    async def load_agents(self, since_ms: int) -> list[AgentRecord]:
        """Agents seen since."""
        agents = [record for each in self._agents.values() for record in each.values() if record is not None]
        seen = [record for record in agents if record.last_seen_ms >= since_ms]
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
