"""What the ledger writes, as one transaction per batch, and how it is read back. No threads and no arithmetic here.

A hold is inserted when it is reserved and marked with its cost when it ends; ended holds are folded into the spend of
their accounts about once a second. So a request costs one small insert and one small update, and a commit that is
repeated because nobody knows whether it was done counts nothing twice.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from gateway.core.fuse import FuseRecord
from gateway.core.ledger import PASSING_KINDS, Hold
from gateway.core.lineage import AgentRecord

HOURS_KEPT = 62 * 24
"""Spend older than this is kept by day: no window but `total` reaches back that far."""

_accounts = msgspec.json.Decoder(list[str])
_fuse = msgspec.json.Decoder(FuseRecord)
_agent = msgspec.json.Decoder(AgentRecord)

HoldRow = tuple[str, bytes, int, int]
EndRow = tuple[int, int, str]


def hold_row(hold: Hold, charge_nanousd: int) -> HoldRow:
    """A hold as it is inserted."""
    return hold.id, msgspec.json.encode(hold.accounts), charge_nanousd, hold.deadline_ms


@dataclass(slots=True)
class Batch:
    """What is to be written together. `ends` are (cost, hour, hold id); `releases` hold ids."""

    holds: list[HoldRow] = field(default_factory=list[HoldRow])
    ends: list[EndRow] = field(default_factory=list[EndRow])
    releases: list[str] = field(default_factory=list[str])
    fuses: dict[str, FuseRecord] = field(default_factory=dict[str, FuseRecord])
    agents: dict[tuple[str, str, str], AgentRecord] = field(default_factory=dict[tuple[str, str, str], AgentRecord])

    def __bool__(self) -> bool:
        return bool(self.holds or self.ends or self.releases or self.fuses or self.agents)

    def __len__(self) -> int:
        return len(self.holds) + len(self.ends) + len(self.releases) + len(self.fuses) + len(self.agents)

    def without_holds(self, later: "Batch") -> "Batch":
        """What must still be written after a failed commit, before what came in meanwhile.

        The holds were refused, and released in case the commit was done after all.
        """
        return Batch(
            holds=later.holds,
            ends=self.ends + later.ends,
            releases=self.releases + [row[0] for row in self.holds] + later.releases,
            fuses=self.fuses | later.fuses,
            agents=self.agents | later.agents,
        )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """All or nothing; the error passes on."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def write(connection: sqlite3.Connection, batch: Batch) -> None:
    """Commit a batch."""
    with transaction(connection):
        if batch.holds:
            connection.executemany("INSERT INTO holds VALUES (?, ?, ?, ?, NULL, NULL)", batch.holds)
        if batch.ends:
            query = "UPDATE holds SET cost_nanousd = ?, hour = ? WHERE id = ? AND cost_nanousd IS NULL"
            connection.executemany(query, batch.ends)
        if batch.releases:
            query = "DELETE FROM holds WHERE id = ? AND cost_nanousd IS NULL"
            connection.executemany(query, [(id,) for id in batch.releases])
        if batch.fuses:
            rows = [(id, msgspec.json.encode(record)) for id, record in batch.fuses.items()]
            connection.executemany("INSERT OR REPLACE INTO fuses VALUES (?, ?)", rows)
        if batch.agents:
            agents = [(*key, record.last_seen_ms, msgspec.json.encode(record)) for key, record in batch.agents.items()]
            connection.executemany("INSERT OR REPLACE INTO agents VALUES (?, ?, ?, ?, ?)", agents)


def fold(connection: sqlite3.Connection) -> None:
    """Move ended holds into the spend of their accounts."""
    with transaction(connection):
        sums: dict[tuple[str, int], int] = defaultdict(int)
        query = "SELECT accounts, cost_nanousd, hour FROM holds WHERE cost_nanousd IS NOT NULL"
        for accounts, cost, hour in connection.execute(query):
            for account in _accounts.decode(accounts):
                sums[account, hour] += cost
        _add_spend(connection, sums)
        connection.execute("DELETE FROM holds WHERE cost_nanousd IS NOT NULL")


def expire_orphans(connection: sqlite3.Connection, hour: int) -> int:
    """End the holds that a dead owner left, at the held amount; returns how many."""
    query = "UPDATE holds SET cost_nanousd = charge_nanousd, hour = ? WHERE cost_nanousd IS NULL"
    expired = connection.execute(query, (hour,)).rowcount
    fold(connection)
    return expired


def fold_days(connection: sqlite3.Connection, hour: int) -> None:
    """Keep spend of long ago by day."""
    old = "hour < ? AND hour % 24 != 0"
    with transaction(connection):
        query = f"SELECT account, hour - hour % 24, SUM(nanousd) FROM spend WHERE {old} GROUP BY 1, 2"
        sums = {(account, day): nanousd for account, day, nanousd in connection.execute(query, (hour - HOURS_KEPT,))}
        connection.execute(f"DELETE FROM spend WHERE {old}", (hour - HOURS_KEPT,))
        _add_spend(connection, sums)


def _add_spend(connection: sqlite3.Connection, sums: dict[tuple[str, int], int]) -> None:
    query = "INSERT INTO spend VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET nanousd = nanousd + excluded.nanousd"
    connection.executemany(query, [(*key, nanousd) for key, nanousd in sums.items() if nanousd])


def read_hours(connection: sqlite3.Connection, account: str) -> list[tuple[int, int]]:
    """Folded spend of one account: pairs of hour and nano-dollars."""
    return connection.execute("SELECT hour, nanousd FROM spend WHERE account = ?", (account,)).fetchall()


def read_lasting_accounts(connection: sqlite3.Connection) -> list[str]:
    """Accounts with spend that are not a session, run or agent."""
    names = [name for (name,) in connection.execute("SELECT DISTINCT account FROM spend")]
    return [name for name in names if name.partition(":")[0] not in PASSING_KINDS]


def read_fuses(connection: sqlite3.Connection) -> list[FuseRecord]:
    """Every stored fuse."""
    return [_fuse.decode(record) for (record,) in connection.execute("SELECT record FROM fuses")]


def read_agents(connection: sqlite3.Connection, since_ms: int) -> list[AgentRecord]:
    """Agents last seen at or after `since_ms`, those seen first before the others."""
    query = "SELECT record FROM agents WHERE last_seen_ms >= ? ORDER BY last_seen_ms"
    return [_agent.decode(record) for (record,) in connection.execute(query, (since_ms,))]
