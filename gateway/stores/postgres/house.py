"""What keeps the database in order, on a connection of its own: heartbeat, folding, tidying. Never the money itself.

Every replica tries; what only one may do has a lock that the others skip. While the database is away nothing happens
here: the lane tells that.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from gateway.core.money.limits import PASSING_KINDS
from gateway.core.money.windows import DAY_MS, HOUR_MS
from gateway.stores.postgres.lines import Connection, Failed, Line, PostgresError, explain

_log = logging.getLogger(__name__)

FOLD_SECONDS = 1.0
"""How long ended holds wait to be folded."""
FOLD_HOLDS_MAX = 20_000
"""Folded in one statement, to stay within the time of one."""
TIDY_ROUNDS = 60
"""Every so many foldings the rest is tidied up."""
VACUUM_ROUNDS = 10
"""Every so many foldings room that ended holds took is made free: more often than the server would by itself."""
CORRECTABLE_MS = DAY_MS
"""How long after a hold expired its true usage still corrects it."""
IDLE_MS = HOUR_MS
"""Sums of sessions, runs and agents untouched for this long are dropped; their usage stays."""
KEPT_MS = 63 * DAY_MS
"""Usage older than this is kept by day: no window but `total` reaches back that far."""

UNSEEN_MS = 30 * DAY_MS
"""Agents and sessions unseen for this long are forgotten; what they spent stays."""
FORGOTTEN_MAX = 10_000
"""Forgotten in one statement."""

_passing = f"^({'|'.join(sorted(PASSING_KINDS))}):"


class House:
    """`run` is to be kept running as a task."""

    def __init__(self, line: Line, owner: Callable[[], tuple[int, int]], now_ms: Callable[[], int]) -> None:
        self._line = line
        self._owner = owner
        self._now_ms = now_ms
        self.problem: str | None = None
        """Why the last round failed; None: it did not."""

    async def run(self) -> None:
        """Keep house, for ever."""
        rounds = 0
        while True:
            await asyncio.sleep(FOLD_SECONDS)
            rounds += 1
            try:
                async with self._line.use() as connection:
                    await self._beat(connection)
                    await connection.fetchval("SELECT ringfence.fold($1)", FOLD_HOLDS_MAX)
                    await self._sometimes(connection, rounds)
            except Failed as error:
                if self.problem is None:
                    _log.warning("the database could not be kept in order: it %s", explain(error))
                self.problem = explain(error)
            else:
                self.problem = None

    async def fold(self) -> None:
        """Fold now. Raises what the database raises."""
        async with self._line.use() as connection:
            await connection.fetchval("SELECT ringfence.fold($1)", FOLD_HOLDS_MAX)

    async def tidy(self) -> None:
        """Tidy up now. Raises what the database raises."""
        async with self._line.use() as connection:
            await self._tidy(connection)

    async def leave(self) -> None:
        """What this owner still holds may be expired at once."""
        query = "UPDATE ringfence.owners SET heartbeat = 'epoch' WHERE number = $1 AND generation = $2"
        async with self._line.use() as connection:
            await connection.execute(query, *self._owner())

    async def _beat(self, connection: Connection) -> None:
        query = "UPDATE ringfence.owners SET heartbeat = clock_timestamp() WHERE number = $1 AND generation = $2"
        await connection.execute(query, *self._owner())

    async def _sometimes(self, connection: Connection, rounds: int) -> None:
        if rounds % VACUUM_ROUNDS == 0:
            with contextlib.suppress(PostgresError):  # the server does it too, if seldom
                await connection.execute("VACUUM (SKIP_LOCKED, TRUNCATE off) ringfence.holds")
        if rounds % TIDY_ROUNDS == 0:
            await self._tidy(connection)

    async def _tidy(self, connection: Connection) -> None:
        now_ms = self._now_ms()
        before = (now_ms - CORRECTABLE_MS, now_ms - IDLE_MS, now_ms - KEPT_MS)
        await connection.execute("SELECT ringfence.tidy($1, $2, $3, $4)", *before, _passing)
        await connection.execute("SELECT ringfence.forget($1, $2)", now_ms - UNSEEN_MS, FORGOTTEN_MAX)
