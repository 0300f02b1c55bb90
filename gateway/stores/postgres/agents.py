"""Sessions and agents in the database: each gateway keeps what it counted itself, the sum is what an agent used.

Claims that come while one round trip is under way make the next one. What a dead process counted counts on as another
gateway's. An agent that was claimed and not saved counts as an agent, but nobody is told that it was seen: its spawn
may be denied yet.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import msgspec

from gateway.contract import MAIN_AGENT
from gateway.core.agents.lineage import AgentRecord, Claimed
from gateway.errors import Reason, Refused
from gateway.stores.agents import NOTHING, Counts, Seeds, counts_of, less, together, total
from gateway.stores.postgres.lines import (
    RETRYABLE,
    Connection,
    Failed,
    Line,
    Row,
    asking,
    explain,
    is_about_content,
    sqlstate_of,
)

_log = logging.getLogger(__name__)

SAVE_SECONDS = 1.0
"""How often what was counted is written."""
CLAIMS_MAX = 200
"""Agents claimed in one round trip."""
TRIES = 3
"""How often claims are repeated that another gateway's got in the way of."""
QUEUED_MAX = 100_000
"""Agents that wait to be written; past it the one that waits for longest is dropped."""

_CLAIM = "SELECT * FROM ringfence.claim_agents($1, $2, $3, $4, $5, $6, $7, $8)"
_OF_OTHERS = "SELECT record FROM ringfence.agents WHERE session = ANY ($1) AND owner <> $2 AND saved"
_SEEN_SINCE = (
    "SELECT a.owner, a.record FROM ringfence.agents a WHERE a.saved AND EXISTS (SELECT FROM ringfence.agents n "
    "WHERE n.session = a.session AND n.agent = a.agent AND n.saved AND n.last_seen_ms >= $1)"
)

_agent = msgspec.json.Decoder(AgentRecord)

AgentKey = tuple[str, str]
"""Session and agent."""
OnFailure = Literal["closed", "open"]


class _Claim(NamedTuple):
    record: AgentRecord
    answered: "asyncio.Future[Claimed]"


class Agents:
    """Implements `ports.LineageStore`. `run` and `run_claims` are to be kept running as tasks."""

    def __init__(self, line: Line, owner: str, away: Callable[[], bool], on_failure: OnFailure) -> None:
        self._line = line
        self._owner = owner
        self._away = away
        self._on_failure = on_failure
        self._seeds = Seeds()
        self._saves: dict[AgentKey, tuple[AgentRecord, Counts]] = {}
        """With the seed that is in it."""
        self._released: dict[AgentKey, None] = {}
        self._claims: list[_Claim] = []
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many wait to be written or deleted."""
        return len(self._saves) + len(self._released)

    async def claim_agent(self, record: AgentRecord) -> Claimed:
        """Tell what is known of its session and of itself; what is new is committed when it returns.

        While the database is away it is refused, or, with `on_failure: open`, taken for new.
        """
        if not self._away():
            claim = _Claim(record, asyncio.get_running_loop().create_future())
            self._claims.append(claim)
            self._wake.set()
            try:
                return await claim.answered
            except (*Failed, ValueError) as error:
                _log.debug("an agent was not looked up: the database %s", explain(error))
        if self._on_failure == "closed":
            raise _refusal()
        self.save_agent(record)
        return Claimed(record.credential, record.user, int(record.agent != MAIN_AGENT))

    def save_agent(self, record: AgentRecord) -> None:
        """Write what was counted here within about a second, or when the database is back."""
        key = (record.session, record.agent)
        self._saves.pop(key, None)
        self._saves[key] = (record, self._seeds.of(*key))
        if len(self._saves) > QUEUED_MAX:
            del self._saves[next(iter(self._saves))]

    def release_agent(self, session: str, agent: str) -> None:
        """It is none, as far as this gateway goes: at once, so that others do not count it, or with the next claim."""
        self._saves.pop((session, agent), None)
        self._released[session, agent] = None
        self._wake.set()
        if len(self._released) > QUEUED_MAX:
            del self._released[next(iter(self._released))]

    async def used_elsewhere(self, sessions: Sequence[str]) -> list[AgentRecord]:
        """What other gateways, dead ones too, counted of these sessions' agents since this one was told of them.

        Idle agents of which they counted nothing since are left out; nothing while the database is away.
        """
        if not sessions or self._away():
            return []
        try:
            async with self._line.use() as connection:
                rows = await connection.fetch(_OF_OTHERS, list(sessions), self._owner)
        except Failed as error:
            _log.debug("agents of other gateways were not read: the database %s", explain(error))
            return []
        found = [less(together(each), self._seeds.of(*key)) for key, each in _by_agent(rows).items()]
        return [record for record in found if record.active or counts_of(record) != NOTHING]

    async def load_agents(self, since_ms: int) -> list[AgentRecord]:
        """Agents that any gateway saw at or after `since_ms`, those seen first before the others."""
        async with asking(self._line) as connection:
            rows: list[Row] = await connection.fetch(_SEEN_SINCE, since_ms)
        for key, others in _by_agent([row for row in rows if row["owner"] != self._owner]).items():
            self._seeds.plant(*key, total(others))
        agents = [together(each) for each in _by_agent(rows).values()]
        return sorted(agents, key=lambda record: record.last_seen_ms)

    async def run(self) -> None:
        """Write what was counted, for ever."""
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            if (self._saves or self._released) and not self._away():
                try:
                    await self.flush()
                except Failed as error:
                    _log.warning("meters of agents wait: the database %s", explain(error))

    async def run_claims(self) -> None:
        """Claim and release, for ever."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._released and not self._claims and not self._away():
                    await self._release_now()
                while claims := [claim for claim in self._claims if not claim.answered.done()][:CLAIMS_MAX]:
                    await self._claim_all(claims)
                self._claims.clear()
        finally:
            for claim in self._claims:
                claim.answered.cancel()

    async def flush(self) -> None:
        """Write what is queued. Raises what the database raises; then it stays queued."""
        async with self._line.use() as connection:
            await self._write_released(connection)
            await self._write_saves(connection)

    async def _claim_all(self, claims: Sequence[_Claim]) -> None:
        claims = sorted(claims, key=lambda claim: claim.record.session)
        try:
            async with self._line.use() as connection:
                await self._write_released(connection)
                rows = await _claimed(connection, self._owner, [claim.record for claim in claims])
                answers = [self._answer(claim.record, row) for claim, row in zip(claims, rows, strict=True)]
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must know
            if is_about_content(error) and len(claims) > 1:
                for claim in claims:
                    await self._claim_all([claim])
                return
            for claim in claims:
                _fail(claim, error)
            return
        for claim, answer in zip(claims, answers, strict=True):
            if not claim.answered.done():
                claim.answered.set_result(answer)

    def _answer(self, record: AgentRecord, row: Row) -> Claimed:
        claimed = Claimed(row["credential"], row["user"], row["agents"])
        if row["credential"] != record.credential:
            return claimed
        key = (record.session, record.agent)
        found = {owner: _agent.decode(text) for owner, text in zip(row["owners"], row["records"], strict=True)}
        if key in self._saves:
            found[self._owner] = less(*self._saves[key])
        self._seeds.plant(*key, total(each for owner, each in found.items() if owner != self._owner))
        return msgspec.structs.replace(claimed, seen=together(found.values()) if found else None)

    async def _release_now(self) -> None:
        try:
            async with self._line.use() as connection:
                await self._write_released(connection)
        except Failed as error:
            _log.debug("released agents wait: the database %s", explain(error))

    async def _write_released(self, connection: Connection) -> None:
        released, self._released = self._released, {}
        if released:
            sessions, agents = zip(*released, strict=True)
            try:
                await connection.execute(
                    "DELETE FROM ringfence.agents a USING unnest($1::text[], $2::text[]) r(session, agent) "
                    "WHERE a.session = r.session AND a.agent = r.agent AND a.owner = $3",
                    *(sessions, agents, self._owner),
                )
            except BaseException as error:
                if not is_about_content(error):
                    self._released = released | self._released
                    raise

    async def _write_saves(self, connection: Connection) -> None:
        saves, self._saves = self._saves, {}
        try:
            if saves:
                await self._save(connection, [less(*saves[key]) for key in sorted(saves)])
        except BaseException:
            self._saves = saves | self._saves
            raise

    async def _save(self, connection: Connection, records: Sequence[AgentRecord]) -> None:
        try:
            await _save(connection, self._owner, records)
        except (*Failed, ValueError) as error:
            if not is_about_content(error):
                raise
            if len(records) > 1:  # one of them is not taken: the others are
                for record in records:
                    await self._save(connection, [record])
                return
            _log.error("the database does not take agent %r: %s", records[0].agent, explain(error))


