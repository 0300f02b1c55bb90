"""What is read of holds and sums outside of batches: for people, for metrics, to find what is overdue."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from gateway.core.money.budgets import Hold, LimitView
from gateway.core.money.limits import Amounts, Applied, Limits, Series
from gateway.core.money.windows import Calendar
from gateway.stores.postgres.lines import Connection, Row
from gateway.stores.postgres.series import columns_of

_SUMS = f"SELECT * FROM ringfence.sums_of({', '.join(f'${n}' for n in range(1, 12))})"


class Sums(NamedTuple):
    """One series as it stands."""

    used: int
    worst: int
    expected: int
    ends_ms: int | None

    def view(self, applied: Applied) -> LimitView:
        """The limit on it."""
        held = self.worst if applied.row.strict else self.expected
        return LimitView(applied.series, applied.row, self.used, held, self.ends_ms)


async def sums(connection: Connection, series: Sequence[Series], calendar: Calendar, now_ms: int) -> list[Sums]:
    """Each series as it stands, whether it is counted yet or not."""
    if not series:
        return []
    rows = await connection.fetch(_SUMS, now_ms, *columns_of(series, calendar, now_ms))
    return [Sums(*row) for row in rows]


async def overdue(connection: Connection, now_ms: int, silence_seconds: float, most: int) -> list[Hold]:
    """Open holds whose deadline has come, and those of owners whose heart is silent, who are fenced before."""
    await connection.execute("SELECT ringfence.fence_owners($1)", timedelta(seconds=silence_seconds))
    rows = await connection.fetch(
        "SELECT h.* FROM ringfence.holds h WHERE h.state = 'open' AND (h.deadline_ms <= $1 "
        "OR h.owner IN (SELECT o.number FROM ringfence.owners o WHERE o.generation = 0)) LIMIT $2",
        *(now_ms, most),
    )
    return [_hold(row) for row in rows]


async def pools(connection: Connection, limits: Limits) -> list[Row]:
    """Rows of all series of the accounts that have a limit of their own."""
    accounts = sorted({each.series.account for each in limits.pools()})
    return await connection.fetch("SELECT * FROM ringfence.counters WHERE account = ANY ($1)", accounts)


def _hold(row: Row) -> Hold:
    worst, expected = Amounts(*row["worst"]), Amounts(*row["expected"])
    accounts, backends, deadline_ms = tuple(row["accounts"]), tuple(row["backends"]), row["deadline_ms"]
    return Hold(row["id"], accounts, row["model"], backends, worst, expected, deadline_ms, deadline_ms)
