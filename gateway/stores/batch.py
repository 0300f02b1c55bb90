"""What the ledger writes, as one transaction per batch, and how it is read back. No threads and no arithmetic here.

A hold is inserted when it is reserved and marked with what it cost when it ends; ended holds are folded into the usage
of their accounts about once a second. So a request costs one small insert and one small update, and a commit that is
repeated because nobody knows whether it was done counts nothing twice.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from gateway.core.money.budgets import Expired, Hold, Settled
from gateway.core.money.ledger import Spend
from gateway.core.money.limits import NOTHING, PASSING_KINDS, Amounts, kind_of
from gateway.core.money.windows import DAY_MS, QUARTER_MS
from gateway.stores.kept import Kept

KEPT_MS = 63 * DAY_MS
"""Usage older than this is kept by day: no window but `total` reaches back that far."""

_accounts = msgspec.json.Decoder(tuple[str, ...])

Counted = tuple[int, int, int, int]
"""Cost, requests, output tokens, total tokens: the meters that are kept."""
HoldRow = tuple[str, bytes, str, str, int, int, int, int, int, int | None]
EndRow = tuple[int, int, int, int, str, int, str]
ExtendRow = tuple[int, int, int, int, str]
_Place = tuple[str, int, str, str]
"""Account, quarter, model, backend."""


def counted(amounts: Amounts) -> Counted:
    """What is kept of amounts."""
    return amounts.cost, amounts.requests, amounts.output_tokens, amounts.total_tokens


def hold_row(hold: Hold, charge: Amounts) -> HoldRow:
    """An open hold as it is inserted."""
    accounts = msgspec.json.encode(hold.accounts)
    return hold.id, accounts, hold.model, hold.backend, *counted(charge), hold.deadline_ms, None


def end_row(id: str, spend: Spend) -> EndRow:
    """The end of a hold as it is marked."""
    return *counted(spend.amounts), spend.backend, spend.quarter_ms, id


def correction_rows(settled: Settled) -> list[HoldRow]:
    """What was counted for an expired hold taken back, and what it really used: each an ended hold of its own."""
    id, accounts = settled.hold.id, msgspec.json.encode(settled.hold.accounts)
    return [
        (f"{id}+{number}", accounts, spend.model, spend.backend, *counted(spend.amounts), 0, spend.quarter_ms)
        for number, spend in enumerate(settled.spends)
    ]


@dataclass(slots=True)
class Batch:
    """What is to be written together, in this order."""

    holds: list[HoldRow] = field(default_factory=list[HoldRow])
    extends: list[ExtendRow] = field(default_factory=list[ExtendRow])
    ends: list[EndRow] = field(default_factory=list[EndRow])
    releases: list[str] = field(default_factory=list[str])
    corrections: list[HoldRow] = field(default_factory=list[HoldRow])
    spends: list[tuple[tuple[str, ...], Spend]] = field(default_factory=list[tuple[tuple[str, ...], Spend]])
    """What `ends` and `corrections` will add to the usage of which accounts."""
    kept: Kept = field(default_factory=Kept)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __len__(self) -> int:
        money = len(self.holds) + len(self.extends) + len(self.ends) + len(self.releases) + len(self.corrections)
        return money + len(self.kept)

    def without_holds(self, later: "Batch") -> "Batch":
        """What must still be written after a failed commit, before what came in meanwhile.

        The holds were refused, and released in case the commit was done after all; extensions were refused too.
        """
        return Batch(
            holds=later.holds,
            extends=later.extends,
            ends=self.ends + later.ends,
            releases=self.releases + [row[0] for row in self.holds] + later.releases,
            corrections=self.corrections + later.corrections,
            spends=self.spends + later.spends,
            kept=self.kept.then(later.kept),
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


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Generator[None]:
    """Several reads of one state."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def write(connection: sqlite3.Connection, batch: Batch) -> None:
    """Commit a batch."""
    with transaction(connection):
        insert = "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        if batch.holds:
            connection.executemany(insert, batch.holds)
        amounts = "cost = ?, requests = ?, output_tokens = ?, total_tokens = ?"
        if batch.extends:
            connection.executemany(f"UPDATE holds SET {amounts} WHERE id = ? AND ended_ms IS NULL", batch.extends)
        if batch.ends:
            query = f"UPDATE holds SET {amounts}, backend = ?, ended_ms = ? WHERE id = ? AND ended_ms IS NULL"
            connection.executemany(query, batch.ends)
        if batch.releases:
            query = "DELETE FROM holds WHERE id = ? AND ended_ms IS NULL"
            connection.executemany(query, [(id,) for id in batch.releases])
        if batch.corrections:
            connection.executemany(f"{insert} ON CONFLICT DO NOTHING", batch.corrections)
        batch.kept.write(connection)