async def _claimed(connection: Connection, owner: str, records: Sequence[AgentRecord]) -> list[Row]:
    columns = [
        [record.session for record in records],
        [record.agent for record in records],
        [record.credential for record in records],
        [record.user for record in records],
        [record.first_seen_ms for record in records],
        [msgspec.json.encode(record).decode() for record in records],
    ]
    for tries_left in reversed(range(TRIES)):
        try:
            return await connection.fetch(_CLAIM, owner, MAIN_AGENT, *columns)
        except Failed as error:
            if sqlstate_of(error) not in RETRYABLE or not tries_left:
                raise
    raise TimeoutError


async def _save(connection: Connection, owner: str, records: Sequence[AgentRecord]) -> None:
    """Of a session that turns out to be another credential's, taken for new while the database was away, nothing."""
    sessions = {record.session: record for record in records}
    await connection.execute(
        "INSERT INTO ringfence.sessions SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) "
        "ON CONFLICT DO NOTHING",
        *(list(sessions), [record.credential for record in sessions.values()]),
        *([record.user for record in sessions.values()], [record.first_seen_ms for record in sessions.values()]),
    )
    await connection.execute(
        "INSERT INTO ringfence.agents AS a SELECT w.session, w.agent, $1, true, w.last_seen_ms, w.record "
        "FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[]) "
        "w(session, agent, last_seen_ms, record, credential) "
        "JOIN ringfence.sessions s ON s.id = w.session AND s.credential = w.credential "
        "ON CONFLICT (session, agent, owner) DO UPDATE SET saved = true, last_seen_ms = excluded.last_seen_ms, "
        "record = excluded.record WHERE NOT a.saved OR a.last_seen_ms <= excluded.last_seen_ms",
        *(owner, [record.session for record in records], [record.agent for record in records]),
        *([record.last_seen_ms for record in records], [msgspec.json.encode(record).decode() for record in records]),
        [record.credential for record in records],
    )


def _by_agent(rows: Sequence[Row]) -> dict[AgentKey, list[AgentRecord]]:
    found: dict[AgentKey, list[AgentRecord]] = {}
    for row in rows:
        record = _agent.decode(row["record"])
        found.setdefault((record.session, record.agent), []).append(record)
    return found


def _fail(claim: _Claim, error: Exception) -> None:
    if not claim.answered.done():
        claim.answered.set_exception(error)


def _refusal() -> Refused:
    message = (
        "what is known of this session cannot be read just now, so the request was not sent; try again in a moment, "
        "and tell the operator if it stays so"
    )
    return Refused(Reason.STORE_UNAVAILABLE, message, {"retry-after": "5"})
