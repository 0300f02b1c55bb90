"""The store on Postgres, for any number of gateways: the database decides and keeps, this asks it in batches.

What runs where: `lane.py` commits holds and their ends, `limits.py` keeps which limits hold for all replicas,
`records.py` and `agents.py` keep what gateways tell each other beside money, `house.py` folds and beats the heart,
`journal.py` writes down what cannot be said while the database is away. A process
that dies leaves its holds to the others: they expire at the held amount when its heart has stopped for a while, and if
it was only paused or cut off, what it reports afterwards corrects them.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from gateway.config import Store as StoreConfig
from gateway.core.agents.lineage import AgentRecord, Claimed
from gateway.core.money.budgets import Expired
from gateway.core.money.stored_limits import AuditedChange, Author, LimitChange, StoredLimit
from gateway.core.money.windows import Calendar
from gateway.ports import RecordChange, RecordKind, SharedRecord
from gateway.stores.credentials import CredentialRow
from gateway.stores.postgres import credentials, limits
from gateway.stores.postgres.agents import Agents
from gateway.stores.postgres.house import House
from gateway.stores.postgres.journal import Left
from gateway.stores.postgres.lane import Lane, StoreAway
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.lines import Failed, Line, PostgresError, asking, refusal, shown
from gateway.stores.postgres.records import Records
from gateway.stores.postgres.series import Known
from gateway.tasks import Tasks

JOURNALS_SECONDS = 1.0
"""Before it is tried again whether what dead processes had written down is committed."""
CLOSE_SECONDS = 3.0
"""How long closing waits for what is queued."""


class PostgresStore(PostgresLedger):
    """Everything that outlives a process. Made by `open_postgres`; use it from one event loop; `close` it."""

    def __init__(self, config: StoreConfig, lane: Lane, known: Known, calendar: Calendar, owner: str) -> None:
        super().__init__(config, lane, known, calendar)
        self._url = config.url
        self._house = House(self._keeper, lambda: (lane.number, lane.generation), lambda: lane.now_ms)
        self._shared = Line(config.url, "records")
        self._records = Records(self._shared, owner, self._is_away)
        self._agents = Agents(self._shared, owner, self._is_away, config.on_failure)
        self._left: list[Left] = []
        self._tasks = Tasks()
        self._running: list[asyncio.Task[Any]] = []
        self.expired_at_open: list[Expired] = []
        """Nothing: what dead owners left is expired by `expire`, of which one replica is told."""

    def start(self, left: list[Left]) -> None:
        """Begin to work, with what journals of dead processes hold."""
        self._left = left
        for each in left:
            self.replay(each)
        self._running += [
            self._tasks.spawn("ledger lane", self._lane.run()),
            self._tasks.spawn("ledger house", self._house.run()),
            self._tasks.spawn("shared records", self._records.run()),
            self._tasks.spawn("agents", self._agents.run()),
            self._tasks.spawn("agents claimed", self._agents.run_claims()),
        ]
        if left:
            self._running.append(self._tasks.spawn("ledger journals", self._remove_journals()))

    @property
    def owner(self) -> int:
        """The number that this process holds under."""
        return self._lane.number

    async def stored_limits(self) -> list[StoredLimit]:
        """Limits that operators set, in the order of creation."""
        async with asking(self._people) as connection:
            return await limits.read(connection)

    async def change_limit(self, which: str, change: LimitChange, author: Author) -> StoredLimit | None:
        """Replace one by what `change` makes of it; every replica goes by it when this returns."""
        async with asking(self._people) as connection:
            changed = await limits.change(connection, which, change, author)
            await self._lane.load_limits(connection)
        return changed

    async def limit_audit(self, after: int, most: int) -> list[AuditedChange]:
        """Changes of limits after number `after`, oldest first."""
        async with asking(self._people) as connection:
            return await limits.read_audit(connection, after, most)

    def save_record(self, kind: RecordKind, id: str, text: bytes) -> None:
        """Write it soon, as the latest."""
        self._records.save_record(kind, id, text)

    async def change_record(self, kind: RecordKind, id: str, change: RecordChange) -> bytes | None:
        """Replace it by what `change` makes of it; every replica can know it when this returns."""
        return await self._records.change_record(kind, id, change)

    async def load_records(self) -> list[SharedRecord]:
        """All of them."""
        return await self._records.load_records()

    async def changed_records(self) -> list[SharedRecord]:
        """What was written since the last call, but for what was saved here."""
        return await self._records.changed_records()

    async def claim_agent(self, record: AgentRecord) -> Claimed:
        """Tell what is known of its session and of itself."""
        return await self._agents.claim_agent(record)

    def save_agent(self, record: AgentRecord) -> None:
        """Write what was counted here within about a second."""
        self._agents.save_agent(record)

    def release_agent(self, session: str, agent: str) -> None:
        """It is none: its spawn was denied."""
        self._agents.release_agent(session, agent)

    async def used_elsewhere(self, sessions: Sequence[str]) -> list[AgentRecord]:
        """What other gateways counted of these sessions' agents since this one was told of them."""
        return await self._agents.used_elsewhere(sessions)

    async def load_agents(self, since_ms: int) -> list[AgentRecord]:
        """Agents that any gateway saw at or after `since_ms`, those seen first before the others."""
        return await self._agents.load_agents(since_ms)

    async def load_credentials(self) -> list[CredentialRow]:
        """Every credential in the database, revoked ones too."""
        async with asking(self._people) as connection:
            return await credentials.read_credentials(connection)

    async def credentials_version(self) -> int:
        """A number that grows whenever a credential is created or revoked, also by another process."""
        async with asking(self._people) as connection:
            return await credentials.read_version(connection)

    @property
    def problem(self) -> str | None:
        """Why the database or the journal could not be written at the last try, for the operator."""
        problem = self._lane.problem or self._house.problem
        if problem is not None:
            return f"database {shown(self._url)} {problem}"
        return None if self._lane.journal is None else self._lane.journal.problem

    @property
    def journal_entries(self) -> int:
        """Written down and not in the database yet."""
        return 0 if self._lane.journal is None else self._lane.journal.entries

    async def flush(self) -> None:
        """Return when everything queued so far is committed; it is folded too, unless another replica is at it.

        Raises:
            Refused: STORE_UNAVAILABLE, it could not be; it stays queued.
        """
        try:
            await self._lane.flush()
            await self._records.flush()
            await self._agents.flush()
            with contextlib.suppress(PostgresError):  # somebody else is at it, or will be within a second
                await self._house.fold()
        except (StoreAway, *Failed) as error:
            raise refusal() from error

    async def close(self) -> None:
        """Commit what is queued and take leave. Holds still open are expired by another replica, or the next start.

        Raises:
            Refused: STORE_UNAVAILABLE, something could not be committed; it is in the journal, for the next start.
        """
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.flush()
                await self._house.leave()
        except (TimeoutError, *Failed) as error:
            raise refusal() from error
        finally:
            await self._stop()

    async def _stop(self) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.close(CLOSE_SECONDS)
        await self._lane.close()
        for line in (self._people, self._keeper, self._shared):
            await line.close()
        for left in self._left:
            left.give_back()

    async def _remove_journals(self) -> None:
        while self._left:
            try:
                await self._lane.flush()
            except StoreAway:
                await asyncio.sleep(JOURNALS_SECONDS)
                continue
            while self._left:
                self._left.pop().remove()

    def _is_away(self) -> bool:
        return self._lane.problem is not None