def fold(connection: sqlite3.Connection) -> None:
    """Move ended holds into the usage of their accounts."""
    with transaction(connection):
        _add_usage(connection, _usage_of_ended(connection))
        connection.execute("DELETE FROM holds WHERE ended_ms IS NOT NULL")


def expire_orphans(connection: sqlite3.Connection, now_ms: int) -> list[Expired]:
    """End the holds that a dead owner left, at the held amount; returns them."""
    query = (
        "UPDATE holds SET ended_ms = ? WHERE ended_ms IS NULL "
        "RETURNING id, accounts, model, backend, cost, requests, output_tokens, total_tokens"
    )
    rows = connection.execute(query, (now_ms,)).fetchall()
    fold(connection)
    return [
        Expired(id, _accounts.decode(accounts), model, backend, Amounts(*amounts, active_requests=0))
        for id, accounts, model, backend, *amounts in rows
    ]


def fold_days(connection: sqlite3.Connection, now_ms: int) -> None:
    """Keep usage of long ago by day."""
    old = f"quarter_ms < ? AND quarter_ms % {DAY_MS} != 0"
    before = (now_ms - KEPT_MS,)
    with transaction(connection):
        sums = "SUM(cost), SUM(requests), SUM(output_tokens), SUM(total_tokens)"
        day = f"quarter_ms - quarter_ms % {DAY_MS}"
        query = f"SELECT account, {day}, model, backend, {sums} FROM usage WHERE {old} GROUP BY 1, 2, 3, 4"
        rows = connection.execute(query, before).fetchall()
        connection.execute(f"DELETE FROM usage WHERE {old}", before)
        _add_usage(connection, {row[:4]: Amounts(*row[4:], active_requests=0) for row in rows})


def _usage_of_ended(connection: sqlite3.Connection) -> dict[_Place, Amounts]:
    """Summed by SQLite as far as it can: requests of one agent in one quarter hour are one row here."""
    quarter = f"ended_ms - ended_ms % {QUARTER_MS}"
    totals = "SUM(cost), SUM(requests), SUM(output_tokens), SUM(total_tokens)"
    places = f"accounts, {quarter}, model, backend"
    query = f"SELECT {places}, {totals} FROM holds WHERE ended_ms IS NOT NULL GROUP BY 1, 2, 3, 4"
    sums: dict[_Place, Amounts] = defaultdict(lambda: NOTHING)
    for accounts, quarter_ms, model, backend, *amounts in connection.execute(query):
        spent = Amounts(*amounts, active_requests=0)
        for account in _accounts.decode(accounts):
            sums[account, quarter_ms, model, backend] = sums[account, quarter_ms, model, backend].plus(spent)
    return sums


def _add_usage(connection: sqlite3.Connection, sums: dict[_Place, Amounts]) -> None:
    query = (
        "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET cost = cost + excluded.cost, "
        "requests = requests + excluded.requests, output_tokens = output_tokens + excluded.output_tokens, "
        "total_tokens = total_tokens + excluded.total_tokens"
    )
    connection.executemany(query, [(*place, *counted(amounts)) for place, amounts in sums.items() if any(amounts)])


def _spend(row: HoldRow) -> Spend:
    """What an ended hold adds to the usage of each of its accounts."""
    _, _, model, backend, cost, requests, output_tokens, total_tokens, _, ended_ms = row
    assert ended_ms is not None
    amounts = Amounts(cost, requests, output_tokens, total_tokens, active_requests=0)
    return Spend(ended_ms - ended_ms % QUARTER_MS, model, backend, amounts)


def read_usage(connection: sqlite3.Connection, account: str) -> list[Spend]:
    """Folded usage of one account."""
    columns = "quarter_ms, model, backend, cost, requests, output_tokens, total_tokens"
    rows = connection.execute(f"SELECT {columns} FROM usage WHERE account = ?", (account,))
    return [
        Spend(quarter_ms, model, backend, Amounts(*amounts, active_requests=0))
        for quarter_ms, model, backend, *amounts in rows
    ]


def read_unfolded(connection: sqlite3.Connection, account: str) -> list[Spend]:
    """What ended holds will add to the usage of an account. Read it in one transaction with `read_usage`."""
    query = "SELECT * FROM holds WHERE ended_ms IS NOT NULL AND instr(accounts, ?)"
    rows = connection.execute(query, (msgspec.json.encode(account),))
    return [_spend(row) for row in rows if account in _accounts.decode(row[1])]


def read_lasting_accounts(connection: sqlite3.Connection) -> list[str]:
    """Accounts with usage that are not a session, run or agent."""
    names = [name for (name,) in connection.execute("SELECT DISTINCT account FROM usage")]
    return [name for name in names if kind_of(name) not in PASSING_KINDS]
