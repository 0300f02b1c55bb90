"""The store without a disk: the same book, nothing survives. For tests and for trying things out."""

from collections.abc import Sequence

from gateway.core.fuse import FuseRecord
from gateway.core.ledger import AccountView, Hold, LedgerBook, Limits
from gateway.core.lineage import AgentRecord


class MemoryStore:
    """Ledger, fuses and lineage in memory."""

    def __init__(self, limits: Limits) -> None:
        self._book = LedgerBook(limits)
        self._fuses: dict[str, FuseRecord] = {}
        self._agents: dict[tuple[str, str, str], AgentRecord] = {}

    async def reserve(self, hold: Hold) -> None:
        """Hold on every account or on none; raises `Exhausted`."""
        self._book.reserve(hold)

    def settle(self, hold_id: str, cost_nanousd: int, now_ms: int) -> None:
        """Turn the hold into spend."""
        self._book.settle(hold_id, cost_nanousd, now_ms)

    def release(self, hold_id: str) -> None:
        """Give the hold back."""
        self._book.release(hold_id)

    def expire(self, now_ms: int) -> list[str]:
        """Settle holds past their deadline at the held amount; returns their ids."""
        return [expired.id for expired in self._book.expire(now_ms)]

    def views(self, accounts: Sequence[str] | None, now_ms: int) -> list[AccountView]:
        """Limits, spend and holds, for people."""
        return self._book.views(accounts, now_ms)

    def is_strict(self, accounts: Sequence[str]) -> bool:
        """Does a strict limit hold for one of the accounts?"""
        return self._book.is_strict(accounts)

    def spent(self, account: str) -> int:
        """Nano-dollars spent by an account in all."""
        return self._book.spent(account)

    def held_total(self) -> int:
        """Nano-dollars held now."""
        return self._book.held_total()

    def save_fuse(self, record: FuseRecord) -> None:
        """Remember a fuse."""
        self._fuses[record.id] = record

    def load_fuses(self) -> list[FuseRecord]:
        """Fuses remembered."""
        return list(self._fuses.values())

    def save_agent(self, record: AgentRecord) -> None:
        """Remember an agent."""
        self._agents[record.credential, record.session, record.agent] = record

    def load_agents(self, since_ms: int) -> list[AgentRecord]:
        """Agents seen since."""
        seen = [record for record in self._agents.values() if record.last_seen_ms >= since_ms]
        return sorted(seen, key=lambda record: record.last_seen_ms)

    async def flush(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """Nothing is open."""
